"""The model of the protocol: with all rules, nothing is lost or told twice; without any one of them, something is.

I3: each party that may be told is told, once; I6: 'covered' is said of nobody who was not; I9: a restored node answers
only when it has caught up, by the policies it has now. Each world is exhausted. docs/model.md says what is modelled.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from tests.model.cases import CASES
from tests.model.configurations import LIMITS, SMALL
from tests.model.rules import MUTANTS, ON, Rules

if TYPE_CHECKING:
    from tests.model.explorer import Result

# One process explores each world once.
pytestmark = pytest.mark.xdist_group("model")


@lru_cache
def with_all_rules(world: str) -> Result:
    return SMALL[world].explore(ON)


def without(rule: str, world: str) -> Result:
    return SMALL[world].explore(Rules(**{rule: False}))


@pytest.mark.parametrize("world", SMALL)
def test_with_all_rules_nothing_goes_wrong(world: str) -> None:
    result = with_all_rules(world)
    print(f"{world}: {result.states} states")  # noqa: T201 -- shown with -s
    assert result.complete
    assert result.counterexample is None, str(result.counterexample)


@pytest.mark.parametrize("rule", CASES)
def test_without_a_rule_something_goes_wrong(rule: str) -> None:
    world, reason = CASES[rule]
    found = without(rule, world).counterexample
    print(f"without {rule}, {world}:\n{found}")  # noqa: T201 -- the trace is what this test is for
    assert found is not None
    assert reason in found.reason
    assert with_all_rules(world).counterexample is None


def test_every_rule_has_its_case() -> None:
    assert sorted(CASES) == sorted(one.name for one in fields(Rules))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_found(mutant: str) -> None:
    rule = MUTANTS[mutant]
    assert without(rule, CASES[rule][0]).counterexample is not None


@pytest.mark.parametrize("world", LIMITS)
def test_what_the_rules_do_not_prevent_is_known(world: str) -> None:
    """A limit that is gone is to be struck from docs/model.md."""
    found = LIMITS[world].explore().counterexample
    print(f"{world}:\n{found}")  # noqa: T201 -- the trace is what this test is for
    assert found is not None
