"""Leaks to plant: each encoding written by other means than the scanner's own, so that a blind spot shows."""

from __future__ import annotations

import binascii
import codecs
import hashlib
from typing import TYPE_CHECKING, Final

from google.protobuf.text_format import MessageToString

from concordat.wire.v1 import custodian_pb2

if TYPE_CHECKING:
    from collections.abc import Callable


def _base64(before: bytes, *, url: bool = False) -> Callable[[bytes], bytes]:
    def write(raw: bytes) -> bytes:
        whole = binascii.b2a_base64(before + raw + b"and what follows", newline=False)
        return whole.translate(bytes.maketrans(b"+/", b"-_")) if url else whole

    return write


def _digest(name: str) -> Callable[[bytes], bytes]:
    return lambda raw: hashlib.new(name, raw, usedforsecurity=False).digest()


def _both(first: Callable[[bytes], bytes], second: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda raw: second(first(raw))


def _upper_hex(raw: bytes) -> bytes:
    return binascii.hexlify(raw).upper()


def _digits(raw: bytes) -> bytes:
    return bytes(byte for byte in raw if byte in b"0123456789")


def _percent_all(raw: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in raw)


def _percent(raw: bytes) -> bytes:
    # RFC 3986: unreserved characters stand for themselves.
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return b"".join(bytes([byte]) if byte in plain else b"%%%02X" % byte for byte in raw)


def _utf_16(name: str) -> Callable[[bytes], bytes]:
    return lambda raw: codecs.encode(raw.decode(), name)


def _json(raw: bytes) -> bytes:
    units = codecs.encode(raw.decode(), "utf-16-be")
    pairs = [units[at : at + 2] for at in range(0, len(units), 2)]
    return b"".join(
        pair[1:] if pair[0] == 0 and 0x20 <= pair[1] < 0x7F else b"\\u" + pair.hex().encode() for pair in pairs
    )


def _text_format(raw: bytes) -> bytes:
    return MessageToString(custodian_pb2.EvaluateBody(request_id=raw), as_utf8=False).encode()


FOR_BYTES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "raw": bytes,
    "hex": binascii.hexlify,
    "HEX": _upper_hex,
    "hex with colons": lambda raw: binascii.hexlify(raw, ":"),
    "base64 at 0": _base64(b""),
    "base64 at 1": _base64(b'{"value":'[:7]),
    "base64 at 2": _base64(b'{"value":'[:8]),
    "base64url at 0": _base64(b"\xff\xff\xff", url=True),
    "base64url at 1": _base64(b"\xff", url=True),
    "base64url at 2": _base64(b"\xfb\xff", url=True),
    "repr": lambda raw: f"a value {raw!r} in a message".encode(),
    "protobuf's text format": _text_format,
    **{name: _digest(name) for name in ("md5", "sha1", "sha256")},
    **{
        f"{name} in {form}": _both(_digest(name), write)
        for name in ("md5", "sha1", "sha256")
        for form, write in (("hex", binascii.hexlify), ("HEX", _upper_hex), ("base64", _base64(b'"')))
    },
}
FOR_TEXT: Final[dict[str, Callable[[bytes], bytes]]] = {
    **FOR_BYTES,
    "lower case": lambda raw: raw.decode().lower().encode(),
    "upper case": lambda raw: raw.decode().upper().encode(),
    "percent": _percent,
    "percent for every byte": _percent_all,
    "percent of a form": lambda raw: _percent(raw).replace(b"%20", b"+"),
    "UTF-16LE": _utf_16("utf-16-le"),
    "UTF-16BE": _utf_16("utf-16-be"),
    "JSON": _json,
}
FOR_NUMBERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    f"digits, {name}": _both(_digits, write) for name, write in FOR_TEXT.items()
}
