"""What a check says of each item, and of whom it can say it (I6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, overload

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.canon import Kind
    from concordat.client.reading import Item

_NAMED: Final = 30


class Verdict(StrEnum):
    """What is known of one item."""

    HIT = "hit"
    """At least one party holds it; each named one has proved that it knows the value."""
    NO_HIT = "no_hit"
    """None of the parties that were covered told of it; `not_covered` says of whom nothing is known."""
    NOT_COVERED = "not_covered"
    """Nobody was covered, so nothing is known."""
    NOT_ALLOWED = "not_allowed"
    """The agreement does not let this partner ask for such an identifier for this purpose; nobody was asked."""
    UNREADABLE = "unreadable"
    """It could not be read, so nobody was asked; `reason` says what to change."""
    NOT_ASKED = "not_asked"
    """Something failed before it was asked; `reason` says what."""


class Cover(StrEnum):
    """How far a party is covered."""

    COVERED = "covered"
    TIMED_OUT = "timed_out"
    OFFLINE = "offline"
    OUTSIDE = "outside"
    """Outside the agreement: it does not answer partners."""
    UNVERIFIED = "unverified"
    """It answered, but did not prove that it knows the value: neither a hit nor none."""


_SAID: Final = {
    Cover.TIMED_OUT: "no answer in time",
    Cover.OFFLINE: "offline",
    Cover.OUTSIDE: "outside the agreement",
    Cover.UNVERIFIED: "answer not verified",
}


@dataclass(frozen=True, slots=True)
class FoundHit:
    """A party that holds the value.

    Attributes:
        party: Its short name, such as NL.
        party_class: What kind of authority it is.
        handle: Under which to speak with it about this match.
    """

    party: str
    party_class: str
    handle: str


@dataclass(frozen=True, slots=True)
class PartyCover:
    """How far one party is covered."""

    party: str
    cover: Cover
    data_minute: int = 0
    """Unix minute up to which all that it has was searched."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of one item.

    Attributes:
        item: As it was given.
        result: What is known.
        hits: Who holds it.
        coverage: Every party that could hold it, and how far it is covered; empty where nobody was asked.
        request: Number of the request that asked, for the record.
        kind: As what it was read.
        read_as: Its canonical form.
        reason: Why nobody was asked.
    """

    item: Item
    result: Verdict
    hits: tuple[FoundHit, ...] = ()
    coverage: tuple[PartyCover, ...] = ()
    request: str | None = None
    kind: Kind | None = None
    read_as: str | None = field(default=None, repr=False)
    reason: str | None = None

    @property
    def client_ref(self) -> str | None:
        """Return what the caller calls the item."""
        return self.item.client_ref

    @property
    def complete(self) -> bool:
        """Tell whether every party that could hold it is covered."""
        return bool(self.coverage) and not self.not_covered

    @property
    def covered(self) -> tuple[str, ...]:
        """Return the parties of which the result speaks."""
        return tuple(one.party for one in self.coverage if one.cover is Cover.COVERED)

    @property
    def not_covered(self) -> tuple[PartyCover, ...]:
        """Return the parties of which nothing is known, but those that are named as hits."""
        hits = {hit.party for hit in self.hits}
        return tuple(one for one in self.coverage if one.cover is not Cover.COVERED and one.party not in hits)

    @property
    def unverified(self) -> tuple[str, ...]:
        """Return the parties whose answer did not prove that they know the value."""
        return tuple(one.party for one in self.coverage if one.cover is Cover.UNVERIFIED)

    def sentence(self) -> str:
        """Return the result as a sentence for people, which claims nothing of a party that is not covered."""
        if self.result in _ASKED_NOBODY:
            said = _ASKED_NOBODY[self.result]
            return said if self.reason is None else f"{said}: {self.reason}"
        missing = missing_text(self.not_covered)
        if self.result is Verdict.HIT:
            said = hits_text(self.hits)
        elif self.result is Verdict.NO_HIT:
            number = len(self.covered)
            said = f"no hit at {'the party' if number == 1 else f'the {number} parties'} covered"
        else:
            said = "nothing is known: nobody was covered"
        return f"{said}; {missing}" if missing else said


_ASKED_NOBODY: Final = {
    Verdict.NOT_ALLOWED: "not allowed",
    Verdict.UNREADABLE: "unreadable",
    Verdict.NOT_ASKED: "not asked",
}


@dataclass(frozen=True, slots=True)
class Outcome(Sequence[Checked]):
    """The results of one check, in the order of its items.

    Attributes:
        results: One an item.
        coverage: The least that holds for every item that was asked; empty where nobody was asked.
        requests: Numbers of the requests that asked.
        quota_left: What is left of the day's quota at the custodian that has least, where any was asked.
        trouble: Why some items were not asked.
    """

    results: tuple[Checked, ...]
    coverage: tuple[PartyCover, ...] = ()
    requests: tuple[str, ...] = ()
    quota_left: int | None = None
    trouble: str | None = None

    @overload
    def __getitem__(self, index: int) -> Checked: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Checked]: ...
    @override
    def __getitem__(self, index: int | slice) -> Checked | Sequence[Checked]:
        return self.results[index]

    @override
    def __len__(self) -> int:
        return len(self.results)

    def of(self, verdict: Verdict) -> list[Checked]:
        """Return the results of one kind."""
        return [one for one in self.results if one.result is verdict]


def missing_text(parties: Iterable[PartyCover]) -> str:
    """Return who is not covered and why, each reason once; empty where nobody is missing."""
    reasons: dict[Cover, list[str]] = {}
    for one in parties:
        reasons.setdefault(one.cover, []).append(one.party)
    parts = [f"{names_text(reasons[cover])} ({said})" for cover, said in _SAID.items() if cover in reasons]
    return f"not covered: {'; '.join(parts)}" if parts else ""


def hits_text(hits: Iterable[FoundHit]) -> str:
    """Return who holds a value, and under which handle to speak with them about it."""
    parties: dict[str, list[str]] = {}
    for hit in hits:
        parties.setdefault(hit.handle, []).append(hit.party)
    return f"hit at {'; '.join(f'{names_text(names)} ({handle})' for handle, names in parties.items())}"


def names_text(names: Iterable[str]) -> str:
    """Return names as people read them, a long list cut short."""
    listed = sorted(names)
    return ", ".join(listed[:_NAMED]) + (f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")


_WORST: Final = (Cover.UNVERIFIED, Cover.OUTSIDE, Cover.OFFLINE, Cover.TIMED_OUT, Cover.COVERED)


def least(coverages: Iterable[tuple[PartyCover, ...]]) -> tuple[PartyCover, ...]:
    """Return of each party the worst state that it has in any of the coverages, and its oldest data."""
    worst: dict[str, PartyCover] = {}
    for one in (cover for coverage in coverages for cover in coverage):
        known = worst.get(one.party, one)
        cover = min(known.cover, one.cover, key=_WORST.index)
        worst[one.party] = PartyCover(one.party, cover, min(known.data_minute, one.data_minute))
    return tuple(worst.values())
