"""What was used once is not taken again: identifiers of proofs and assertions, bounded in number and time."""

from __future__ import annotations

import hashlib
import heapq
from typing import Final

from concordat.errors import RefusedError, UnavailableError

_DIGEST_BYTES: Final = 16


class ReplayCache:
    """Identifiers of one caller until they expire; a full cache refuses (fail closed)."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: set[bytes] = set()
        self._order: list[tuple[float, bytes]] = []
        self._forgotten_until = float("-inf")

    def take(self, identifier: str, *, until: float, now: float) -> None:
        """Note an identifier that nobody may use again.

        Args:
            identifier: Of the proof or assertion; only its hash is kept.
            until: Unix seconds at which the proof or assertion itself is refused as too old.
            now: Unix seconds.

        Raises:
            RefusedError: It was used before, or is so old that it may have been forgotten.
            UnavailableError: With code `busy`, when the cache is full.
        """
        while self._order and self._order[0][0] < now:
            expired, digest = heapq.heappop(self._order)
            self._seen.discard(digest)
            # A clock that is set back would let forgotten ones pass a second time.
            self._forgotten_until = expired
        digest = hashlib.sha256(identifier.encode()).digest()[:_DIGEST_BYTES]
        if digest in self._seen or until <= self._forgotten_until:
            raise RefusedError("an identifier was used before")
        if len(self._order) >= self._capacity:
            raise UnavailableError("too many identifiers of one caller are kept", code="busy")
        self._seen.add(digest)
        heapq.heappush(self._order, (until, digest))

    def __len__(self) -> int:
        return len(self._order)


class ReplayCaches:
    """One cache a caller, so that one cannot fill that of another; only authenticated callers get one."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._caches: dict[str, ReplayCache] = {}

    def of(self, caller: str) -> ReplayCache:
        """Return a caller's cache."""
        return self._caches.setdefault(caller, ReplayCache(self._capacity))
