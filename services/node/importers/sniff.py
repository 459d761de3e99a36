"""Tell the format of a file from its first bytes and, where they leave it open, from its name."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from services.node.importers.refusals import FileCode, RefusedValue, file_error
from services.node.importers.strict_json import parse as parse_json

if TYPE_CHECKING:
    from services.node.importers.limits import Limits
    from services.node.importers.source import Source


class Format(StrEnum):
    """Formats that the node reads."""

    CSV = "csv"
    JSONL = "jsonl"
    MISP = "misp"
    STIX = "stix"


_JSON_LINES_NAMES: Final = frozenset({".jsonl", ".ndjson"})
_TABLE_NAMES: Final = frozenset({".csv", ".tsv", ".txt", ".tab"})
_MISP_KEYS: Final = frozenset({"Event", "response", "Attribute", "Object"})
# The beginning of a document that is one line, too long to parse here, or spread over lines.
_DOCUMENT: Final = re.compile(r'"(?:Event|response|Attribute|Object|objects)"\s*:|"type"\s*:\s*"bundle"')


def format_of(source: Source, *, limits: Limits) -> Format | None:
    """Return the format of `source`, or None for a JSON document whose kind shows only when it is parsed whole.

    Raises:
        InputError: it is a JSON array, or a JSON file that does not begin as one.
    """
    head = source.head.decode(source.encoding, errors="replace").lstrip("\ufeff")
    suffix = source.path.suffix.casefold()
    text = head.lstrip()
    if suffix in _JSON_LINES_NAMES and (not text.startswith("[") or _second_is_object(text, limits)):
        return Format.JSONL
    if text.startswith("["):
        return _list(text, suffix)
    if not text.startswith("{"):
        if suffix == ".json":
            raise file_error(FileCode.JSON_BROKEN, "Line 1: the file is named JSON but does not begin as JSON.")
        return Format.CSV
    return _braces(text, source, limits)


def _braces(text: str, source: Source, limits: Limits) -> Format | None:
    """Return what a text that begins with a brace is: JSON lines, or None for a document."""
    first, newline, _ = text.partition("\n")
    if not newline and len(source.head) < source.size_bytes:
        return None if _DOCUMENT.search(text) else Format.JSONL
    try:
        value = parse_json(first, levels=limits.nesting_levels)
    except RefusedValue:
        # A document spread over lines breaks its first line after a bracket, comma or colon.
        spread = first.rstrip().endswith(("{", "[", ",", ":"))
        return None if spread or _DOCUMENT.search(first) else Format.JSONL
    return None if document_format(value) is not None else Format.JSONL


def _second_is_object(text: str, limits: Limits) -> bool:
    """Return whether the second line is an object of its own: then the bracket of the first is a broken line."""
    second = text.partition("\n")[2].lstrip().partition("\n")[0]
    try:
        return isinstance(parse_json(second, levels=limits.nesting_levels), dict)
    except RefusedValue:
        return False


def document_format(value: Any) -> Format | None:
    """Return MISP or STIX for a parsed document that is one, else None."""
    if isinstance(value, list) and value:
        # A list of events, as some exports are.
        value = value[0] if isinstance(value[0], dict) and "Event" in value[0] else None
    if not isinstance(value, dict):
        return None
    if value.get("type") == "bundle":
        return Format.STIX
    return Format.MISP if _MISP_KEYS & value.keys() else None


def _list(text: str, suffix: str) -> Format | None:
    if re.match(r'\[\s*\{\s*"Event"\s*:', text):
        return None
    if suffix in _TABLE_NAMES:
        return Format.CSV
    raise file_error(
        FileCode.JSON_ARRAY, "The file is one JSON array; write one object a line instead, such as jq -c '.[]' does."
    )
