"""Read delimited text: a table with a header, or a plain list of identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from services.node.importers.csv_layout import Column, Layout, layout_of
from services.node.importers.csv_records import Record, records
from services.node.importers.fields import Field, RowReader, unwrapped
from services.node.importers.refusals import LineCode, RefusedValue, refuse
from services.node.importers.source import LineReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from services.node.importers.limits import Limits
    from services.node.importers.tally import Tally
    from services.node.record import Refusal, Row

_SAMPLE_LINES: Final = 50


def read_layout(handle: BinaryIO, *, name: str, limits: Limits, delimiter: str | None) -> Layout:
    """Return the layout of a table in encoding `name`.

    Raises:
        InputError: the columns cannot be told apart.
    """
    sample = []
    with LineReader(handle, name=name, line_bytes=limits.line_bytes) as lines:
        for _ in range(_SAMPLE_LINES):
            line = lines.next()
            if line is None:
                break
            if not line.too_long:
                sample.append((line.number, line.text))
    return layout_of(sample, delimiter)


def read_rows(
    handle: BinaryIO, layout: Layout, reader: RowReader, *, name: str, limits: Limits, tally: Tally
) -> Generator[Row | Refusal]:
    """Yield the rows and refusals of a table in encoding `name`, in the order of its lines."""
    with LineReader(handle, name=name, line_bytes=limits.line_bytes) as lines:
        for record in records(lines, layout.delimiter, limits):
            tally.lines += record.lines
            if record.code is None and not any(cell.strip() for cell in record.cells):
                tally.blank_lines += record.lines
                continue
            tally.continued_lines += record.lines - 1
            if record.line in layout.heading_lines:
                tally.heading_lines += 1
            else:
                yield from _rows(record, layout, reader)


def _rows(record: Record, layout: Layout, reader: RowReader) -> Iterator[Row | Refusal]:
    if record.code is not None:
        yield refuse(record.code, record.line, record.text)
        return
    if any(cell.strip() for cell in record.cells[len(layout.columns) :]):
        yield refuse(LineCode.COLUMNS_TOO_MANY, record.line, record.text)
        return
    found: list[Row | Refusal] = []
    try:
        shared, identifiers = _fields(record, layout)
    except RefusedValue as refused:
        yield refused.at(record.line, record.text)
        return
    for column, typed in identifiers:
        try:
            fields = {**shared, Field.IDENTIFIER: _identifier(typed)}
            found.append(reader.row(record.line, fields, kind=column.kind))
        except RefusedValue as refused:
            found.append(refused.at(record.line, typed or record.text))
    yield from found


def _fields(record: Record, layout: Layout) -> tuple[dict[Field, str], list[tuple[Column, str]]]:
    """Return the cells that all identifiers of the record share, and the cells that hold an identifier."""
    shared: dict[Field, str] = {}
    identifiers: list[tuple[Column, str]] = []
    empty: tuple[Column, str] = (Column(Field.IDENTIFIER), "")
    for column, cell in zip(layout.columns, record.cells, strict=False):
        if column is None or not cell.strip():
            continue
        if column.field is Field.IDENTIFIER:
            identifiers.append((column, cell))
            continue
        try:
            shared[column.field] = unwrapped(cell)
        except RefusedValue as refused:
            raise RefusedValue(refused.code, field=column.field) from refused
    return shared, identifiers or [empty]


def _identifier(cell: str) -> str:
    """Return the cell as it was typed, without what only a spreadsheet put around it."""
    try:
        text = unwrapped(cell)
    except RefusedValue as refused:
        raise RefusedValue(refused.code, field=Field.IDENTIFIER) from refused
    return cell if text == cell.strip() else text
