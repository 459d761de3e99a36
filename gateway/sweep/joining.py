"""Who is still to join a sweep, and how long the hub waits for it (docs/protocol.md 3.6 (3))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.effects import SweepSettings
    from gateway.sweep.members import Members

FEWEST: Final = 2


class Joining:
    """State of a sweep before its plan."""

    def __init__(self, members: Members, settings: SweepSettings, attached: Collection[str], now: float) -> None:
        self.expected = set(attached) & set(members.participants)
        """Who was attached when the sweep began."""
        self.preparing: dict[str, tuple[float, int, int]] = {}
        """Who makes its set: when it said so, how many rows are ready, and of how many."""
        self._members = members
        self._settings = settings
        self._started = now

    def note(self, party: str, said: wire.SweepPreparing, now: float) -> None:
        """Note that a participant makes its set."""
        self.preparing[party] = (now, said.done, said.total)

    def forget(self, party: str) -> None:
        """Note that a participant is gone; it may come back in time."""
        self._members.present.pop(party, None)
        self.preparing.pop(party, None)

    def over(self, now: float) -> bool:
        """Tell whether nobody is waited for any more: all are here, or those that are not have had their time."""
        known = self._members.present.keys() | self._members.dropped.keys()
        if self.expected <= known and len(self._members) >= FEWEST:
            return True
        return now - self._started >= self._settings.join_s and not self._waits_for_sets(now)

    def absent(self) -> list[str]:
        """Say for the log who has not joined."""
        members = self._members
        absent = (self.expected | self.preparing.keys()) - members.present.keys() - members.dropped.keys()
        return [f"{one} (prepares its set)" if one in self.preparing else one for one in sorted(absent)]

    def _waits_for_sets(self, now: float) -> bool:
        """Tell whether somebody prepares its set, has said so a moment ago, and may still take time over it."""
        fresh = [said for party, (said, _, _) in self.preparing.items() if party not in self._members.present]
        recent = any(now - said < self._settings.join_s for said in fresh)
        return recent and now - self._started < self._settings.prepare_s
