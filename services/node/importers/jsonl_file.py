"""Read JSON lines: one object a line, whose keys are the names of fields.

`context` and `assessment` may be objects of their own; origin and destination may be lists. An identifier is text and
never a number, since a number has lost its leading zeros. Unknown keys are refused by name, as a typing error in a key
would otherwise drop what it names.

Example line:
    {"kind": "phone", "identifier": "+44 7700 900123", "context": {"use": "contact"}, "assessment": {"thb": "checked"}}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

from services.node.importers.csv_layout import shown_name
from services.node.importers.fields import Field, RowReader, field_named
from services.node.importers.refusals import LineCode, RefusedValue, refuse
from services.node.importers.source import LineReader
from services.node.importers.strict_json import parse as parse_json

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from services.node.importers.limits import Limits
    from services.node.importers.source import Line
    from services.node.importers.tally import Tally
    from services.node.record import Refusal, Row

_NESTED: Final = {
    "context": frozenset(
        {
            Field.PLATFORM_CATEGORY,
            Field.EXPLOITATION,
            Field.USE,
            Field.AT_RISK_GROUP,
            Field.ORIGIN,
            Field.DESTINATION,
        }
    ),
    "assessment": frozenset({Field.THB, Field.CSA}),
}
_LISTS: Final = frozenset({Field.ORIGIN, Field.DESTINATION})
_DIGITS: Final = frozenset({Field.INFORMATION_EVALUATION, Field.CLIENT_REF})


def read_rows(
    handle: BinaryIO, reader: RowReader, *, name: str, limits: Limits, tally: Tally
) -> Generator[Row | Refusal]:
    """Yield the rows and refusals of JSON lines in encoding `name`, in the order of the lines."""
    with LineReader(handle, name=name, line_bytes=limits.line_bytes) as lines:
        while (line := lines.next()) is not None:
            tally.lines += 1
            if not line.too_long and not line.text.strip():
                tally.blank_lines += 1
                continue
            yield _row(line, reader, limits)


def _row(line: Line, reader: RowReader, limits: Limits) -> Row | Refusal:
    kept = line.text[: limits.field_characters]
    if line.too_long:
        return refuse(LineCode.LINE_TOO_LONG, line.number, kept)
    if "\ufffd" in line.text:
        return refuse(LineCode.ENCODING_BROKEN, line.number, kept)
    if "\0" in line.text:
        return refuse(LineCode.NUL_BYTE, line.number, kept)
    try:
        value = parse_json(line.text, levels=limits.nesting_levels)
        if isinstance(value, dict):
            return reader.row(line.number, fields_of(value))
    except RefusedValue as refused:
        return refused.at(line.number, kept)
    return refuse(LineCode.NOT_AN_OBJECT, line.number, kept)


def fields_of(value: Mapping[str, Any]) -> dict[Field, str]:
    """Return the fields that a JSON object spells.

    Raises:
        RefusedValue: a key is unknown or stands twice under two names, or a value has the wrong type.
    """
    fields: dict[Field, str] = {}
    for index, (key, inner) in enumerate(value.items(), 1):
        allowed = _NESTED.get(key.casefold())
        if allowed is None:
            _put(fields, key, inner, index=index)
            continue
        if not isinstance(inner, dict | None):
            raise RefusedValue(LineCode.WRONG_TYPE, field=key.casefold(), reason="an object in braces is wanted")
        for place, (name, text) in enumerate((inner or {}).items(), 1):
            if field_named(name) not in allowed:
                raise _unknown(name, place)
            _put(fields, name, text, index=place)
    return fields


def _put(fields: dict[Field, str], key: str, value: Any, *, index: int) -> None:
    field = field_named(key)
    if field is None:
        raise _unknown(key, index)
    if value is None:
        return
    if field in fields:
        raise RefusedValue(LineCode.KEY_DUPLICATE, field=field)
    if field in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    if field in _DIGITS and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RefusedValue(LineCode.WRONG_TYPE, field=field, reason="text in quotes is wanted")
    if field is Field.IDENTIFIER:
        fields[field] = value
    elif value.strip():
        fields[field] = value.strip()


def _unknown(key: str, index: int) -> RefusedValue:
    shown = shown_name(key, index)
    return RefusedValue(LineCode.KEY_UNKNOWN, field=shown, reason=f"the key {shown} means nothing here")
