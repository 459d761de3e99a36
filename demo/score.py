"""Hold what the parties were told against the truth of the scenario (docs/scenario.md)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from demo.scenario import Pair, Scenario


@dataclass(frozen=True, slots=True)
class ToldEdge:
    """One notice that a party shows: its own reference, and whose reference it equals."""

    party: str
    reference: bytes
    other: str
    other_reference: bytes


@dataclass(frozen=True, slots=True)
class Score:
    """The outcome; `right` is what decides the exit code."""

    expected: int
    found: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    doubled: tuple[str, ...]
    wrong_totals: tuple[str, ...] = field(default=())

    @property
    def right(self) -> bool:
        """Tell whether every match was found, once, and no other, and the totals are the stated ones."""
        return not (self.missing or self.unexpected or self.doubled or self.wrong_totals)


def _show(pair: Pair) -> str:
    thing, parties = pair
    return f"{thing}: {' - '.join(sorted(parties))}"


def score(
    scenario: Scenario,
    told: Iterable[ToldEdge],
    lines_of: Mapping[tuple[str, bytes], Iterable[str]],
    totals: Mapping[str, int],
) -> Score:
    """Compare told edges and totals with the truth.

    Args:
        scenario: The truth.
        told: Every notice of every party, doubled ones included.
        lines_of: (party, reference) -> ids of the lines of that value.
        totals: Totals of the report.
    """
    groups = scenario.groups()
    sides: Counter[tuple[Pair, str]] = Counter()
    unexpected: set[str] = set()
    for edge in told:
        own = {groups[line] for line in lines_of.get((edge.party, edge.reference), ())}
        others = {groups[line] for line in lines_of.get((edge.other, edge.other_reference), ())}
        parties = frozenset((edge.party, edge.other))
        if not own & others:
            unexpected.add(f"{edge.party} was told of {edge.other}: {'; '.join(sorted(own | others)) or 'no line'}")
        for thing in own & others:
            sides[((thing, parties), edge.party)] += 1
    expected = scenario.expected()
    missing = [pair for pair in expected if any(sides[(pair, party)] == 0 for party in pair[1])]
    doubled = {f"{_show(pair)}: {party} {number} times" for (pair, party), number in sides.items() if number > 1}
    stated = scenario.totals or {}
    wrong = [
        f"{row}: {totals.get(row)} instead of {number}" for row, number in stated.items() if totals.get(row) != number
    ]
    return Score(
        expected=len(expected),
        found=len(expected) - len(missing),
        missing=tuple(sorted(map(_show, missing))),
        unexpected=tuple(sorted(unexpected)),
        doubled=tuple(sorted(doubled)),
        wrong_totals=tuple(wrong),
    )
