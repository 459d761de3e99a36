"""Split lines of delimited text into records of cells, without ever losing a line.

RFC 4180 with these decisions: a quote opens a quoted cell only at the beginning of a cell (blanks before it do not
count), elsewhere it is a character like any other; a quoted cell may span lines within a limit; where a quote does not
close, or closes and text follows on a later line, only the line on which it opens is refused, and the lines after it
are read again as lines of their own. The standard library's reader would swallow them into one cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from services.node.importers.refusals import LineCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.node.importers.limits import Limits
    from services.node.importers.source import Line, LineReader


@dataclass(frozen=True, slots=True)
class Record:
    """Cells of one record, or the code with which its line is refused; `lines` is the number of lines it spans."""

    line: int
    lines: int
    text: str = field(repr=False)
    cells: tuple[str, ...] = field(default=(), repr=False)
    code: LineCode | None = None


class _End(Enum):
    WHOLE = auto()
    OPEN = auto()
    STRAY = auto()


_QUOTED: Final = re.compile(r' *"([^"]*(?:""[^"]*)*)"')
_OPENING: Final = re.compile(r' *"')


def records(lines: LineReader, delimiter: str | None, limits: Limits) -> Iterator[Record]:
    """Yield the records of `lines` in order; every line is in exactly one of them."""
    while (line := lines.next()) is not None:
        yield _record(line, lines, delimiter, limits)


def _record(line: Line, lines: LineReader, delimiter: str | None, limits: Limits) -> Record:
    if (refused := _unreadable(line)) is not None:
        return Record(line.number, 1, line.text[: limits.field_characters], code=refused)
    if '"' not in line.text:
        cells = (line.text,) if delimiter is None else tuple(line.text.split(delimiter))
        return Record(line.number, 1, line.text, cells)
    text = line.text
    found, end = split_cells(text, delimiter)
    ahead: list[Line] = []
    while end is _End.OPEN and len(ahead) + 1 < limits.cell_lines:
        following = lines.next()
        if following is None:
            break
        ahead.append(following)
        if _unreadable(following) is not None or len(text) + len(following.text) > limits.line_bytes:
            break
        text = f"{text}\n{following.text}"
        if '"' in following.text:
            found, end = split_cells(text, delimiter)
    if end is _End.WHOLE:
        return Record(line.number, 1 + len(ahead), text, tuple(found))
    lines.push_back(ahead)
    code = LineCode.QUOTE_STRAY if end is _End.STRAY and not ahead else LineCode.QUOTE_UNBALANCED
    return Record(line.number, 1, line.text, code=code)


def _unreadable(line: Line) -> LineCode | None:
    if line.too_long:
        return LineCode.LINE_TOO_LONG
    if "\0" in line.text:
        return LineCode.NUL_BYTE
    if "\ufffd" in line.text:
        return LineCode.ENCODING_BROKEN
    return None


def split_cells(text: str, delimiter: str | None) -> tuple[list[str], _End]:
    """Return the cells of `text`, and whether it ended whole, within a quoted cell, or with text after a quote."""
    cells: list[str] = []
    position = 0
    while True:
        opening = _OPENING.match(text, position)
        if opening is None:
            end = -1 if delimiter is None else text.find(delimiter, position)
            cells.append(text[position:] if end < 0 else text[position:end])
        else:
            quoted = _QUOTED.match(text, position)
            if quoted is None:
                return cells, _End.OPEN
            cells.append(quoted[1].replace('""', '"'))
            end = quoted.end()
            while text[end : end + 1] == " ":
                end += 1
            if end == len(text):
                end = -1
            elif delimiter is None or not text.startswith(delimiter, end):
                return cells, _End.STRAY
        if end < 0:
            return cells, _End.WHOLE
        position = end + 1
