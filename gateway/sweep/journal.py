"""The journal of a sweep: its confirmed rows, in a file, so that the hub's memory does not grow with the matches.

It holds which participants share a value, under which references and classes: what the ledger is told of, where an edge
opens. No token comes into it (I2), and it is sealed.
"""

from __future__ import annotations

import secrets
import tempfile
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError
from gateway.sweep.groups import ROW
from gateway.sweep.sealed import SealedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sweep.groups import Rows

BLOCK_ROWS: Final = 1 << 16


class Journal:
    """Rows that are appended, and read back in blocks of whole groups."""

    def __init__(self, file: SealedFile | None = None) -> None:
        """Begin without rows, whatever the file holds (`cut` says otherwise).

        Args:
            file: Where to keep them; without one, a temporary file that has no name, under a key that nobody keeps.
        """
        self._file = SealedFile(tempfile.TemporaryFile(), secrets.token_bytes(32), b"") if file is None else file  # noqa: SIM115 -- close() is ours
        self.rows = 0

    def append(self, rows: Rows) -> None:
        """Add rows: whole groups."""
        self._file.write(self.rows * ROW.itemsize, rows.tobytes())
        self.rows += len(rows)

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[Rows]:
        """Read all rows, about so many at a time and never part of a group."""
        at = 0
        while at < self.rows:
            rows, at = self.block(at, block_rows)
            yield rows

    def block(self, at: int, block_rows: int = BLOCK_ROWS) -> tuple[Rows, int]:
        """Read about so many rows and never part of a group; return them, and where the next block begins.

        Args:
            at: A row at which a group begins.
            block_rows: Rows to aim at.
        """
        while True:
            count = min(block_rows, self.rows - at)
            rows = np.frombuffer(self._file.read(at * ROW.itemsize, count * ROW.itemsize), ROW)
            if at + len(rows) >= self.rows:
                return rows, self.rows
            # The last group may go on behind the block; one that fills it needs a larger one.
            end = int(np.flatnonzero(rows["start"])[-1])
            if end:
                return rows[:end], at + end
            block_rows *= 2

    def cut(self, rows: int) -> None:
        """Forget what stands behind so many rows.

        Raises:
            ConfigError: There are not so many.
        """
        if self._file.size < rows * ROW.itemsize:
            raise ConfigError("the journal of a sweep is shorter than its state says")
        self._file.cut(rows * ROW.itemsize)
        self.rows = rows

    def sync(self) -> None:
        """Make what was appended durable."""
        self._file.sync()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __del__(self) -> None:
        self.close()
