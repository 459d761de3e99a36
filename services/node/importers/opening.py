"""Open a file of any format that the node reads, and iterate over what it holds.

Example:
    >>> imported = open_file(Path("list.csv"), defaults=RowDefaults(region="NL"))
    >>> imported.facts.encoding, imported.facts.delimiter
    >>> for item in imported: ...  # Row | Refusal, in the order of the file
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from services.node.importers.csv_file import read_layout
from services.node.importers.csv_file import read_rows as read_table_rows
from services.node.importers.csv_layout import DELIMITER_NAMES
from services.node.importers.document_file import Document, read_document
from services.node.importers.fields import RowReader
from services.node.importers.jsonl_file import read_rows as read_json_rows
from services.node.importers.limits import Limits
from services.node.importers.refusals import FileCode, file_error
from services.node.importers.sniff import Format, format_of
from services.node.importers.source import survey
from services.node.importers.tally import Tally
from services.node.record import FileFacts, Refusal, Row

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from services.node.importers.csv_layout import Layout
    from services.node.importers.source import Source
    from services.node.record import RowDefaults

_NO_LIMIT_CHANGED: Final = Limits()


class ImportedFile:
    """A file that was surveyed and understood; iterating reads it from its beginning, as often as wanted.

    `facts` is complete before the first row; `tally` describes the last pass over the file.
    """

    def __init__(
        self, source: Source, facts: FileFacts, defaults: RowDefaults, limits: Limits, what: Layout | Document | None
    ) -> None:
        self.facts = facts
        self.tally = Tally()
        self.read_bytes = 0
        """Of the file, in the last pass over it, a little ahead of the rows that it has given."""
        self._source = source
        self._defaults = defaults
        self._limits = limits
        self._what = what

    def __iter__(self) -> Iterator[Row | Refusal]:
        """Yield rows and refusals in the order of the file.

        Raises:
            InputError: the file was changed meanwhile, or holds more rows than the limit.
        """
        self.tally = tally = Tally()
        # Closed at once where reading stops early, so that the file is not left open.
        with closing(self._items(tally)) as items:
            for item in items:
                if tally.rows + tally.refusals >= self._limits.rows:
                    message = f"The file holds more than {self._limits.rows} rows; split it."
                    raise file_error(FileCode.ROWS_TOO_MANY, message)
                if isinstance(item, Row):
                    tally.rows += 1
                else:
                    tally.refusals += 1
                yield item

    def _items(self, tally: Tally) -> Generator[Row | Refusal, None, None]:
        reader = RowReader(self._defaults, self._limits)
        name, limits = self.facts.encoding, self._limits
        if isinstance(self._what, Document):
            yield from self._what.items(reader, tally)
            return
        with self._source.opened() as handle:
            if self._what is None:
                rows = read_json_rows(handle, reader, name=name, limits=limits, tally=tally)
            else:
                rows = read_table_rows(handle, self._what, reader, name=name, limits=limits, tally=tally)
            # Closed before the file is, where reading stops early.
            with closing(rows):
                for row in rows:
                    self.read_bytes = handle.tell()
                    yield row


def open_file(
    path: Path,
    *,
    defaults: RowDefaults,
    limits: Limits = _NO_LIMIT_CHANGED,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> ImportedFile:
    """Survey a file, name its format, encoding and delimiter, and make it ready to iterate.

    `encoding` and `delimiter` overrule what would be detected.

    Raises:
        InputError: the file as a whole cannot be taken; its code is one of `FileCode`.
    """
    source = survey(path, limits=limits, encoding_name=encoding)
    found = format_of(source, limits=limits)
    layout: Layout | None = None
    document: Document | None = None
    if found is None:
        document = read_document(source, limits=limits)
        found = document.format
    elif found is Format.CSV:
        with source.opened() as handle:
            layout = read_layout(handle, name=source.encoding, limits=limits, delimiter=delimiter)
    facts = FileFacts(
        name=path.name,
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        format=found.value,
        encoding=source.encoding,
        delimiter=layout.delimiter if layout else None,
        header=layout.header if layout else (),
        unknown_columns=layout.unknown if layout else (),
    )
    return ImportedFile(source, facts, defaults, limits, document or layout)


def delimiter_name(delimiter: str | None) -> str:
    """Return what to call a delimiter before people."""
    return DELIMITER_NAMES.get(delimiter or "", "none" if delimiter is None else f"{delimiter!r}")
