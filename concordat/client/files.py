"""The list of a partner: one identifier a line, or CSV with the columns identifier, kind, region, client_ref.

    for line, item in read_list(Path("list.csv").read_bytes()): ...

It is CSV when its first line has a cell that says `identifier`; the cells are parted by commas, semicolons or tabs, as
that line is. UTF-8 only. What is wrong with the file as a whole is an error that names the line; what is wrong with one
identifier shows in its result.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.client.client import MAX_ITEMS
from concordat.client.reading import Item
from concordat.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 16 << 20
MAX_LINE_CHARS: Final = 8192
MAX_REF_CHARS: Final = 200
COLUMNS: Final = ("identifier", "kind", "region", "client_ref")
DELIMITERS: Final = (",", ";", "\t")
# What a column may be called, and no phone number, address or link is.
_WORD: Final = re.compile(r"[^\W\d]+")


@dataclass(frozen=True, slots=True)
class Listed:
    """One identifier, and the line on which it stands."""

    line: int
    item: Item


def read_list(content: bytes) -> list[Listed]:
    """Return the identifiers of a list.

    Raises:
        InputError: `too_large`, else `bad_input`: no UTF-8, no identifiers, or no table; the line is named.
    """
    if len(content) > MAX_BYTES:
        raise InputError(f"the list has more than {MAX_BYTES >> 20} MiB", code="too_large")
    text = _text(content)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_CHARS:
            raise InputError(f"line {number}: has more than {MAX_LINE_CHARS} characters", code="too_large")
        if "\0" in line:
            raise InputError(f"line {number}: has a NUL character; this is no list of text")
    head = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    delimiter = _delimiter(lines[head]) if head < len(lines) else None
    if delimiter is None:
        _refuse_table(lines, head)
    rows = _plain(lines) if delimiter is None else _table(lines, head, delimiter)
    found: list[Listed] = []
    for row in rows:
        if len(found) == MAX_ITEMS:
            raise InputError(f"line {row.line}: a list has at most {MAX_ITEMS} identifiers", code="too_large")
        found.append(row)
    if not found:
        raise InputError("there are no identifiers in the list")
    return found


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line}: is not UTF-8; save the list as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(header: str) -> str | None:
    """Return what parts the cells of a header; None where the line is an identifier."""
    for one in DELIMITERS:
        if COLUMNS[0] in _names(header, one):
            return one
    return None


def _refuse_table(lines: list[str], head: int) -> None:
    """Refuse a table whose header names no identifier; read as a plain list, each of its lines would be unreadable."""
    filled = [line for line in lines[head:] if line.strip()]
    for one in DELIMITERS:
        names = _names(filled[0], one) if filled else []
        words = len(names) > 1 and all(_WORD.fullmatch(name) for name in names)
        if words and len(filled) > 1 and all(line.count(one) == filled[0].count(one) for line in filled):
            raise InputError(
                f"line {head + 1}: looks like the header of a table, but no column is named '{COLUMNS[0]}';"
                f" the columns are {', '.join(COLUMNS)}"
            )


def _names(header: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([header], delimiter=delimiter), [])
    return [cell.strip().casefold().replace(" ", "_") for cell in cells]


def _plain(lines: list[str]) -> Iterator[Listed]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Listed(number, Item(line.strip()))


def _table(lines: list[str], head: int, delimiter: str) -> Iterator[Listed]:
    names = _names(lines[head], delimiter)
    for place, name in enumerate(names, 1):
        if name not in COLUMNS or names.count(name) > 1:
            raise InputError(
                f"line {head + 1}: column {place} is unknown or stands twice; the columns are {', '.join(COLUMNS)}"
            )
    reader = csv.reader(io.StringIO("\n".join(lines[head + 1 :])), delimiter=delimiter, strict=True)
    before = head + 1
    while True:
        line = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"line {line}: the quotes of this row do not close") from error
        if any(cell.strip() for cell in cells):
            yield Listed(line, _item(line, names, cells))


def _item(line: int, names: list[str], cells: list[str]) -> Item:
    if any(cell.strip() for cell in cells[len(names) :]):
        raise InputError(f"line {line}: has more cells than the header has columns")
    given = dict(zip(names, (cell.strip() for cell in cells), strict=False))
    client_ref = given.get("client_ref") or None
    if client_ref is not None and len(client_ref) > MAX_REF_CHARS:
        raise InputError(f"line {line}: the client_ref has more than {MAX_REF_CHARS} characters")
    return Item(
        given.get("identifier", ""),
        kind=given.get("kind") or None,
        region=given.get("region") or None,
        client_ref=client_ref,
    )
