"""Logins: a random cookie each, of which the process keeps a hash; a restart ends them all."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from concordat.base64url import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import Clock

TOKEN_BYTES: Final = 32
TOKEN_CHARS: Final = 43
HOUR_S: Final = 3600


class Sessions:
    """The logins of one console."""

    def __init__(self, *, clock: Clock, random_bytes: Callable[[int], bytes], hours: int, most: int) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._life_s = hours * HOUR_S
        self._most = most
        self._ends: dict[bytes, float] = {}

    def begin(self) -> str:
        """Return the cookie of a new login; one over the limit ends the oldest."""
        while len(self._ends) >= self._most:
            del self._ends[next(iter(self._ends))]
        token = encode(self._random_bytes(TOKEN_BYTES))
        # A wall clock that is set must neither end a login nor lengthen it.
        self._ends[_hash(token)] = self._clock.monotonic() + self._life_s
        return token

    def holds(self, token: str | None) -> bool:
        """Tell whether a cookie is that of a login."""
        if token is None or len(token) != TOKEN_CHARS:
            return False
        key = _hash(token)
        ends_at = self._ends.get(key)
        if ends_at is None:
            return False
        if self._clock.monotonic() >= ends_at:
            del self._ends[key]
            return False
        return True

    def end(self, token: str | None) -> None:
        """End a login, where there is one."""
        if token is not None:
            self._ends.pop(_hash(token), None)

    @property
    def life_s(self) -> int:
        """Return how long a login lasts."""
        return self._life_s


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
