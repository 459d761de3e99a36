"""Who takes part in a sweep, who was dropped by name, and what the report will say of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.sweep.effects import Participation

if TYPE_CHECKING:
    from gateway.sweep.declaration import Declaration, Progress


@dataclass(slots=True)
class Member:
    """A participant that has joined.

    Attributes:
        party: SPIFFE id.
        index: Its place in the charter.
        declaration: What it committed to.
        progress: How far its set has come.
        here: Whether it has a stream; without one it may come back in time.
        owes_since: When it began to owe a frame; None where it owes none.
        owed_s: How long it has owed frames in all, before that.
        joins: How often it has joined.
    """

    party: str
    index: int
    declaration: Declaration
    progress: Progress
    here: bool = True
    owes_since: float | None = None
    owed_s: float = 0.0
    joins: int = 1

    def settle(self, now: float) -> None:
        """Note that it owes nothing, or begins to owe anew."""
        if self.owes_since is not None:
            self.owed_s += now - self.owes_since
        self.owes_since = None


@dataclass(slots=True)
class Members:
    """The participants of a sweep: those that take part, and those that were dropped, with the code."""

    participants: tuple[str, ...]
    present: dict[str, Member] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.present)

    def all(self) -> list[Member]:
        """Return those that take part."""
        return list(self.present.values())

    def at(self, index: int) -> Member | None:
        """Return the one with a place in the charter, None where it takes no part any more."""
        return self.present.get(self.participants[index])

    def indices(self) -> set[int]:
        """Return the places of those that take part."""
        return {member.index for member in self.present.values()}

    def sizes(self) -> list[int]:
        """Return the sizes of their sets."""
        return [member.declaration.size for member in self.present.values()]

    def participations(self) -> tuple[Participation, ...]:
        """Return how each participant of the charter took part."""
        return tuple(self._participation(party) for party in self.participants)

    def _participation(self, party: str) -> Participation:
        member = self.present.get(party)
        if member is not None:
            declared = member.declaration
            return Participation(party, "included", declared.size, declared.commitment.hex())
        if party in self.dropped:
            return Participation(party, f"dropped:{self.dropped[party]}")
        return Participation(party, "absent")
