"""I7: a wrong clock neither gives a day back nor takes days away; only what is charged moves a custodian's day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import RefusedError

if TYPE_CHECKING:
    from tests.unit.custodian.conftest import Bench

DAY_S = 86_400


def code_of(bench: Bench, count: int = 1, **changed: Any) -> str:
    try:
        bench.custodian.evaluate(bench.request(count, **changed))
    except RefusedError as error:
        return error.code
    return "evaluated"


def test_a_clock_that_ran_ahead_for_a_while_costs_no_days(bench: Bench) -> None:
    """Requests of parties whose clocks are right are expired then, so nothing is charged to days to come."""
    right = bench.clock.now()
    bench.clock.set_wall(right + 30 * DAY_S)
    assert code_of(bench, now=right) == "expired"
    assert bench.used() == 0
    bench.clock.set_wall(right)
    assert code_of(bench, 300) == "evaluated"
    assert code_of(bench) == "quota_exhausted"
    bench.clock.advance(DAY_S)
    assert code_of(bench, 300) == "evaluated"


@pytest.mark.parametrize("back_s", [1, DAY_S, 400 * DAY_S])
def test_a_clock_set_back_gives_no_second_quota_not_even_after_a_restart(bench: Bench, back_s: float) -> None:
    assert code_of(bench, 300) == "evaluated"
    bench.clock.set_wall(bench.clock.now() - back_s)
    assert code_of(bench) == "quota_exhausted"
    bench.reopen()
    assert code_of(bench) == "quota_exhausted"
    assert bench.used() == 300


def test_at_midnight_the_old_day_ends_and_a_step_back_over_it_does_not_reopen_it(bench: Bench) -> None:
    midnight = (bench.clock.now() // DAY_S + 1) * DAY_S
    bench.clock.set_wall(midnight - 0.001)
    assert code_of(bench, 290) == "evaluated"
    bench.clock.set_wall(midnight)
    assert code_of(bench, 300) == "evaluated"
    bench.clock.set_wall(midnight - 0.001)
    # Ten were left of the old day; they are gone, and nobody is charged for a day that is over.
    assert code_of(bench, 10) == "quota_exhausted"


def test_a_day_that_counts_as_spent_stays_so_when_the_clock_goes_back(bench: Bench) -> None:
    bench.custodian.quotas.spend(bench.clock.now())
    bench.clock.set_wall(bench.clock.now() - DAY_S)
    assert code_of(bench) == "quota_exhausted"
