"""A file that is sealed as it grows, so that a disk shows nothing of what is in it but how much it is.

It is a row of records, each written once and never changed, so that no crash harms what was durable before it:

    start (8 bytes, of its content in the whole) | length (4) | nonce (12) | AES-256-GCM of the content

A record that begins before the end of the one in front of it takes the place of all that stood behind its start; so
what is cut off needs no writing. From the first record on that is torn, or makes no sense, nothing counts.
"""

from __future__ import annotations

import os
import secrets
import struct
from bisect import bisect_right
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_BYTES: Final = 1 << 20
"""Content of a record at most."""
_HEAD: Final = struct.Struct(">QI")
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class _Record(NamedTuple):
    start: int
    length: int
    """As it was written; what of it counts ends where the next record begins."""
    place: int
    """Of its head in the file."""

    @property
    def end(self) -> int:
        return self.place + _HEAD.size + _NONCE_BYTES + self.length + _TAG_BYTES


class SealedFile:
    """Bytes that are appended, and read anywhere."""

    def __init__(
        self, file: IO[bytes], key: bytes, what: bytes, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        """Take what a file holds; nothing of it is changed before something is written.

        Args:
            file: Open for reading and writing; it is closed with this.
            key: 32 bytes.
            what: What this is, so that no other file under the key passes for it.
            random_bytes: Source of nonces.
        """
        self._file = file
        self._cipher = AESGCM(key)
        self._what = what
        self._random_bytes = random_bytes
        self._records: list[_Record] = []
        self._starts: list[int] = []
        # Where the records end, as they count; and behind it what is not written yet.
        self._sealed, self._tail = 0, bytearray()
        self._next_place, self._trimmed = 0, False
        self._opened: tuple[int, bytes] = (-1, b"")
        self._scan()

    @property
    def size(self) -> int:
        """Return how many bytes it holds."""
        return self._sealed + len(self._tail)

    def write(self, at: int, content: bytes) -> None:
        """Put bytes behind the first `at`, in place of whatever stands there.

        Raises:
            ConfigError: There are not so many.
        """
        self.cut(at)
        self._tail += content
        while len(self._tail) >= RECORD_BYTES:
            self._seal(RECORD_BYTES)

    def read(self, at: int, count: int) -> bytes:
        """Return so many bytes from a place on, or as many as there are.

        Raises:
            ConfigError: The file is not what was written.
        """
        parts, end = [], min(at + count, self.size)
        while at < min(end, self._sealed):
            number = bisect_right(self._starts, at) - 1
            stop = min(end, self._starts[number + 1] if number + 1 < len(self._starts) else self._sealed)
            start = self._starts[number]
            parts.append(self._content(self._records[number])[at - start : stop - start])
            at = stop
        if at < end:
            parts.append(bytes(self._tail[at - self._sealed : end - self._sealed]))
        return b"".join(parts)

    def cut(self, size: int) -> None:
        """Forget what stands behind so many bytes.

        Raises:
            ConfigError: There are not so many.
        """
        if size > self.size:
            raise ConfigError("a sealed file is shorter than it should be")
        del self._tail[max(size - self._sealed, 0) :]
        self._end_at(min(size, self._sealed))

    def sync(self) -> None:
        """Make what was written durable."""
        if self._tail:
            self._seal(len(self._tail))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; what was not made durable may be lost."""
        self._file.close()

    def __del__(self) -> None:
        self.close()

    def _scan(self) -> None:
        available, place = self._file.seek(0, os.SEEK_END), 0
        while place + _HEAD.size <= available:
            self._file.seek(place)
            start, length = _HEAD.unpack(self._file.read(_HEAD.size))
            record = _Record(start, length, place)
            if not 0 < record.length <= RECORD_BYTES or record.start > self._sealed or record.end > available:
                return
            self._add(record)
            self._next_place = place = record.end

    def _add(self, record: _Record) -> None:
        self._end_at(record.start)
        self._records.append(record)
        self._starts.append(record.start)
        self._sealed = record.start + record.length

    def _end_at(self, size: int) -> None:
        """Let the records end at a place; one that begins there is of no use any more."""
        while self._starts and self._starts[-1] >= size:
            self._starts.pop()
            self._records.pop()
        self._sealed = size

    def _seal(self, count: int) -> None:
        content, place = bytes(self._tail[:count]), self._next_place
        head, nonce = _HEAD.pack(self._sealed, count), self._random_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, content, self._bound(head, place))
        self._file.seek(place)
        if not self._trimmed:
            # What is torn must not look like a record behind the next one.
            self._file.truncate()
            self._trimmed = True
        self._file.write(head + nonce + sealed)
        self._add(_Record(self._sealed, count, place))
        self._next_place = self._records[-1].end
        del self._tail[:count]

    def _content(self, record: _Record) -> bytes:
        if self._opened[0] != record.place:
            self._file.seek(record.place)
            raw = self._file.read(record.end - record.place)
            head, nonce = raw[: _HEAD.size], raw[_HEAD.size : _HEAD.size + _NONCE_BYTES]
            try:
                content = self._cipher.decrypt(nonce, raw[_HEAD.size + _NONCE_BYTES :], self._bound(head, record.place))
            except (InvalidTag, ValueError) as error:
                raise ConfigError("a sealed file is not what this gateway wrote") from error
            self._opened = record.place, content
        return self._opened[1]

    def _bound(self, head: bytes, place: int) -> bytes:
        """Return what a record is sealed with: it is good in its file, at its place, and nowhere else."""
        return self._what + b"\0" + place.to_bytes(8) + head
