"""Over a line of 50 ms a sweep is not bound by its round trips: credits grow, and stay within their bytes."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

import pytest

from gateway.sweep.effects import Run, Send, SweepSettings
from gateway.sweep.hub import Phase
from tests.unit.sweep.sweep_world import World, entry, name, oracle

if TYPE_CHECKING:
    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.effects import Effect

ONE_WAY_S = 0.025
JOB_S = 0.001


class Far(World):
    """A world whose frames are `ONE_WAY_S` under way, on a virtual clock; jobs take `JOB_S`, one after the other."""

    def begin(self) -> Far:
        self.events: list[tuple[float, int, object]] = []
        self.numbers, self.busy_until, self.largest_bytes = count(), 0.0, 0
        self.streamed_from, self.streamed_to = 0.0, 0.0
        for party, state in self.parties.items():
            self._up(party, state.join())
        while self.hub.phase is not Phase.OVER:
            self.now, _, event = heapq.heappop(self.events)
            event()  # type: ignore[operator] # what is due
            held = sum(len(one) for held in self.hub.streaming._frames.values() for one in held.values())
            self.largest_bytes = max(self.largest_bytes, held)
            if self.hub.phase is Phase.JOINING:
                self.streamed_from = self.now
            elif self.hub.phase is Phase.STREAMING:
                self.streamed_to = self.now
        return self

    def _later(self, when: float, event: object) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), event))

    def _up(self, party: str, frame: wire.SweepUp) -> None:
        self._later(self.now + ONE_WAY_S, lambda: self.apply(self.hub.receive(party, frame, self.now)))

    def _down(self, send: Send) -> None:
        for frame in self.parties[send.party].receive(send.frame).frames:
            self._up(send.party, frame)

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and not effect.last:
                self._later(self.now + ONE_WAY_S, lambda send=effect: self._down(send))
            elif isinstance(effect, Run):
                self.busy_until = max(self.now, self.busy_until) + JOB_S
                job = effect.job
                self._later(self.busy_until, lambda job=job: self.apply(self.hub.ran(job.run(), self.now)))
            else:
                super().apply([effect])

    @property
    def round_trips(self) -> float:
        return (self.streamed_to - self.streamed_from) / (2 * ONE_WAY_S)


def far(ahead_bytes: int) -> Far:
    held = {name(short): [entry(value) for value in range(2048)] for short in ("ANN", "BEN", "CIA")}
    world = Far(held, settings=SweepSettings(window_tokens=8, ahead_bytes=ahead_bytes, pairs=False)).begin()
    assert world.hub.windows[1] == 256
    assert world.counts == oracle(held).counts
    return world


def test_credits_grow_where_the_line_is_long() -> None:
    world = far(48 << 20)
    # Two windows a round trip would be 128 of them; jobs alone are worth ten.
    assert world.round_trips < 30


@pytest.mark.parametrize("ahead_bytes", [8000, 16000])
def test_credits_stay_within_their_bytes(ahead_bytes: int) -> None:
    world = far(ahead_bytes)
    assert world.hub.streaming.credits > 2
    # Windows are of unequal size: those that came while the credit was decided on, and somewhat larger ones.
    assert world.largest_bytes <= 3 * ahead_bytes
    assert world.round_trips > far(48 << 20).round_trips
