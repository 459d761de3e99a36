"""A file on disk, surveyed once from end to end and then read as bounded lines of text or as one document.

The survey hashes the bytes, finds the encoding and refuses what is no text. Lines are read with a bound on their
length, so that one line of any size costs no more memory than the limit. The file is looked at again after reading:
rows that came from other bytes than the hash names must not be stored under it.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self

from services.node.importers.encoding import FOREIGN_WORDS, by_mark, by_nul_pairs, foreign_words, legacy
from services.node.importers.refusals import FileCode, file_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import stat_result
    from pathlib import Path

    from concordat.errors import InputError
    from services.node.importers.limits import Limits

JSON_NAMES: Final = frozenset({".json", ".jsonl", ".ndjson"})
_CHUNK_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024
# Up to this number, NULs are taken for damage to some lines, however short the file.
_STRAY_NULS: Final = 8

_CHARACTER_SET: Final = re.compile(
    r"ascii|utf-(?:8|16|32)(?:-sig|-[lb]e)?|cp\d{3,4}|iso8859-\d{1,2}|koi8-[rtu]|mac-[a-z]+|tis-620|hz"
    r"|gb(?:2312|k|18030)|big5(?:hkscs)?|euc_(?:jp|kr)|shift_jis|johab"
)
# What officers try to hand in as a table, by its first bytes.
_OTHER_FORMATS: Final = (
    (b"PK\x03\x04", "a workbook (xlsx, ods) or another archive; save the sheet as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file; save the sheet as 'CSV UTF-8'"),
    (b"%PDF", "a PDF; type or export the identifiers as CSV"),
    (b"\x1f\x8b", "compressed; unpack it first"),
    (b"SQLite format 3", "a database; export the table as CSV"),
    (b"{\\rtf", "a rich text document; save it as plain text"),
)


class Line(NamedTuple):
    """One physical line without its end; `text` is cut where `too_long` says so."""

    number: int
    text: str
    too_long: bool

    def __repr__(self) -> str:
        return f"Line({self.number})"


@dataclass(frozen=True, slots=True)
class Source:
    """A surveyed file: its path, identity, size, hash, and the encoding in which it is read."""

    path: Path
    identity: tuple[int, ...]
    size_bytes: int
    sha256: str
    encoding: str
    head: bytes = field(repr=False)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file for reading, and raise when it is or becomes another than the one surveyed.

        Raises:
            InputError: the file was changed, or cannot be read.
        """
        try:
            with self.path.open("rb") as handle:
                self._check(handle)
                yield handle
                self._check(handle)
        except OSError as error:
            raise file_error(FileCode.FILE_UNREADABLE, "The file can no longer be read.") from error

    def _check(self, handle: BinaryIO) -> None:
        if _identity(_status(handle)) != self.identity:
            raise file_error(FileCode.FILE_CHANGED, "The file was changed while it was read; submit it again.")


class LineReader:
    """Physical lines of a text, one after the other, each within the limit; lines may be pushed back."""

    def __init__(self, handle: BinaryIO, *, name: str, line_bytes: int) -> None:
        self._text = io.TextIOWrapper(handle, encoding=name, errors="replace", newline=None)
        self._line_bytes = line_bytes
        self._number = 0
        self._pushed: list[Line] = []

    def next(self) -> Line | None:
        """Return the next line, or None at the end."""
        if self._pushed:
            return self._pushed.pop()
        # One character more than the limit, and one for the line's end.
        text = self._text.readline(self._line_bytes + 2)
        if not text:
            return None
        self._number += 1
        whole = text.endswith("\n")
        piece = text
        while piece and not piece.endswith("\n") and len(text) > self._line_bytes:
            piece = self._text.readline(self._line_bytes)
        text = text[:-1] if whole else text
        return Line(self._number, text, self._over(text))

    def push_back(self, lines: list[Line]) -> None:
        """Give `lines` again, in their order, before any other."""
        self._pushed.extend(reversed(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        # The file underneath belongs to whoever opened it.
        self._text.detach()

    def _over(self, text: str) -> bool:
        if len(text) > self._line_bytes:
            return True
        if text.isascii() or len(text) * 4 <= self._line_bytes:
            return False
        return len(text.encode("utf-8", errors="replace")) > self._line_bytes


def survey(path: Path, *, limits: Limits, encoding_name: str | None = None) -> Source:
    """Read the file once: hash, size, encoding.

    Raises:
        InputError: the file is missing, no regular file, empty, too large, or no text in a known encoding.
    """
    named = None if encoding_name is None else _known_encoding(encoding_name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise file_error(FileCode.NOT_A_FILE, "This is a folder or device, not a file.")
        with path.open("rb") as handle:
            return _survey(path, handle, limits=limits, named=named)
    except FileNotFoundError as error:
        raise file_error(FileCode.FILE_MISSING, "There is no such file.") from error
    except OSError as error:
        raise file_error(FileCode.FILE_UNREADABLE, "The file cannot be read; look at its permissions.") from error


def _survey(path: Path, handle: BinaryIO, *, limits: Limits, named: str | None) -> Source:
    status = _status(handle)
    if status.st_size == 0:
        raise file_error(FileCode.FILE_EMPTY, "The file is empty.")
    if status.st_size > limits.file_bytes:
        raise file_error(
            FileCode.FILE_TOO_LARGE,
            f"The file has {status.st_size} bytes, more than the limit of {limits.file_bytes}; split it.",
        )
    head = handle.read(_HEAD_BYTES)
    handle.seek(0)
    for magic, hint in _OTHER_FORMATS:
        if head.startswith(magic):
            raise file_error(FileCode.FORMAT_UNKNOWN, f"The file is {hint}.")
    sha256, valid_utf8 = _hash(handle)
    name = named or by_mark(head) or by_nul_pairs(head)
    if name is None:
        if head.count(0) > max(_STRAY_NULS, len(head) // 10):
            raise file_error(FileCode.FORMAT_UNKNOWN, "The file is no text: it is full of NUL bytes.")
        # JSON is Unicode (RFC 8259), so that a legacy encoding is no answer for it.
        json = path.suffix.casefold() in JSON_NAMES or head.lstrip()[:1] in {b"{", b"["}
        name = "utf-8" if valid_utf8 or json else _guess(handle, line_bytes=limits.line_bytes)
    return Source(
        path=path, identity=_identity(status), size_bytes=status.st_size, sha256=sha256, encoding=name, head=head
    )


def _hash(handle: BinaryIO) -> tuple[str, bool]:
    """Return the SHA-256 of the file in hex, and whether all of it is valid UTF-8."""
    digest = hashlib.sha256()
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    while chunk := handle.read(_CHUNK_BYTES):
        digest.update(chunk)
        decoder = _fed(decoder, chunk)
    return digest.hexdigest(), _fed(decoder, b"", final=True) is not None


def _fed(
    decoder: codecs.IncrementalDecoder | None, chunk: bytes, *, final: bool = False
) -> codecs.IncrementalDecoder | None:
    if decoder is not None:
        try:
            decoder.decode(chunk, final)
        except UnicodeDecodeError:
            return None
    return decoder


def _guess(handle: BinaryIO, *, line_bytes: int) -> str:
    """Name the encoding of a text that is not all valid UTF-8: rules 3 and 4 of `encoding`."""
    handle.seek(0)
    valid = broken = 0
    words: dict[bytes, None] = {}
    while line := handle.readline(line_bytes):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            valid += 1
        except UnicodeDecodeError:
            broken += 1
        if len(words) < FOREIGN_WORDS:
            words.update(dict.fromkeys(foreign_words(line)))
    if valid > broken:
        return "utf-8"
    name = legacy(b"\n".join(words))
    if name is None:
        raise file_error(
            FileCode.ENCODING_UNKNOWN, "The encoding of the file is not known; save it as UTF-8, or name its encoding."
        )
    return name


def _known_encoding(name: str) -> str:
    """Return the registered name of a character set; codecs that are none, such as idna or base64, are not taken."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise _no_encoding() from error
    if not _CHARACTER_SET.fullmatch(found):
        raise _no_encoding()
    return found


def _no_encoding() -> InputError:
    return file_error(FileCode.ENCODING_UNKNOWN, "The encoding that was named is not known; an example is 'cp1251'.")


def _status(handle: BinaryIO) -> stat_result:
    return os.fstat(handle.fileno())


def _identity(status: stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
