"""Codes with which a line, an attribute or a whole file is refused, each with what the officer can do about it."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.errors import InputError
from services.node.record import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping


class LineCode(StrEnum):
    """Why one line, attribute or object is refused while the rest of the file is read."""

    COLUMNS_TOO_MANY = "columns_too_many"
    DATE_UNREADABLE = "date_unreadable"
    DATES_REVERSED = "dates_reversed"
    ENCODING_BROKEN = "encoding_broken"
    FIELD_TOO_LONG = "field_too_long"
    FORMULA = "formula"
    IDENTIFIER_MISSING = "identifier_missing"
    JSON_BROKEN = "json_broken"
    KEY_DUPLICATE = "key_duplicate"
    KEY_UNKNOWN = "key_unknown"
    KIND_MISSING = "kind_missing"
    LINE_BREAK_IN_FIELD = "line_break_in_field"
    LINE_TOO_LONG = "line_too_long"
    NAMES_UNREADABLE = "names_unreadable"
    NOT_AN_OBJECT = "not_an_object"
    NOTHING_READABLE = "nothing_readable"
    NUL_BYTE = "nul_byte"
    NUMBER_DESTROYED = "number_destroyed"
    PATTERN_UNSUPPORTED = "pattern_unsupported"
    QUOTE_STRAY = "quote_stray"
    QUOTE_UNBALANCED = "quote_unbalanced"
    REGION_UNKNOWN = "region_unknown"
    REGIONS_TOO_MANY = "regions_too_many"
    TOO_DEEP = "too_deep"
    UNKNOWN_KIND = "unknown_kind"
    UNSUPPORTED_TYPE = "unsupported_type"
    WORD_UNKNOWN = "word_unknown"
    WRONG_TYPE = "wrong_type"


class FileCode(StrEnum):
    """Why a whole file is refused."""

    ENCODING_BROKEN = "encoding_broken"
    ENCODING_UNKNOWN = "encoding_unknown"
    FILE_CHANGED = "file_changed"
    FILE_EMPTY = "file_empty"
    FILE_MISSING = "file_missing"
    FILE_TOO_LARGE = "file_too_large"
    FILE_UNREADABLE = "file_unreadable"
    FORMAT_UNKNOWN = "format_unknown"
    HEADER_MISSING = "header_missing"
    HEADER_REPEATED = "header_repeated"
    JSON_ARRAY = "json_array"
    JSON_BROKEN = "json_broken"
    JSON_KEY_DUPLICATE = "json_key_duplicate"
    JSON_TOO_DEEP = "json_too_deep"
    NOT_A_FILE = "not_a_file"
    OBJECTS_TOO_MANY = "objects_too_many"
    ROWS_TOO_MANY = "rows_too_many"


_REASONS: Final[Mapping[LineCode, str]] = MappingProxyType(
    {
        LineCode.COLUMNS_TOO_MANY: "the line has more cells than the header; quote a cell that holds the delimiter",
        LineCode.DATE_UNREADABLE: "a date is written 2026-11-24 or 24.11.2026",
        LineCode.DATES_REVERSED: "the end of the observation lies before its beginning",
        LineCode.ENCODING_BROKEN: "bytes do not fit the encoding of the file; save it as UTF-8",
        LineCode.FIELD_TOO_LONG: "the field is longer than the limit",
        LineCode.FORMULA: "the cell is a formula; copy and paste its value instead",
        LineCode.IDENTIFIER_MISSING: "no identifier is given",
        LineCode.JSON_BROKEN: "the line is no JSON",
        LineCode.KEY_DUPLICATE: "a key stands twice in one object",
        LineCode.KEY_UNKNOWN: "a key means nothing here",
        LineCode.KIND_MISSING: "no kind is given; add a column 'kind', or give one kind for the whole file (--kind)",
        LineCode.LINE_BREAK_IN_FIELD: "the cell holds a line break; write one identifier a line",
        LineCode.LINE_TOO_LONG: "the line is longer than the limit",
        LineCode.NAMES_UNREADABLE: "a list of names or classes is written as DE;FR;third_country, at most 128",
        LineCode.NOT_AN_OBJECT: "the entry is JSON but no object in braces",
        LineCode.NOTHING_READABLE: "no identifier could be read out of the text",
        LineCode.NUL_BYTE: "the line holds a NUL character; the file is damaged or no text",
        LineCode.NUMBER_DESTROYED: "a spreadsheet has rounded the number; format the column as text and type it again",
        LineCode.PATTERN_UNSUPPORTED: "the pattern is more than plain equalities joined by OR",
        LineCode.QUOTE_STRAY: "text follows a closing quote; a quote inside a quoted cell is written twice",
        LineCode.QUOTE_UNBALANCED: "a quote opens on this line and does not close; only this line was left aside",
        LineCode.REGION_UNKNOWN: "a region is a two-letter country code such as NL",
        LineCode.REGIONS_TOO_MANY: "too many regions are named",
        LineCode.TOO_DEEP: "objects and lists are nested too deep",
        LineCode.UNKNOWN_KIND: "the kind is not known",
        LineCode.UNSUPPORTED_TYPE: "the type has no kind here",
        LineCode.WORD_UNKNOWN: "the word is not in the list",
        LineCode.WRONG_TYPE: "the value has the wrong type",
    }
)


class RefusedValue(Exception):  # noqa: N818 - it never leaves this package: a reader turns it into a Refusal
    """A value of the line at hand cannot be taken; the reader adds line number and text."""

    def __init__(self, code: LineCode, *, field: str | None = None, reason: str | None = None) -> None:
        """Take the reason of the catalogue where the caller has none that says more."""
        super().__init__(code)
        self.code = code
        self.field = field
        self.reason = reason or _REASONS[code]

    def at(self, line: int, typed: str | None) -> Refusal:
        """Return the refusal for `line`."""
        name = None if self.field is None else str(self.field)
        return Refusal(line=line, code=self.code.value, field=name, reason=self.reason, typed=typed)


def refuse(code: LineCode, line: int, typed: str | None, *, field: str | None = None) -> Refusal:
    """Return a refusal with the reason of the catalogue."""
    return Refusal(line=line, code=code.value, field=field, reason=_REASONS[code], typed=typed)


def file_error(code: FileCode, message: str) -> InputError:
    """Return the error that refuses a whole file."""
    return InputError(message, code=code.value)
