"""A scenario states its truth, and what found edges are worth is decided by it alone (docs/scenario.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from concordat.canon import Context, Kind, read
from concordat.errors import InputError
from demo.files import write_files
from demo.generate import TOTALS, generate
from demo.partner import Answered, judge
from demo.scenario import Scenario, load_scenario
from demo.score import ToldEdge, score

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {
    "parties": {"NL": {}, "RO": {}, "DE": {}},
    "lines": [
        {"id": "n1", "party": "NL", "kind": "phone", "typed": "1"},
        {"id": "n2", "party": "NL", "kind": "phone", "typed": "2"},
        {"id": "r1", "party": "RO", "kind": "phone", "typed": "1"},
        {"id": "d1", "party": "DE", "kind": "phone", "typed": "1"},
    ],
    "match": [["n1", "r1", "d1"]],
    "differ": [["n2", "r1"]],
}
LINES = {("NL", b"n"): ["n1"], ("NL", b"m"): ["n2"], ("RO", b"r"): ["r1"], ("DE", b"d"): ["d1"]}


def told(*edges: str) -> list[ToldEdge]:
    """'NL n RO r': NL, holding n, is told of RO, which holds r."""
    parts = [edge.split() for edge in edges]
    return [ToldEdge(party, own.encode(), other, theirs.encode()) for party, own, other, theirs in parts]


ASKED: dict[str, Any] = {"id": "q1", "partner": "IJM", "kind": "phone", "typed": "1", "same_as": "n1"}
ALL = ("NL n RO r", "RO r NL n", "NL n DE d", "DE d NL n", "RO r DE d", "DE d RO r")


def test_all_pairs_told_on_both_sides_once_are_right() -> None:
    result = score(Scenario.model_validate(SMALL), told(*ALL), LINES, {})
    assert (result.right, result.expected, result.found) == (True, 3, 3)


@pytest.mark.parametrize(
    ("edges", "field"),
    [
        (ALL[:-1], "missing"),
        ((*ALL, ALL[0]), "doubled"),
        ((*ALL, "NL m RO r"), "unexpected"),
        ((*ALL, "NL x RO r"), "unexpected"),
    ],
)
def test_what_is_missing_doubled_or_invented_is_named(edges: tuple[str, ...], field: str) -> None:
    result = score(Scenario.model_validate(SMALL), told(*edges), LINES, {})
    assert not result.right
    assert len(getattr(result, field)) == 1


def test_a_total_that_differs_from_the_stated_one_is_wrong() -> None:
    scenario = Scenario.model_validate({**SMALL, "totals": {"platforms": 2}})
    assert score(scenario, told(*ALL), LINES, {"platforms": 2}).right
    assert score(scenario, told(*ALL), LINES, {"platforms": 3}).wrong_totals == ("platforms: 3 instead of 2",)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"match": [["n1", "zz"]]}, "zz"),
        ({"match": [["n1", "r1"], ["r1", "d1"]]}, "r1"),
        ({"differ": [["n1", "r1"]]}, "n1"),
        ({"lines": [{"id": "a", "party": "XX", "kind": "phone", "typed": "1"}]}, "XX"),
        ({"surprise": 1}, "surprise"),
        ({"queries": [{**ASKED, "same_as": "zz"}]}, "zz"),
        ({"queries": [{**ASKED, "partner": "NL"}]}, "NL"),
        ({"queries": [ASKED, ASKED]}, "same id"),
    ],
)
def test_a_wrong_scenario_file_is_refused_with_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps({**SMALL, **change}))
    with pytest.raises(InputError, match=named):
        load_scenario(path)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_scenario_has_the_totals_of_the_report_whatever_the_seed(seed: int) -> None:
    scenario = generate(seed, standing=100)
    groups = scenario.groups()
    own = [line for line in scenario.lines if not scenario.parties[line.party].standing]
    things = {groups[line.id] for line in own}
    platforms: dict[str, list[tuple[str, str]]] = {}
    for line in own:
        if line.kind in ("platform", "website", "domain"):
            platforms.setdefault(groups[line.id], []).append((line.assessment, line.csa))
    confirmed = {thing for thing, seen in platforms.items() if any(a == "confirmed" for a, _ in seen)}
    suspected = {thing for thing, seen in platforms.items() if any(a == "suspected" for a, _ in seen)} - confirmed
    abused = {thing for thing, seen in platforms.items() if any(c != "checked" for _, c in seen)}
    assert len(platforms) == TOTALS["platforms"]
    assert (len(suspected), len(confirmed), len(abused)) == (26, 5, 10)
    assert len(things) == 85 + 371 + 325 + 12


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_partner_asks_for_twenty_things_of_which_some_are_nobodys_and_some_are_not_for_it(seed: int) -> None:
    scenario = generate(seed)
    answers = scenario.answers()
    assert len(scenario.queries) == 20
    assert scenario.partners == ("IJM",)
    assert sum(query.same_as is None for query in scenario.queries) == 6
    assert 8 <= sum(bool(parties) for parties in answers.values()) <= 14
    assert not any(parties & {"HU", "MT", "UA"} for parties in answers.values())


def asked_world() -> Scenario:
    parties = {"NL": {"answers_partners": True}, "RO": {"answers_partners": True}, "DE": {}}
    nobodys = {"id": "q2", "partner": "IJM", "kind": "phone", "typed": "9"}
    return Scenario.model_validate({**SMALL, "parties": parties, "queries": [ASKED, nobodys]})


def answer(query: str, result: str, *parties: str, outside: str = "DE", silent: str = "") -> Answered:
    return Answered(query, result, frozenset(parties), frozenset(outside.split()), frozenset(silent.split()))


RIGHT = (answer("q1", "hit", "NL", "RO"), answer("q2", "no_hit"))
TOLD = ("NL n IJM i", "RO r IJM i")


def test_a_partner_that_is_told_exactly_the_truth_is_right() -> None:
    assert judge(asked_world(), RIGHT, told(*ALL, *TOLD), LINES) == ()


@pytest.mark.parametrize(
    ("answers", "edges", "named"),
    [
        (RIGHT[:1], TOLD, "q2: has no answer"),
        ((answer("q1", "hit", "NL"), RIGHT[1]), TOLD, "q1: hit with NL"),
        ((answer("q1", "hit", "NL", "RO", "DE"), RIGHT[1]), TOLD, "q1: hit with DE"),
        ((answer("q1", "no_hit"), RIGHT[1]), TOLD, "q1: no_hit"),
        ((RIGHT[0], answer("q2", "not_covered")), TOLD, "q2: not_covered"),
        ((RIGHT[0], answer("q2", "no_hit", outside="")), TOLD, "coverage"),
        ((RIGHT[0], answer("q2", "no_hit", silent="RO")), TOLD, "coverage"),
        (RIGHT, TOLD[:1], "RO was told 0 times"),
        (RIGHT, (*TOLD, TOLD[0]), "NL was told 2 times"),
        (RIGHT, (*TOLD, "DE d IJM i"), "DE was told 1 times instead of 0"),
    ],
)
def test_what_is_wrong_with_a_partners_answers_is_named(
    answers: tuple[Answered, ...], edges: tuple[str, ...], named: str
) -> None:
    (wrong,) = judge(asked_world(), answers, told(*edges), LINES)
    assert named in wrong


def test_a_seed_gives_the_same_scenario_again_and_another_seed_another() -> None:
    assert generate(7, standing=50) == generate(7, standing=50)
    assert generate(7, standing=50).lines != generate(8, standing=50).lines


def test_files_hold_every_line_once(tmp_path: Path) -> None:
    scenario = generate(1, standing=100)
    written = [line for file in write_files(scenario, tmp_path) for line in file.line_ids]
    assert sorted(written) == sorted(line.id for line in scenario.lines)


@pytest.mark.parametrize("records", [2000, 12_345])
def test_a_scaled_scenario_has_as_many_records_and_totals_of_the_same_proportions(records: int) -> None:
    scenario = generate(1, records=records)
    assert len(scenario.lines) == records
    groups, totals = scenario.groups(), scenario.totals or {}
    own = [line for line in scenario.lines if not scenario.parties[line.party].standing]
    assert 0.75 < len(own) / records < 0.85
    platforms = {groups[line.id] for line in own if line.kind in ("platform", "website", "domain")}
    assert len(platforms) == totals["platforms"]
    for row, number in TOTALS.items():
        assert abs(totals[row] / number - totals["platforms"] / TOTALS["platforms"]) <= 1.0 / number + 0.01
    assert len(scenario.expected()) > records / 4


@pytest.mark.parametrize(("seed", "records"), [(1, None), (2, None), (3, None), (4, 6000)])
def test_canonical_forms_agree_with_the_truth_that_the_scenario_states(seed: int, records: int | None) -> None:
    scenario = generate(seed, standing=200, records=records)
    groups, forms = scenario.groups(), dict[str, set[tuple[str, str]]]()
    for line in scenario.lines:
        home = scenario.parties[line.party].region or "NL"
        context = Context(home_region=home, region=line.region, platform=line.platform)
        strong = read(Kind.parse(line.kind), line.typed, context).values[0]
        forms.setdefault(groups[line.id], set()).add((strong.namespace, strong.canonical))
    for query in scenario.queries:
        strong = read(Kind.parse(query.kind), query.typed, Context(home_region="ZZ", region=query.region)).values[0]
        thing = query.id if query.same_as is None else groups[query.same_as]
        forms.setdefault(thing, set()).add((strong.namespace, strong.canonical))
    assert [thing for thing, found in forms.items() if len(found) != 1] == []
    assert len({form for found in forms.values() for form in found}) == len(forms)
