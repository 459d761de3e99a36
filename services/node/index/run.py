"""A run: sorted columns of fixed width in one file, written once, read through a mapping.

    with RunWriter.begin(path, RunFacts("live", {"sequence": 7}), LAYOUT, capacity=1000) as writer:
        writer.append({"high": high, "low": low})
        writer.commit()
    run = Run.open(path, "live")
    run.column("high")[:10]

Layout: a header of one page (magic, length and CRC-32 of what follows, JSON), then each column at a page border. A run
is written beside its name, forced to disk and renamed, so that under its name there is all of it or nothing. Runs are
derived: whatever is wrong with one, it is made again from the store.

The checksums find what a disk, a copy or a crash did, not an attacker: who can write here can write the store too.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import numpy.typing as npt

MAGIC: Final = b"CONCRUN1"
PAGE: Final = 4096
_CHECK_BYTES: Final = 1 << 20
_MAX_ROWS: Final = 1 << 40


class Column(NamedTuple):
    """One column: its name, the type of an item (`<u8`, `<u4`, `|u1`) and how many items a row has."""

    name: str
    type: str
    width: int = 1

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row."""
        return np.dtype(self.type).itemsize * self.width


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is of: its kind, and small facts (whole numbers, or text) that its reader compares with the store."""

    kind: str
    facts: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """An open run. Its columns stay valid as long as something holds them, also after the file was replaced."""

    path: Path
    rows: int
    size_bytes: int
    facts: Mapping[str, int | str]
    _columns: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    _mapping: mmap.mmap = field(repr=False)
    _parts: Mapping[str, _Part] = field(repr=False)
    _file: _Descriptor = field(repr=False)

    @classmethod
    def open(cls, path: Path, kind: str, *, check: bool = True, unread: Collection[str] = ()) -> Self:
        """Open a run and check all of it; its bytes pass through one buffer, not through the mapping.

        Args:
            path: The file.
            kind: What it must be of.
            check: Whether its columns are read and compared with their checksums; a process that has just done so, or
                has written them, need not.
            unread: Columns that are not read here: their rows carry checks of their own, heeded by whoever reads them.

        Raises:
            ConfigError: It is missing, damaged, of another kind or version, or others can open it.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be opened ({error.strerror})") from error
        try:
            return cls._of(path, kind, descriptor, check=check, unread=unread)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigError(f"{path}: is no run, or is damaged") from error
        finally:
            os.close(descriptor)

    @classmethod
    def _of(cls, path: Path, kind: str, descriptor: int, *, check: bool, unread: Collection[str]) -> Self:
        status = os.fstat(descriptor)
        if status.st_mode & 0o177:
            raise ConfigError(f"{path}: others can open it; run: chmod 600 {path}")
        header = _read_header(descriptor)
        rows, parts = int(header["rows"]), [_Part(*one) for one in header["columns"]]
        if header["kind"] != kind or header["size"] != status.st_size or not 0 <= rows <= _MAX_ROWS:
            raise ValueError
        for part in parts:
            _verify(descriptor, part, rows, status.st_size, check=check and part.name not in unread)
        mapping = mmap.mmap(descriptor, status.st_size, prot=mmap.PROT_READ)
        columns = {part.name: _view(mapping, part, rows) for part in parts}
        named = {part.name: part for part in parts}
        return cls(
            path, rows, status.st_size, header["facts"], columns, mapping, named, _Descriptor(os.dup(descriptor))
        )

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column, read-only: (rows,), or (rows, width) of one that has several items a row."""
        return self._columns[name]

    def read(self, name: str, start: int, end: int) -> npt.NDArray[Any]:
        """Return rows of a column in the shape that `column` gives, read and not mapped.

        Raises:
            ConfigError: The file is shorter than it was, or the disk cannot read it.
        """
        part = self._parts[name]
        buffer = np.empty((end - start) * part.width, part.type)
        try:
            got = os.preadv(self._file.number, [buffer.view(np.uint8).data], part.offset + start * part.row_bytes)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror})") from error
        if got != buffer.nbytes:
            raise ConfigError(f"{self.path}: is shorter than it was")
        return buffer if part.width == 1 else buffer.reshape(-1, part.width)

    def read_rows(self, name: str, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Return some rows of a column, read and not mapped: few, here and there.

        Raises:
            ConfigError: As `read` does.
        """
        part, number = self._parts[name], self._file.number
        width, offset = part.row_bytes, part.offset
        places = [offset + row * width for row in rows.tolist()]
        try:
            # Where the pages are not cached, the disk reads them side by side and not one after the other.
            for place in places:
                os.posix_fadvise(number, place, width, os.POSIX_FADV_WILLNEED)
            found = b"".join([os.pread(number, width, place) for place in places])
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror})") from error
        if len(found) != width * len(places):
            raise ConfigError(f"{self.path}: is shorter than it was")
        flat = np.frombuffer(found, part.type)
        return flat if part.width == 1 else flat.reshape(-1, part.width)

    def verify(self, name: str) -> None:
        """Read a column and compare it with its checksum, as `open` does; its pages are cached then.

        Raises:
            ConfigError: It is damaged, or cannot be read.
        """
        try:
            _verify(self._file.number, self._parts[name], self.rows, self.size_bytes, check=True)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{self.path}: is damaged") from error

    def release(self) -> None:
        """Give the mapped pages back; they come again from the page cache where they are needed."""
        self._mapping.madvise(mmap.MADV_DONTNEED)


class _Descriptor:
    """A file descriptor that is closed when nobody holds it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class _Part(NamedTuple):
    """A column as the header describes it."""

    name: str
    type: str
    width: int
    offset: int
    crc: int

    @property
    def row_bytes(self) -> int:
        return Column(self.name, self.type, self.width).row_bytes


def _read_header(descriptor: int) -> dict[str, Any]:
    page = os.pread(descriptor, PAGE, 0)
    length, crc = int.from_bytes(page[8:12], "little"), int.from_bytes(page[12:16], "little")
    text = page[16 : 16 + length]
    if page[:8] != MAGIC or len(text) != length or zlib.crc32(text) != crc:
        raise ValueError
    header: dict[str, Any] = json.loads(text)
    return header


def _verify(descriptor: int, part: _Part, rows: int, size: int, *, check: bool) -> None:
    left, at, crc = rows * part.row_bytes, part.offset, 0
    if part.offset % PAGE or part.offset < PAGE or at + left > size or part.row_bytes < 1:
        raise ValueError
    if not check:
        return
    buffer = memoryview(bytearray(_CHECK_BYTES))
    while left:
        got = os.preadv(descriptor, [buffer[: min(left, _CHECK_BYTES)]], at)
        if not got:
            raise ValueError
        crc, at, left = zlib.crc32(buffer[:got], crc), at + got, left - got
    if crc != part.crc:
        raise ValueError


def _view(mapping: mmap.mmap, part: _Part, rows: int) -> npt.NDArray[Any]:
    flat = np.frombuffer(mapping, dtype=part.type, count=rows * part.width, offset=part.offset)
    return flat if part.width == 1 else flat.reshape(rows, part.width)
