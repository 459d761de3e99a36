"""The canonical forms of this code are those of the vectors, which are the contract between parties."""

from __future__ import annotations

from typing import Any

import pytest

from concordat.canon import RULES_VERSIONS, Grade, Namespace
from concordat.errors import InputError
from tests.unit.canon.canon_vectors import FOLDER, load, read_case

CASE_FILES = [*(namespace.value for namespace in Namespace), "regions"]
PAIR_FILES = ["equal", "different", "weak"]
LEAST = 30


def _params(name: str, key: str) -> list[Any]:
    loaded = load(name)
    return [pytest.param(entry, loaded["default_context"], id=f"{name}-{n}") for n, entry in enumerate(loaded[key])]


@pytest.mark.parametrize(("case", "context"), [param for name in CASE_FILES for param in _params(name, "cases")])
def test_case_reads_as_written(case: dict[str, Any], context: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InputError) as caught:
            read_case(case, context)
        assert caught.value.code == case["error"]
        return
    reading = read_case(case, context)
    found = [[value.namespace.value, value.canonical] for value in reading.values]
    assert found[0] == case["strong"]
    assert found[1:] == case["weak"]
    assert list(reading.notes) == case["notes"]
    assert [value.grade for value in reading.values] == [Grade.STRONG, *[Grade.WEAK] * len(case["weak"])]
    if "region" in case:
        assert (reading.region, reading.region_assumed) == (case["region"], case["region_assumed"])


@pytest.mark.parametrize(("pair", "context"), _params("equal", "pairs"))
def test_same_thing_meets_in_its_strong_value(pair: dict[str, Any], context: dict[str, Any]) -> None:
    assert read_case(pair["a"], context).values[0] == read_case(pair["b"], context).values[0], pair["why"]


@pytest.mark.parametrize(("pair", "context"), _params("different", "pairs"))
def test_another_thing_has_another_strong_value(pair: dict[str, Any], context: dict[str, Any]) -> None:
    first, second = read_case(pair["a"], context), read_case(pair["b"], context)
    assert first.values[0] != second.values[0], pair["why"]
    if "weak value only" in pair["why"]:
        assert set(first.values[1:]) & set(second.values[1:])


@pytest.mark.parametrize(("pair", "context"), _params("weak", "pairs"))
def test_guesses_meet_where_written_and_only_there(pair: dict[str, Any], context: dict[str, Any]) -> None:
    first, second = read_case(pair["a"], context), read_case(pair["b"], context)
    assert first.values[0] != second.values[0], pair["why"]
    assert bool(set(first.values[1:]) & set(second.values[1:])) is pair["meet"], pair["why"]


@pytest.mark.parametrize("name", CASE_FILES)
def test_file_of_cases_has_enough_distinct_ones(name: str) -> None:
    cases = load(name)["cases"]
    assert len({repr(case) for case in cases}) == len(cases) >= LEAST


@pytest.mark.parametrize("name", PAIR_FILES)
def test_file_of_pairs_has_enough_distinct_ones(name: str) -> None:
    pairs = load(name)["pairs"]
    assert len({(repr(pair["a"]), repr(pair["b"])) for pair in pairs}) == len(pairs) >= LEAST


def test_every_vector_file_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*CASE_FILES, *PAIR_FILES}


def test_vectors_are_of_the_rules_in_force() -> None:
    assert {load(name)["rules_version"] for name in CASE_FILES} == set(RULES_VERSIONS.values())


def test_every_case_of_a_namespace_has_its_strong_value_there() -> None:
    for namespace in Namespace:
        strong = [case["strong"][0] for case in load(namespace.value)["cases"] if "strong" in case]
        assert set(strong) == {namespace.value}
