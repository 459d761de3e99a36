"""Read a MISP event or STIX bundle: one JSON document, held in memory whole within its own limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.node.importers.misp_event import entries as misp_entries
from services.node.importers.misp_event import read_rows as read_misp_rows
from services.node.importers.refusals import FileCode, LineCode, RefusedValue, file_error
from services.node.importers.sniff import Format, document_format
from services.node.importers.stix_bundle import entries as stix_entries
from services.node.importers.stix_bundle import read_rows as read_stix_rows
from services.node.importers.strict_json import parse as parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.node.importers.fields import RowReader
    from services.node.importers.limits import Limits
    from services.node.importers.source import Source
    from services.node.importers.tally import Tally
    from services.node.record import Refusal, Row

_FILE_CODES: Final = {
    LineCode.JSON_BROKEN: FileCode.JSON_BROKEN,
    LineCode.KEY_DUPLICATE: FileCode.JSON_KEY_DUPLICATE,
    LineCode.TOO_DEEP: FileCode.JSON_TOO_DEEP,
}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document of a format; `entries` are its MISP attributes or STIX objects in order."""

    format: Format
    entries: tuple[Any, ...] = field(repr=False)

    def items(self, reader: RowReader, tally: Tally) -> Iterator[Row | Refusal]:
        """Yield rows and refusals in the order of the document; a line is the ordinal of an entry."""
        read = read_misp_rows if self.format is Format.MISP else read_stix_rows
        tally.lines = len(self.entries)
        return read(self.entries, reader, tally)


def read_document(source: Source, *, limits: Limits) -> Document:
    """Parse the whole of `source`.

    Raises:
        InputError: it is too large, no JSON, neither MISP nor STIX, or holds more entries than the limit.
    """
    if source.size_bytes > limits.document_bytes:
        message = (
            f"The document has {source.size_bytes} bytes, more than the limit of {limits.document_bytes} for MISP "
            "and STIX; export it in parts."
        )
        raise file_error(FileCode.FILE_TOO_LARGE, message)
    with source.opened() as handle:
        value = _parsed(handle.read(), name=source.encoding, levels=limits.nesting_levels)
    found = document_format(value)
    if found is None:
        message = (
            "The file is JSON but neither a MISP event nor a STIX bundle; write JSON lines, one object a line, with "
            "the keys 'kind' and 'identifier'."
        )
        raise file_error(FileCode.FORMAT_UNKNOWN, message)
    entries = misp_entries(value) if found is Format.MISP else stix_entries(value)
    if len(entries) > limits.document_objects:
        message = f"The document holds {len(entries)} entries, more than the limit of {limits.document_objects}."
        raise file_error(FileCode.OBJECTS_TOO_MANY, message)
    return Document(found, entries)


def _parsed(data: bytes, *, name: str, levels: int) -> Any:
    try:
        text = data.decode(name).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"Line {line}: bytes do not fit the encoding {name}; JSON is written in UTF-8."
        raise file_error(FileCode.ENCODING_BROKEN, message) from error
    try:
        return parse_json(text, levels=levels)
    except RefusedValue as refused:
        raise file_error(_FILE_CODES[refused.code], f"The document cannot be read: {refused.reason}.") from refused
