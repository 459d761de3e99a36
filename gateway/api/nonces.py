"""Nonces that the server gives for proofs (RFC 9449 8): a function of time and a key of this process, so none is kept.

A nonce is taken during its own window and the next one. Windows follow the monotonic clock: no one who sets the wall
clock brings an old nonce back.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from concordat.base64url import encode

if TYPE_CHECKING:
    from concordat.clock import Clock

WINDOW_S: Final = 60
_BYTES: Final = 16
_LABEL: Final = b"concordat/v1/dpop-nonce\0"


class Nonces:
    """The nonces of one process."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def current(self) -> str:
        """Return the nonce to use now."""
        return self._of(self._window())

    def accepts(self, nonce: str) -> bool:
        """Tell whether this is the nonce of this window or of the one before."""
        window, given = self._window(), nonce.encode("utf-8", "replace")
        found = [hmac.compare_digest(given, self._of(one).encode()) for one in (window, window - 1)]
        return any(found)

    def _window(self) -> int:
        return int(self._clock.monotonic() // WINDOW_S)

    def _of(self, window: int) -> str:
        return encode(hmac.digest(self._key, _LABEL + b"%d" % window, "sha256")[:_BYTES])
