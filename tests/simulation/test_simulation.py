"""200 histories by seed, those that broke an invariant once, and the six mutants of issue 4 (9b; docs/simulation.md).

The invariants are listed in `tests.simulation.watch`. `make simulate SEEDS=1000` runs more, `SEED=n make simulate`
shows all that happens in one.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.simulation import REAL, Mutant, make_federation, simulate

if TYPE_CHECKING:
    from tests.unit.exchange import parties

HERE: Final = Path(__file__).parent
SEEDS: Final = 200
AT_ONCE: Final = 10
KEPT: Final = sorted(int(seed) for seed in json.loads((HERE / "reproductions.json").read_text(encoding="utf-8")))
FOUND_BY: Final[dict[str, list[int]]] = json.loads((HERE / "mutants.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> parties.Federation:
    """Keys and manifest."""
    return make_federation(tmp_path_factory.mktemp("seeds") / "federation")


def broken(seed: int, federation: parties.Federation, mutant: Mutant = REAL) -> tuple[str, ...]:
    return simulate(seed, federation, mutant=mutant).broken


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_invariant_holds_in_every_history(small: parties.Federation, first: int) -> None:
    found = {seed: broken(seed, small) for seed in range(first, first + AT_ONCE)}
    assert {seed: what for seed, what in found.items() if what} == {}


@pytest.mark.parametrize("seed", KEPT)
def test_what_broke_an_invariant_once_does_so_no_more(small: parties.Federation, seed: int) -> None:
    assert broken(seed, small) == ()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_rule_that_is_taken_out_is_found_by_its_seed(small: parties.Federation, mutant: Mutant) -> None:
    """And the same seed is clean with the rule in place."""
    assert FOUND_BY[mutant.name]
    for seed in FOUND_BY[mutant.name][:1]:
        assert broken(seed, small, mutant)
        assert broken(seed, small, Mutant(steps=mutant.steps)) == ()


def test_a_seed_is_one_history(small: parties.Federation) -> None:
    one, two = list[str](), list[str]()
    for lines in (one, two):
        simulate(7, small, trace=lines.append)
    assert [pair for pair in itertools.zip_longest(one, two) if pair[0] != pair[1]] == []
