"""The one way to read time: a clock is a parameter, never a global.

`now` is the wall clock (unix seconds, UTC) for what is signed, stored or compared between parties; `monotonic` only
measures durations inside one process.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

MS: Final = 1000
"""Milliseconds in a second."""


class Clock(Protocol):
    """What logic may ask about time."""

    def now(self) -> float:
        """Return unix seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Return unix seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    def __init__(self, start: float) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> float:
        """Return the set time."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        Raises:
            ValueError: If `seconds` is negative; set the wall clock back with `set_wall` instead.
        """
        if seconds < 0:
            raise ValueError("a clock advances by zero seconds or more")
        self._now += seconds
        self._monotonic += seconds

    def set_wall(self, now: float) -> None:
        """Set the wall clock, also backwards as a corrected machine does; durations go on unmoved."""
        self._now = now
