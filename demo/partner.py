"""A partner of the demo: it holds nothing, asks by the gateway's API, and its answers are held against the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from demo.scenario import Scenario
    from demo.score import ToldEdge


@dataclass(frozen=True, slots=True)
class Answered:
    """What a partner was told for one query."""

    query: str
    typed: str
    result: str
    parties: frozenset[str]
    outside: frozenset[str]
    """Parties outside the agreement."""
    silent: frozenset[str]
    """Parties that were not covered, for whatever other reason."""


def judge(
    scenario: Scenario,
    answers: Iterable[Answered],
    told: Iterable[ToldEdge],
    lines_of: Mapping[tuple[str, bytes], Iterable[str]],
) -> tuple[str, ...]:
    """Return what is wrong with a partner's answers, and with what the holders were told of its questions.

    Args:
        scenario: The truth.
        answers: One a query.
        told: Every notice of every party.
        lines_of: (party, reference) -> ids of the lines of that value.
    """
    expected, by_query = scenario.answers(), {answer.query: answer for answer in answers}
    closed = {name for name, party in scenario.parties.items() if not party.answers_partners}
    wrong = [f"{query}: has no answer" for query in expected if query not in by_query]
    for query, answer in by_query.items():
        result = "hit" if expected[query] else "no_hit"
        if (answer.result, answer.parties) != (result, expected[query]):
            found = ", ".join(sorted(answer.parties)) or "nobody"
            wrong.append(
                f"{query}: {answer.result} with {found}; {', '.join(sorted(expected[query])) or 'nobody'} is true"
            )
        if answer.outside != closed or answer.silent:
            wrong.append(f"{query}: the coverage is not that of the agreement")
    return (*wrong, *_wrongly_told(scenario, told, lines_of))


def _names(parties: frozenset[str]) -> str:
    return ", ".join(sorted(parties)) or "nobody"


def _wrongly_told(
    scenario: Scenario, told: Iterable[ToldEdge], lines_of: Mapping[tuple[str, bytes], Iterable[str]]
) -> Iterable[str]:
    """Say which holder was not told once that a partner asked for what it holds."""
    groups, expected = scenario.groups(), scenario.answers()
    wanted = {
        (query.partner, groups[query.same_as], party)
        for query in scenario.queries
        if query.same_as is not None
        for party in expected[query.id]
    }
    found: Counter[tuple[str, str, str]] = Counter()
    for edge in told:
        if edge.other in scenario.partners:
            things = {groups[line] for line in lines_of.get((edge.party, edge.reference), ())}
            found.update((edge.other, thing, edge.party) for thing in things)
    for key in sorted(wanted | set(found)):
        times = 1 if key in wanted else 0
        if found[key] != times:
            partner, thing, party = key
            yield f"{party} was told {found[key]} times instead of {times} that {partner} asked for {thing}"
