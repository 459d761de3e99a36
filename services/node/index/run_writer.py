"""Writing a run (services.node.index.run): beside its name, forced to disk, and only then under it."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from services.node.index.disk import translated
from services.node.index.run import MAGIC, PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from services.node.index.run import Column, RunFacts

_WORKING: Final = ".part"


class RunWriter:
    """Writes one run beside its name; without `commit` nothing of it stays."""

    def __init__(self, path: Path, facts: RunFacts, layout: Sequence[Column], offsets: list[int], size: int) -> None:
        self._path, self._facts, self._layout = path, facts, tuple(layout)
        self._offsets, self._size = offsets, size
        # A name of its own: whoever gave a sweep up may still write while the next one begins.
        self._working = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_WORKING}")
        self._crc = [0] * len(offsets)
        self._rows = 0
        self._descriptor = -1

    @classmethod
    def begin(cls, path: Path, facts: RunFacts, layout: Sequence[Column], *, capacity: int) -> Self:
        """Begin a run; its folder is made (0700) where it is missing.

        Args:
            path: Where it will stand.
            facts: What it is of.
            layout: Its columns.
            capacity: Most rows that it will have; room that is not used takes no disk.

        Raises:
            UnavailableError: The folder cannot be written.
        """
        offsets, end = [], PAGE
        for column in layout:
            offsets.append(end)
            end += _whole_pages(max(capacity, 1) * column.row_bytes)
        writer = cls(path, facts, layout, offsets, end)
        with translated(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            writer._descriptor = os.open(writer._working, flags, 0o600)
            os.ftruncate(writer._descriptor, end)
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(FileNotFoundError):
                self._working.unlink()

    @property
    def rows(self) -> int:
        """Return how many rows were written."""
        return self._rows

    def append(self, block: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows to the end of every column.

        Raises:
            ValueError: The columns differ in length, or are more than the capacity.
            UnavailableError: The disk is full.
        """
        number = len(block[self._layout[0].name])
        for at, column in enumerate(self._layout):
            packed = np.ascontiguousarray(block[column.name], dtype=column.type)
            end = self._offsets[at + 1] if at + 1 < len(self._offsets) else self._size
            start = self._offsets[at] + self._rows * column.row_bytes
            if packed.size != number * column.width or start + packed.nbytes > end:
                raise ValueError("the columns of a block differ in length, or are over the run's capacity")
            view = packed.reshape(-1).view(np.uint8).data
            self._crc[at] = zlib.crc32(view, self._crc[at])
            with translated(self._path):
                write_all(self._descriptor, view, start)
        self._rows += number

    def commit(self, step: Callable[[str], None] = lambda _: None) -> None:
        """Force the run to disk and give it its name.

        Args:
            step: Called between the steps; what it raises is a crash at that point, for tests.

        Raises:
            UnavailableError: The disk is full.
        """
        step("columns")
        with translated(self._path):
            os.pwrite(self._descriptor, self._header(), 0)
            step("header")
            os.fsync(self._descriptor)
            step("synced")
            self._working.rename(self._path)
            step("renamed")
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        os.close(self._descriptor)
        self._descriptor = -1

    def _header(self) -> bytes:
        parts = zip(self._layout, self._offsets, self._crc, strict=True)
        text = json.dumps(
            {
                "kind": self._facts.kind,
                "facts": dict(self._facts.facts),
                "rows": self._rows,
                "size": self._size,
                "columns": [[*column, offset, crc] for column, offset, crc in parts],
            }
        ).encode()
        page = MAGIC + len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little") + text
        if len(page) > PAGE:
            raise ValueError("the facts of a run do not fit into its header")
        return page.ljust(PAGE, b"\0")


def write_all(descriptor: int, data: memoryview, at: int) -> None:
    """Write all of a buffer at an offset; one call writes at most 2 GiB."""
    while data:
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done


def remove_leftovers(folder: Path) -> None:
    """Delete what writers left that were killed."""
    for path in folder.glob(f"*{_WORKING}"):
        path.unlink(missing_ok=True)


def _whole_pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
