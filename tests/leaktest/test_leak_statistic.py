"""The leak test's statistic, on numbers from a seed: it finds 5 ms, says nothing where nothing is, and states power."""

from __future__ import annotations

import numpy as np
import pytest

from tests.leaktest.statistic import ALPHA, compare, found_in, rank_p, trimmed


def times(seed: int, size: int = 200, *, shift: float = 0.0) -> np.ndarray:
    """Return offsets like those of a busy machine: a few milliseconds, and a tail of hiccups."""
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, 1.0, size) + (rng.random(size) < 0.03) * rng.exponential(60.0, size) + shift


def test_a_leak_of_five_milliseconds_is_found_in_all_of_a_hundred_experiments() -> None:
    found = sum(rank_p(times(seed), times(1000 + seed, shift=5.0)) < ALPHA for seed in range(100))
    assert found == 100


def test_without_a_leak_a_hundred_experiments_find_nothing() -> None:
    assert sum(rank_p(times(seed), times(1000 + seed)) < ALPHA for seed in range(100)) == 0


def test_a_comparison_states_size_effect_interval_and_power() -> None:
    found = compare(times(1, 400), times(2, 400, shift=5.0))
    assert found.n == (400, 400)
    assert found.significant
    low, high = found.interval_ms
    assert low < 5.0 < high
    assert found.d > 1.0
    assert found.power == 1.0
    assert "n = 400 + 400" in str(found)


def test_a_few_checks_have_no_power_and_the_finding_says_so() -> None:
    assert compare(times(1, 4), times(2, 4)).power == 0.0
    assert not compare(times(1, 4), times(2, 4, shift=5.0)).significant


def test_hiccups_do_not_hide_a_leak_from_the_rank_test() -> None:
    without, with_ = times(1, 400), times(2, 400, shift=1.0)
    assert rank_p(without, with_) < ALPHA
    assert len(trimmed(without)) == 360


def test_equal_numbers_are_no_difference() -> None:
    same = np.full(50, 3.0)
    assert rank_p(same, same) == 1.0
    assert rank_p(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.0)


def test_the_rank_test_is_the_textbooks() -> None:
    """Two samples of five without overlap: z = 2.611, p = 0.0090."""
    assert rank_p(np.arange(5.0), np.arange(5.0) + 10) == pytest.approx(0.00902, abs=2e-5)


def test_resampled_experiments_find_five_milliseconds_and_nothing_else() -> None:
    without, none, leaky = times(1, 800), times(2, 800), times(3, 800, shift=5.0)
    assert found_in(without, leaky, size=300, times=100, seed=1) >= 99
    assert found_in(without, none, size=300, times=100, seed=1) <= 1
