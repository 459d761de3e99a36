"""How fast tokens come and how long the rest will take, for `status` and for who waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concordat.clock import Clock

CONDITION: Final = "tokens"
# Of the work that is left, above which a person who looks wants to know how long it takes.
FROM_LEFT: Final = 5000
EVERY_S: Final = 2.0
_LOOK_BACK_S: Final = 60.0
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


class Pace:
    """The last minute of work; times are the clock's monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: deque[tuple[float, int]] = deque()
        self._since = clock.monotonic()
        self._said_at = float("-inf")

    def begin(self) -> None:
        """Measure from now on, after there was nothing to do."""
        self._made.clear()
        self._since = self._clock.monotonic()

    def add(self, number: int) -> bool:
        """Note that so many tokens were made; return whether it is time to say something."""
        now = self._clock.monotonic()
        self._made.append((now, number))
        while self._made[0][0] < now - _LOOK_BACK_S:
            self._since = self._made.popleft()[0]
        due = now - self._said_at >= EVERY_S
        if due:
            self._said_at = now
        return due

    def in_words(self, left: int) -> str:
        """Return rate and time left; empty where little is left, or nothing is known yet."""
        took_s = self._clock.monotonic() - self._since
        made = sum(number for _, number in self._made)
        if left < FROM_LEFT or not made or took_s <= 0:
            return ""
        rate = made / took_s
        return f"{left:,} tokens are still to be made, {rate:,.0f} a second, about {_duration(left / rate)} left"


def _duration(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
