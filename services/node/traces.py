"""Which trace the tokens of a case were made in, so that its check goes on in the same one.

Tokens wait in the store until they are asked about; this is kept in memory only, and for a while: what is asked again
later begins a trace of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concordat.clock import Clock

LASTS_S: Final = 60.0
MOST: Final = 256


class CaseTraces:
    """Traceparents by row id of the case. One thread sets them, another reads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[int, tuple[str, float]] = {}

    def keep(self, case_id: int, traceparent: str) -> None:
        """Keep the newest trace of a case."""
        self._found.pop(case_id, None)
        while len(self._found) >= MOST:
            del self._found[next(iter(self._found))]
        self._found[case_id] = (traceparent, self._clock.monotonic())

    def of(self, case_id: int) -> str:
        """Return the traceparent of a case; empty where there is none, or none that is fresh."""
        traceparent, at = self._found.get(case_id, ("", 0.0))
        return traceparent if self._clock.monotonic() - at <= LASTS_S else ""
