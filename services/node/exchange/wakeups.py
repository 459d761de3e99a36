"""Which batches are asked again, of whom, and when (docs/protocol.md 3.5).

The store says who is pending; this is the timetable in memory. It is made anew at each attach, so that a crash loses
nothing. A batch is due with all its due holders at once, and is not due while a check of it is under way.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from services.node.store.rows import PendingRow

BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
CROWDED_BACKOFF_S: Final = 8.0
# Of so many turns one is for what was asked before, however much there is that never was.
AGAIN_EVERY: Final = 4
OUTSIDE: Final = "outside"
NEW: Final = "new"


def backoff_s(attempts: int) -> float:
    """Return the seconds until the next attempt after `attempts` that were in vain."""
    return BACKOFF_S[min(max(attempts, 1), len(BACKOFF_S)) - 1]


class Due(NamedTuple):
    """A batch and the holders that are to be asked now."""

    batch_id: int
    holders: frozenset[str]


class Wakeups:
    """The timetable of pending (batch, holder) pairs. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._attached: frozenset[str] = frozenset()
        self._ready: dict[int, set[str]] = {}
        self._timers: list[tuple[float, int, str]] = []
        self._absent: dict[str, set[int]] = {}
        self._outside: set[tuple[int, str]] = set()
        self._underway: set[int] = set()
        self._attempts: dict[tuple[int, str], int] = {}
        self._unasked: set[int] = set()
        self._turns = 0

    def attach(self, pending: Iterable[PendingRow], attached: Iterable[str]) -> None:
        """Start anew when the node itself attaches: all are due but holders that are away."""
        self._attached = frozenset(attached)
        self._ready.clear()
        self._timers.clear()
        self._absent.clear()
        self._outside.clear()
        self._underway.clear()
        self._attempts.clear()
        self._unasked.clear()
        for row in pending:
            if row.state == NEW:
                self._unasked.add(row.batch_id)
            # A first question goes to all, also to those that are away: its certificate says so (I6).
            if row.state in (NEW, OUTSIDE) or row.holder in self._attached:
                self._wake(row.batch_id, row.holder)
            else:
                self._absent.setdefault(row.holder, set()).add(row.batch_id)

    def add(self, batch_id: int, holders: Iterable[str]) -> None:
        """Take a new batch, due at once and before all that was asked before."""
        self._unasked.add(batch_id)
        self.give_back(Due(batch_id, frozenset(holders)))

    def give_back(self, due: Due) -> None:
        """Take back what is left of a batch in its turn; it is due again behind all others of its kind."""
        self._ready.setdefault(due.batch_id, set()).update(due.holders)

    def split(self, batch_id: int, new_id: int) -> None:
        """Let a new batch, of values of another, wait for whom that one waits; what is due now is for the caller."""
        for waiting in self._absent.values():
            if batch_id in waiting:
                waiting.add(new_id)
        self._outside |= {(new_id, holder) for batch, holder in self._outside if batch == batch_id}
        for at, _, holder in [one for one in self._timers if one[1] == batch_id]:
            heapq.heappush(self._timers, (at, new_id, holder))
        if batch_id in self._unasked:
            self._unasked.add(new_id)
        self._attempts |= {(new_id, holder): n for (batch, holder), n in self._attempts.items() if batch == batch_id}

    def those_here(self, holders: Collection[str]) -> frozenset[str]:
        """Return those holders that are attached."""
        return self._attached.intersection(holders)

    @property
    def any_ready(self) -> bool:
        """Tell whether a batch is due that is not under way."""
        return any(one not in self._underway for one in self._ready)

    def presence(self, attached: Iterable[str]) -> None:
        """Wake what waits for a holder that was not named before."""
        now_attached = frozenset(attached)
        for holder in now_attached - self._attached:
            for batch_id in self._absent.pop(holder, ()):
                self._attempts.pop((batch_id, holder), None)
                self._wake(batch_id, holder)
        self._attached = now_attached

    def new_manifest(self) -> None:
        """Wake what was outside the agreement."""
        for batch_id, holder in self._outside:
            self._wake(batch_id, holder)
        self._outside.clear()

    def covered(self, batch_id: int, holder: str) -> None:
        """Note a holder that covered a batch."""
        self._attempts.pop((batch_id, holder), None)

    def settle(self, batch_id: int, holder: str, *, state: str, now: float, crowded: bool = False) -> None:
        """Note a holder that did not cover a batch: it waits for the manifest, for the holder, or for its next turn.

        Where all was `crowded` it may not be to blame: less is asked at a time (`room`), and its turns do not become so
        rare that they are awaited long after the crowd has gone.
        """
        if state == OUTSIDE:
            self._outside.add((batch_id, holder))
        elif holder in self._attached:
            # Also where the certificate says 'offline': the holder may have come between the tick and now.
            attempts = self._attempts[batch_id, holder] = self._attempts.get((batch_id, holder), 0) + 1
            pause_s = min(backoff_s(attempts), CROWDED_BACKOFF_S) if crowded else backoff_s(attempts)
            heapq.heappush(self._timers, (now + pause_s, batch_id, holder))
        else:
            self._absent.setdefault(holder, set()).add(batch_id)

    def underway(self, batch_id: int) -> None:
        """Note that a check of the batch has left."""
        self._underway.add(batch_id)
        self._unasked.discard(batch_id)

    def finished(self, batch_id: int) -> None:
        """Note that the check of the batch is over, whatever came of it."""
        self._underway.discard(batch_id)

    def wake(self, now: float) -> None:
        """Let what waited for its time be due."""
        while self._timers and self._timers[0][0] <= now:
            _, batch_id, holder = heapq.heappop(self._timers)
            if holder in self._attached:
                self._wake(batch_id, holder)
            else:
                self._absent.setdefault(holder, set()).add(batch_id)

    def next(self) -> Due | None:
        """Take out the batch whose turn it is, or return None where none is due.

        What was never asked comes first, oldest before newest, and then what has waited longest: where only a few can
        be asked at a time, a batch whose holders are always late must not take every turn.
        """
        self._turns += 1
        unasked = min((self._ready.keys() & self._unasked) - self._underway, default=None)
        again = (one for one in self._ready if one not in self._underway and one not in self._unasked)
        turn = unasked if unasked is not None and self._turns % AGAIN_EVERY else next(again, unasked)
        return None if turn is None else Due(turn, frozenset(self._ready.pop(turn)))

    def next_at(self) -> float | None:
        """Return when the next timer is over, or None."""
        return self._timers[0][0] if self._timers else None

    def _wake(self, batch_id: int, holder: str) -> None:
        self._ready.setdefault(batch_id, set()).add(holder)
