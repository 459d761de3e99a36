"""Find out how a table is laid out: its delimiter, whether it has a header, and what each column means.

Looks at the first lines only. In order: a line `sep=;` as Excel writes it; the delimiter under which the first line
names most fields; the delimiter that gives every line the same number of cells. A table without header is taken when
it has one column (identifiers, the kind comes from the command line) or two (kind and identifier, in either order).

A header without a column for the identifier may name columns after kinds ("phone", "e-mail"): their cells are
identifiers of that kind, several to a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.node.importers.csv_records import split_cells
from services.node.importers.fields import Field, field_named, kind_named, squeeze
from services.node.importers.refusals import FileCode, file_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.canon import Kind

DELIMITERS: Final = (";", ",", "\t", "|")
DELIMITER_NAMES: Final = {";": "semicolon", ",": "comma", "\t": "tab", "|": "vertical bar"}

_SEP_LINE: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_ORDINAL: Final = re.compile(r"\s*\d$")
# Names of kinds that as names of columns mean something else as well: who typed a row, or a text.
_NO_KIND: Final = frozenset(
    {"alias", "bank", "board", "group", "host", "listing", "login", "message", "meta", "ok", "of", "page", "posting"}
    | {"user", "x"}
)
# What a column may be called, as against data that must not be shown in a message.
_NAME: Final = re.compile(r"[^\W\d_][\w ()./-]{0,39}")
_TOO_MANY_DIGITS: Final = re.compile(r"\d.*\d.*\d")


@dataclass(frozen=True, slots=True)
class Column:
    """Meaning of a column: a field, and the kind of its identifiers where the column is named after one."""

    field: Field
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is laid out; `columns` holds None for a column that means nothing here."""

    delimiter: str | None
    columns: tuple[Column | None, ...]
    heading_lines: frozenset[int]
    header: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def layout_of(sample: Sequence[tuple[int, str]], delimiter: str | None = None) -> Layout:
    """Return the layout of the table that begins with the lines of `sample` (line number, text).

    Raises:
        InputError: the columns cannot be told apart.
    """
    filled = [(number, text) for number, text in sample if text.strip()]
    heading: set[int] = set()
    if filled and (match := _SEP_LINE.fullmatch(filled[0][1].strip(" "))):
        delimiter = delimiter or match[1]
        heading.add(filled.pop(0)[0])
    if not filled:
        return Layout(delimiter, (Column(Field.IDENTIFIER),), frozenset(heading))
    candidates: Sequence[str | None] = (delimiter,) if delimiter else (*DELIMITERS, None)
    number, first = filled[0]
    rest = [text for _, text in filled[1:]]
    readings = [
        (candidate, _header(_cells(first, candidate), [_cells(text, candidate) for text in rest]))
        for candidate in candidates
    ]
    best, columns = max(readings, key=lambda reading: len([c for c in reading[1] or () if c is not None]))
    if columns is not None:
        names = _cells(first, best)
        _check_header(columns, number)
        return Layout(
            best,
            columns,
            frozenset({*heading, number}),
            header=tuple("" if column is None else _shown_column(column) for column in columns),
            unknown=tuple(
                shown_name(name, index)
                for index, (name, column) in enumerate(zip(names, columns, strict=True), 1)
                if column is None and name.strip()
            ),
        )
    return _without_header([text for _, text in filled], candidates, frozenset(heading))


def shown_name(name: str, index: int) -> str:
    """Return the name of a column or key where it is a name, else its place: data must not get into messages."""
    name = name.strip()
    return name if _NAME.fullmatch(name) and not _TOO_MANY_DIGITS.search(name) else f"number {index}"


def _shown_column(column: Column) -> str:
    return column.field.value if column.kind is None else str(column.kind.value)


def _cells(text: str, delimiter: str | None) -> list[str]:
    return split_cells(text, delimiter)[0]


def _header(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Column | None, ...] | None:
    """Return the meaning of the columns that `names` name above `rows`, or None when they are data themselves."""
    fields = [field_named(name) for name in names]
    explicit = Field.IDENTIFIER in fields
    columns = tuple(
        Column(field) if field else None if explicit else _kind_column(name)
        for name, field in zip(names, fields, strict=True)
    )
    known = sum(column is not None for column in columns)
    filled = [name.strip() for name in names if name.strip()]
    if explicit or (known and known == len(filled)):
        return columns
    # "phone;maria" is a header above addresses, and data above "email;a@example.com".
    if known and all(shown_name(name, 0) == name for name in filled) and (known > 1 or not _has_kinds(rows)):
        return columns
    return None


def _kind_column(name: str) -> Column | None:
    """Return the column of identifiers that `name` names by their kind, also as one of several ("Phone 2")."""
    plain = _ORDINAL.sub("", name.strip())
    kind = None if squeeze(plain) in _NO_KIND else kind_named(plain)
    return None if kind is None else Column(Field.IDENTIFIER, kind)


def _has_kinds(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a cell of `rows` is the name of a kind, or there is none to tell."""
    return not rows or any(kind_named(cell.strip()) is not None for row in rows for cell in row)


def _check_header(columns: tuple[Column | None, ...], line: int) -> None:
    fields = [column for column in columns if column is not None]
    if not any(column.field is Field.IDENTIFIER for column in fields):
        message = f"Line {line} is a header without a column for the identifier; name that column 'identifier'."
        raise file_error(FileCode.HEADER_MISSING, message)
    twice = {column.field.value for column in fields if column.kind is None and fields.count(column) > 1}
    if twice:
        message = f"Line {line} names a column twice: {', '.join(sorted(twice))}."
        raise file_error(FileCode.HEADER_REPEATED, message)


def _without_header(lines: Sequence[str], candidates: Sequence[str | None], heading: frozenset[int]) -> Layout:
    for delimiter in candidates:
        rows = [_cells(text, delimiter) for text in lines] if delimiter else []
        if not rows or {len(row) for row in rows} != {2}:
            continue
        first, second = (sum(kind_named(row[column].strip()) is not None for row in rows) for column in (0, 1))
        if first or second:
            pair = (Column(Field.KIND), Column(Field.IDENTIFIER))
            return Layout(delimiter, pair if first >= second else pair[::-1], heading)
    if _widest(lines, candidates) > 2:
        message = "The table has no header that names its columns; write one such as 'kind;identifier;region;notes'."
        raise file_error(FileCode.HEADER_MISSING, message)
    return Layout(None, (Column(Field.IDENTIFIER),), heading)


def _widest(lines: Sequence[str], candidates: Sequence[str | None]) -> int:
    """Return the number of columns that all lines have under one delimiter, at least 1."""
    widths = [1]
    for delimiter in filter(None, candidates):
        counts = {len(_cells(text, delimiter)) for text in lines}
        if len(counts) == 1 and len(lines) > 1:
            widths.append(counts.pop())
    return max(widths)
