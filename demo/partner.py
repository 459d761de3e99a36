"""A partner of the demo: it holds nothing, asks by the gateway's API, and its answers are held against the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from concordat.client import Client, Item
from concordat.client.files import Listed
from concordat.client.results import Cover
from concordat.justification import Justification
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from concordat.client import Outcome
    from demo.scenario import Scenario
    from demo.score import ToldEdge


@dataclass(frozen=True, slots=True)
class Answered:
    """What a partner was told for one query."""

    query: str
    result: str
    parties: frozenset[str]
    outside: frozenset[str]
    """Parties outside the agreement."""
    silent: frozenset[str]
    """Parties that were not covered, for whatever other reason."""


@dataclass(frozen=True, slots=True)
class PartnerCheck:
    """One partner's check, as its own program shows it."""

    partner: str
    listed: tuple[Listed, ...]
    outcome: Outcome
    report: bytes | None
    """The report of the operation, where there is one."""

    def answers(self) -> list[Answered]:
        """Return what it was told, query by query."""
        return [
            Answered(
                query=row.item.client_ref or "",
                result=one.result.value,
                parties=frozenset(hit.party for hit in one.hits),
                outside=frozenset(cover.party for cover in one.coverage if cover.cover is Cover.OUTSIDE),
                silent=frozenset(cover.party for cover in one.not_covered if cover.cover is not Cover.OUTSIDE),
            )
            for row, one in zip(self.listed, self.outcome, strict=True)
        ]


async def ask(home: Path, scenario: Scenario, partner: str, *, operation: str | None) -> PartnerCheck:
    """Ask all that a partner has to ask, in one check, and read the report of an operation whose charter names it.

    Raises:
        ConcordatError: Gateway or custodians cannot be reached, or refuse.
    """
    queries = [query for query in scenario.queries if query.partner == partner]
    items = [Item(query.typed, query.kind, query.region, client_ref=query.id) for query in queries]
    why = Justification(
        reference=f"{partner}-ACTION-1",
        authority=f"Example organisation {partner}",
        officer=f"officer-{partner.lower()}-1",
        purpose=Purpose.INVESTIGATION,
        offence=Offence.TRAFFICKING_IN_HUMAN_BEINGS,
        subject_category=SubjectCategory.VICTIM,
        aim=Aim.IDENTIFY,
        valid_until=(datetime.now(UTC) + timedelta(days=30)).date(),
    )
    async with Client.open(home) as client:
        outcome = await client.check(items, why)
        report = None if operation is None else await client.report(operation)
    return PartnerCheck(partner, tuple(Listed(number, item) for number, item in enumerate(items, 1)), outcome, report)


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
