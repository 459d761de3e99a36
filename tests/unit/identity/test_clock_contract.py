"""What every clock promises; the fake must keep it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock

if TYPE_CHECKING:
    from concordat.clock import Clock


@pytest.fixture(params=["system", "manual"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return SystemClock() if request.param == "system" else ManualClock(1_800_000_000.0)


def test_now_is_a_plausible_unix_time_and_durations_never_go_back(clock: Clock) -> None:
    assert 1_700_000_000 < clock.now() < 4_000_000_000
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(1000.0)
    before = clock.monotonic()
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic() - before) == (1002.5, 2.5)
    clock.set_wall(900.0)
    assert (clock.now(), clock.monotonic() - before) == (900.0, 2.5)
    with pytest.raises(ValueError, match="zero seconds or more"):
        clock.advance(-1)
