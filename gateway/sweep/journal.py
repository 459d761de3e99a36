"""The journal of a sweep: its confirmed rows, in a file, so that the hub's memory does not grow with the matches.

It holds which participants share a value, under which references and classes: what the ledger is told of anyway. No
token comes into it (I2).
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from gateway.sweep.groups import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sweep.groups import Rows

BLOCK_ROWS: Final = 1 << 16


class Journal:
    """Rows that are appended, and read back in blocks of whole groups."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        """Begin with an empty file; without one, with a temporary file that has no name."""
        self._file: IO[bytes] = tempfile.TemporaryFile() if file is None else file  # noqa: SIM115 -- close() is ours
        self.rows = 0

    def append(self, rows: Rows) -> None:
        """Add rows: whole groups."""
        self._file.seek(0, 2)
        self._file.write(rows.tobytes())
        self.rows += len(rows)

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[Rows]:
        """Read all rows, about so many at a time and never part of a group."""
        at, rest = 0, np.empty(0, ROW)
        while at < self.rows:
            self._file.seek(at * ROW.itemsize)
            fresh = np.frombuffer(self._file.read(block_rows * ROW.itemsize), ROW)
            at += len(fresh)
            rows = np.concatenate((rest, fresh))
            starts = np.flatnonzero(rows["start"])
            # The last group may go on in the next block.
            end = len(rows) if at >= self.rows or not len(starts) else int(starts[-1])
            if end:
                yield rows[:end]
            rest = rows[end:]
        if len(rest):
            yield rest

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __del__(self) -> None:
        self.close()
