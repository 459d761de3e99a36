"""How much may be asked at once: less where holders do not keep up, more again once they do (docs/protocol.md 3.5).

A check that holders cannot answer within its window is asked again, all of it. Askers that went on as before would have
a federation that is asked too much do nothing else; so each asks half as much after a window in which many holders were
late, and a quarter more after one in which they were not. At the least it asks a few items at a time, and pauses.

A few late holders change nothing: whoever answers nobody must not slow down everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

LEAST_ITEMS: Final = 512
# One holder in so many has to be late, and one alone is no crowd: its own turns become rarer (`wakeups`).
MANY: Final = 8
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 8.0


class Room:
    """Items that may be under way. All times are monotonic seconds."""

    def __init__(self, most: int, rng: Random) -> None:
        """Begin with all the room there is.

        Args:
            most: Items; those that a full check overshoots it by are not counted.
            rng: So that askers which were late together do not come back together.
        """
        self._most = self._limit = most
        self._least = min(most, LEAST_ITEMS)
        self._rng = rng
        self._under_way = 0
        self._pause_s = 0.0
        self._opens_at = 0.0
        self._changed_at = float("-inf")
        self._in_time: dict[str, bool] = {}
        """Whether each holder that is there answered its last question in time."""

    @property
    def piece(self) -> int:
        """Return how many items one check may have."""
        return self._limit

    def attach(self, most: int) -> None:
        """Go on in another session, in which nothing is under way yet.

        What was too much stays too much: a session often ends because of it, and what is pending is then asked anew.
        """
        cut = self._limit < self._most
        self._most, self._least = most, min(most, LEAST_ITEMS)
        self._limit = max(self._least, min(self._limit, most)) if cut else most
        self._under_way = 0
        self._in_time.clear()

    def presence(self, attached: frozenset[str]) -> None:
        """Forget holders that have gone: nobody asks them, so that they would be late for ever."""
        self._in_time = {holder: in_time for holder, in_time in self._in_time.items() if holder in attached}

    def opens_at(self, now: float) -> float | None:
        """Return when a pause ends that is not over; None where time alone opens nothing."""
        return self._opens_at if self._under_way < self._limit and now < self._opens_at else None

    def is_open(self, now: float) -> bool:
        """Tell whether one more check may leave."""
        return self._under_way < self._limit and now >= self._opens_at

    def leave(self, items: int) -> None:
        """Note a check that leaves."""
        self._under_way += items

    def land(self, items: int) -> None:
        """Note a check that is over."""
        self._under_way -= items

    @property
    def crowded(self) -> bool:
        """Tell whether so many holders were late the last time that none is to blame."""
        # Of all holders, and not of those that one check was for: who was late is asked again by itself.
        late = sum(not in_time for in_time in self._in_time.values())
        return late > 1 and late * MANY > len(self._in_time)

    def judge(self, *, in_time: Collection[str] = (), late: Collection[str] = (), sent_at: float, now: float) -> None:
        """Take which holders answered a check within its window and which did not, before it lands.

        A check that left before the last change says nothing of how much may be asked now.
        """
        self._in_time |= dict.fromkeys(in_time, True) | dict.fromkeys(late, False)
        if sent_at >= self._changed_at and (in_time or late):
            self._changed_at = now
            self._change()
            self._opens_at = now + self._pause_s * self._rng.uniform(0.5, 1.0)

    def _change(self) -> None:
        if not self.crowded:
            self._limit = min(self._most, self._limit + max(1, self._limit // 4))
            self._pause_s = self._pause_s / 2 if self._pause_s > FIRST_PAUSE_S else 0.0
        elif self._limit > self._least:
            # Half of what was asked, which may be far less than what might have been.
            self._limit = max(self._least, min(self._limit, self._under_way) // 2)
        else:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
