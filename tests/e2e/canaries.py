"""Secrets that must not be seen, every form in which they could be, and a quick search for all of them at once.

    scanner = Scanner([Canary(1, "typed phone of NL", "+44 7700 900123"), Canary(2, "label", label)])
    found = scanner.find("the gateway's log", content)      # [Finding(canary=1, encoding="hex", ...)]

A finding names a canary by number and place; no value ever stands in a failed test's output. Tens of thousands of
needles are looked for in one pass: a table of 2^24 bits says for each 8 bytes whether they could be the middle of a
needle, and only then the needles are compared.

Limits: found is what is written out in one piece in one of the encodings below; not what was encrypted, compressed, or
hashed with a salt.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WINDOW: Final = 8
FEWEST_CHARACTERS: Final = 6
HASHES: Final = ("md5", "sha1", "sha256")
_C_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "'": r"\'", "\\": r"\\"}
_CHUNK_BYTES: Final = 1 << 22
_TABLE_BITS: Final = 24
_MULTIPLIER: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_SHIFT: Final = np.uint64(64 - _TABLE_BITS)

Encoded = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Canary:
    """One secret: text that somebody typed or its canonical form, or bytes such as a label."""

    number: int
    what: str
    value: str | bytes = field(repr=False)
    named_by_hash: bool = False
    """The protocol names this key by its hash, in manifest or charter, so that the hash alone is no leak."""

    def needles(self) -> Iterator[Encoded]:
        """Return the name of each encoding and what it looks like in it."""
        if isinstance(self.value, str):
            for form in forms_of_text(self.value):
                yield from encodings_of_text(form)
            return
        for encoding, needle in encodings_of_bytes(self.value):
            if not (self.named_by_hash and encoding.startswith(HASHES)):
                yield encoding, needle


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a canary was seen."""

    canary: int
    what: str
    encoding: str
    place: str
    offset: int


def forms_of_text(text: str) -> list[str]:
    """Return a text's spellings: as it is, composed, compatible, in lower and upper case, its digits alone."""
    forms = {text, text.strip(), *(unicodedata.normalize(form, text) for form in ("NFC", "NFKC", "NFD"))}
    forms |= {change(form) for form in list(forms) for change in (str.lower, str.upper, str.casefold)}
    digits = "".join(character for character in text if character.isdigit())
    # Few digits in a text of letters are a number like many; only what is a number goes alone.
    if len(digits) * 2 >= len(text):
        forms.add(digits)
    return sorted(form for form in forms if len(form) >= FEWEST_CHARACTERS)


def encodings_of_text(text: str) -> Iterator[Encoded]:
    """Return a text in the encodings that text is written in, and its bytes in those for bytes."""
    raw = text.encode()
    yield from encodings_of_bytes(raw)
    for name in ("utf-16-le", "utf-16-be"):
        yield name, text.encode(name)
    yield "json", json.dumps(text)[1:-1].encode()
    for percent in (quote(text, safe=""), quote(text), quote_plus(text), _percent_all(raw)):
        yield "percent", percent.encode()
        yield "percent", percent.lower().encode()


def encodings_of_bytes(raw: bytes) -> Iterator[Encoded]:
    """Return bytes as they are, in hex, base64, Python's and octal escapes, and the common hashes of all that."""
    yield "raw", raw
    yield from _hex(raw, "hex")
    yield from _base64(raw, "base64")
    yield "repr", repr(raw)[2:-1].encode()
    yield "octal", "".join(map(_escaped, raw)).encode()
    for name in HASHES:
        digest = hashlib.new(name, raw, usedforsecurity=False).digest()
        yield name, digest
        yield from _hex(digest, f"{name} hex")
        yield from _base64(digest, f"{name} base64")


def _hex(raw: bytes, name: str) -> Iterator[Encoded]:
    yield name, raw.hex().encode()
    yield name, raw.hex().upper().encode()
    yield name, raw.hex(" ").encode()
    yield name, raw.hex(":").encode()


def _base64(raw: bytes, name: str) -> Iterator[Encoded]:
    """Return base64 at the three alignments, without the characters that neighbouring bytes share."""
    for before in range(3):
        padded = b"\0" * before + raw
        first, end = -(-before * 8 // 6), len(padded) * 8 // 6
        yield name, base64.b64encode(padded)[first:end]
        yield f"{name}url", base64.urlsafe_b64encode(padded)[first:end]


def _escaped(byte: int) -> str:
    """Return a byte as C, and protobuf's text format, write it in a string."""
    return _C_ESCAPES.get(chr(byte)) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}")


def _percent_all(raw: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in raw)


class Scanner:
    """Looks for all needles of all canaries."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._by_key: dict[int, dict[bytes, tuple[int, Canary, str]]] = {}
        self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
        for canary in canaries:
            for encoding, needle in canary.needles():
                self._add(canary, encoding, needle)
        keys = np.fromiter(self._by_key, np.uint64, len(self._by_key))
        self._table[self._slots(keys)] = True

    def _add(self, canary: Canary, encoding: str, needle: bytes) -> None:
        if len(needle) < WINDOW:
            # Too short to tell from chance; every canary has longer encodings too.
            return
        # The middle: many identifiers begin or end alike.
        offset = (len(needle) - WINDOW) // 2
        key = int.from_bytes(needle[offset : offset + WINDOW], "little")
        self._by_key.setdefault(key, {}).setdefault(needle, (offset, canary, encoding))

    @staticmethod
    def _slots(keys: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return (keys * _MULTIPLIER) >> _SHIFT

    def find(self, place: str, content: bytes) -> list[Finding]:
        """Return what is seen in this content, in the order of its bytes."""
        found: list[Finding] = []
        for position in self._candidates(content):
            key = int.from_bytes(content[position : position + WINDOW], "little")
            for needle, (offset, canary, encoding) in self._by_key.get(key, {}).items():
                start = position - offset
                if start >= 0 and content.startswith(needle, start):
                    found.append(Finding(canary.number, canary.what, encoding, place, start))
        return found

    def find_all(self, places: Iterable[tuple[str, bytes]]) -> list[Finding]:
        """Return what is seen in any of these contents."""
        return [finding for place, content in places for finding in self.find(place, content)]

    def _candidates(self, content: bytes) -> list[int]:
        found: list[int] = []
        for begin in range(0, len(content), _CHUNK_BYTES):
            chunk = content[begin : begin + _CHUNK_BYTES + WINDOW - 1]
            for shift in range(min(WINDOW, len(chunk) - WINDOW + 1)):
                keys = np.frombuffer(chunk, "<u8", count=(len(chunk) - shift) // WINDOW, offset=shift)
                hits = np.flatnonzero(self._table[self._slots(keys)])
                found += (begin + shift + hits * WINDOW).tolist()
        return sorted(found)
