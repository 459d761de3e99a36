"""A scenario: raw lines per party, and which of them are the same thing in life (docs/scenario.md).

The truth of a scenario is stated by whoever wrote it, never computed with Concordat's own canonical forms.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from concordat.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MAX_SCENARIO_BYTES: Final = 64 * 1024 * 1024
Name = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{1,15}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Pair = tuple[str, frozenset[str]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Party(_Frozen):
    """A party of the scenario."""

    region: Region | None = None
    """Region of national numbers, ISO 3166 alpha-2; the party's name where that is a region, else none."""
    party_class: Literal["eu_state", "third_country", "international_organisation", "eu_agency"] = "eu_state"
    standing: bool = False
    """True: the party's lines belong to no operation; they match, and move no total."""
    answers_partners: bool = False
    """True: the party answers partners; to them any other is outside the agreement."""


class Line(_Frozen):
    """One thing that somebody typed."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
    party: Name
    kind: str
    typed: Annotated[str, StringConstraints(max_length=4096)]
    region: Region | None = None
    platform: str | None = None
    origin: tuple[Region, ...] = ()
    destination: tuple[Region, ...] = ()
    assessment: Literal["checked", "suspected", "confirmed"] = "checked"
    csa: Literal["checked", "suspected", "confirmed"] = "checked"


class Query(_Frozen):
    """One thing that a partner asks for at the end."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
    partner: Name
    kind: str
    typed: Annotated[str, StringConstraints(max_length=4096)]
    region: Region | None = None
    same_as: str | None = None
    """A line that is the same thing; None for a thing that no party holds."""


class Scenario(_Frozen):
    """Parties, their lines, what partners ask, and the truth about them."""

    name: str = "scenario"
    parties: dict[Name, Party]
    lines: tuple[Line, ...] = Field(max_length=1_000_000)
    match: tuple[tuple[str, ...], ...] = ()
    """Groups of lines that are the same thing; a line is in one group at most."""
    differ: tuple[tuple[str, str], ...] = ()
    """Pairs of lines that must not match; a reminder, since whatever is in no common group must not match."""
    queries: tuple[Query, ...] = Field(default=(), max_length=10_000)
    """What partners ask when the report is there; whoever asks is a partner."""
    totals: dict[str, int] | None = None
    """The exact totals of the report, where the writer states them."""

    @model_validator(mode="after")
    def _lines_have_parties(self) -> Scenario:
        if len({line.id for line in self.lines}) != len(self.lines):
            raise ValueError("two lines have the same id")
        for line in self.lines:
            if line.party not in self.parties:
                raise ValueError(f"line {line.id}: party {line.party} is not in parties")
        return self

    @model_validator(mode="after")
    def _queries_have_lines(self) -> Scenario:
        if len({query.id for query in self.queries}) != len(self.queries):
            raise ValueError("two queries have the same id")
        ids = {line.id for line in self.lines}
        for query in self.queries:
            if query.partner in self.parties:
                raise ValueError(f"query {query.id}: {query.partner} is a party with lines, so no partner")
            if query.same_as is not None and query.same_as not in ids:
                raise ValueError(f"query {query.id}: there is no line {query.same_as}")
        return self

    @model_validator(mode="after")
    def _truth_is_consistent(self) -> Scenario:
        ids = {line.id for line in self.lines}
        group_of: dict[str, int] = {}
        for number, group in enumerate(self.match, 1):
            for line_id in group:
                if line_id not in ids:
                    raise ValueError(f"match group {number}: there is no line {line_id}")
                if group_of.setdefault(line_id, number) != number:
                    raise ValueError(f"line {line_id} is in two match groups")
        for left, right in self.differ:
            if left not in ids or right not in ids:
                raise ValueError(f"differ: there is no line {left if left not in ids else right}")
            if left in group_of and group_of[left] == group_of.get(right):
                raise ValueError(f"differ: lines {left} and {right} are in one match group")
        return self

    @property
    def partners(self) -> tuple[str, ...]:
        """Return who asks and holds nothing, ascending."""
        return tuple(sorted({query.partner for query in self.queries}))

    def answers(self) -> dict[str, frozenset[str]]:
        """Return query id -> the parties that hold the thing and answer partners."""
        groups, holders = self.groups(), dict[str, set[str]]()
        for line in self.lines:
            if self.parties[line.party].answers_partners:
                holders.setdefault(groups[line.id], set()).add(line.party)
        return {
            query.id: frozenset(holders.get(groups[query.same_as], ()) if query.same_as is not None else ())
            for query in self.queries
        }

    def groups(self) -> dict[str, str]:
        """Return line id -> name of the thing; a line in no group is a thing of its own."""
        result = {line.id: f"line {line.id}" for line in self.lines}
        for number, group in enumerate(self.match, 1):
            result.update(dict.fromkeys(group, f"group {number}"))
        return result

    def expected(self) -> set[Pair]:
        """Return the matches that must be found: (thing, unordered pair of parties)."""
        party = {line.id: line.party for line in self.lines}
        pairs: set[Pair] = set()
        for number, group in enumerate(self.match, 1):
            holders = sorted({party[line_id] for line_id in group})
            pairs.update((f"group {number}", frozenset(pair)) for pair in combinations(holders, 2))
        return pairs


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        InputError: Unreadable, or a field that is wrong; the field is named.
    """
    try:
        if path.stat().st_size > MAX_SCENARIO_BYTES:
            raise InputError(f"{path.name}: over {MAX_SCENARIO_BYTES} bytes", code="too_large")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path.name}: not JSON in UTF-8: {error}") from error
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the scenario"
        raise InputError(f"{path.name}: {where}: {first['msg']}") from error
