"""Whoever waits for tokens is told how fast they come and how long the rest takes, of the last minute."""

from __future__ import annotations

from concordat.clock import ManualClock
from services.node.pace import EVERY_S, FROM_LEFT, Pace


def test_rate_and_time_left_are_those_of_the_last_minute() -> None:
    clock = ManualClock(0.0)
    pace = Pace(clock)
    for _ in range(10):
        clock.advance(10)
        pace.add(10_000)
    for _ in range(12):
        clock.advance(10)
        pace.add(1_000)
    assert pace.in_words(60_000) == "60,000 tokens are still to be made, 100 a second, about 10 min left"


def test_nothing_is_said_of_little_work_or_before_anything_is_known() -> None:
    clock = ManualClock(0.0)
    pace = Pace(clock)
    assert pace.in_words(1_000_000) == ""
    clock.advance(1)
    pace.add(10)
    assert pace.in_words(FROM_LEFT - 1) == ""
    pace.begin()
    assert pace.in_words(1_000_000) == ""


def test_it_is_not_said_with_every_batch() -> None:
    clock = ManualClock(0.0)
    pace = Pace(clock)
    assert pace.add(1)
    clock.advance(EVERY_S / 2)
    assert not pace.add(1)
    clock.advance(EVERY_S)
    assert pace.add(1)
