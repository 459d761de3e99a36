"""Sorting more rows than memory should hold: rows are dealt out by their first bits, and each share is sorted alone.

Tokens are outputs of a pseudorandom function, so that the shares are of about one size. The files have no name that
stays: they are deleted as soon as they are open, and go with the process.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, Final, Self

import numpy as np

from services.node.index.disk import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

SHARE_ROWS: Final = 1 << 18
MAX_SHARES: Final = 256
_WORD_BITS: Final = 64
_MIN_BUFFER: Final = 1 << 14


class Spill:
    """Takes packed rows whose field `high` is a word, and gives them back share by share, ascending by share."""

    def __init__(self, folder: Path, row: npt.DTypeLike, expected: int) -> None:
        """Begin without rows.

        Args:
            folder: Where the files are; it must be there.
            row: Type of a row, a structure with a field `high`.
            expected: About how many rows there will be.
        """
        self._row = np.dtype(row)
        shares = min(MAX_SHARES, max(1, -(-expected // SHARE_ROWS)))
        self._bits = (shares - 1).bit_length()
        self._folder = folder
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with translated(self._folder):
            for _ in range(1 << self._bits):
                file = tempfile.TemporaryFile(dir=self._folder, buffering=_MIN_BUFFER)
                self._files.append(self._stack.enter_context(file))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Deal out rows.

        Raises:
            UnavailableError: The disk is full.
        """
        if not self._bits:
            self._write(0, rows)
            return
        share = (rows["high"] >> np.uint64(_WORD_BITS - self._bits)).astype(np.intp)
        order = np.argsort(share, kind="stable")
        borders = np.searchsorted(share[order], np.arange((1 << self._bits) + 1))
        dealt = rows[order]
        for at in range(1 << self._bits):
            if borders[at] < borders[at + 1]:
                self._write(at, dealt[borders[at] : borders[at + 1]])

    def _write(self, share: int, rows: npt.NDArray[Any]) -> None:
        with translated(self._folder):
            self._files[share].write(np.ascontiguousarray(rows, self._row).view(np.uint8).data)

    def shares(self) -> Iterator[npt.NDArray[Any]]:
        """Give the rows of each share, in no order within it; a share is forgotten once the next is asked for."""
        for file in self._files:
            file.seek(0)
            yield np.frombuffer(bytearray(file.read()), self._row)
            file.close()
