"""What one participant holds back, breaks off or declares harms no other, and fills no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from concordat.protocol.sweep_frames import Cut
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import Effect, OpenEdges, Run, SweepSettings
from gateway.sweep.finder import FEWEST_NARROW_ROWS, MOST_ROWS, Finder
from gateway.sweep.hub import Phase
from gateway.sweep.jobs import ResolveJob
from tests.unit.sweep.sweep_world import World, entry, name, oracle

if TYPE_CHECKING:
    from concordat.wire.v1.sweep_pb2 import SweepUp

ANN, BEN, CIA = name("ANN"), name("BEN"), name("CIA")


def test_who_is_dropped_while_its_answers_are_read_changes_nothing_under_the_job() -> None:
    world = World({party: [entry(value) for value in range(9)] for party in (ANN, BEN, CIA)})
    jobs: list[tuple[ResolveJob, set[int]]] = []

    def apply(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Run) and isinstance(effect.job, ResolveJob) and not jobs:
                jobs.append((effect.job, set(effect.job.answers)))
                World.apply(world, world.hub.receive(CIA, wire.SweepUp(), world.now))
                assert CIA in world.done
            World.apply(world, [effect])

    world.apply = apply  # type: ignore[method-assign]
    world.run()
    [(job, answered)] = jobs
    assert set(job.answers) == answered
    assert world.states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}
    assert world.counts == oracle({party: world.holdings[party] for party in (ANN, BEN)}).counts


def test_proofs_on_their_way_to_who_was_dropped_harm_nobody_when_the_block_is_over() -> None:
    """BEN's proofs for CIA arrive when CIA has been dropped, which settled the block."""
    late: list[SweepUp] = []

    def keep(frame: SweepUp) -> list[SweepUp]:
        mine = frame.WhichOneof("frame") == "pair_proofs" and frame.pair_proofs.peer == CIA
        late.extend([frame] if mine else [])
        return [] if mine else [frame]

    both = [entry(value) for value in range(3)]
    world = World(
        {ANN: both, BEN: [*both, entry(7)], CIA: [entry(7)]},
        SweepSettings(window_tokens=64),
        tamper={BEN: keep, CIA: lambda frame: [] if frame.WhichOneof("frame") == "pair_proofs" else [frame]},
    )
    seen: list[int] = []

    def apply(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, OpenEdges) and not seen:
                # The board is gone and the next block is not made.
                seen.append(len(late))
                World.apply(world, world.hub.receive(BEN, late.pop(), world.now))
            World.apply(world, [effect])

    world.apply = apply  # type: ignore[method-assign]
    for party, state in world.parties.items():
        world.up[party].append(state.join())
    while ready := [party for party, frames in world.up.items() if frames]:
        world.apply(world.hub.receive(ready[0], world.up[ready[0]].popleft(), world.now))
    assert world.hub.phase is Phase.PAIRING
    world.apply(world.hub.receive(CIA, wire.SweepUp(), world.now))
    world.carry()
    assert seen == [1]
    assert world.states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}
    assert len(world.opened) == len(both)


def test_answers_of_all_others_do_not_pile_up_behind_one_who_keeps_his_back() -> None:
    """BEN sends window after window in time and never an answer."""

    def mute(frame: SweepUp) -> list[SweepUp]:
        kind = frame.WhichOneof("frame")
        if kind == "window":
            frame.window.ClearField("candidates")
        return [] if kind == "candidates" else [frame]

    values = [entry(value) for value in range(400)]
    world = World({ANN: values, BEN: values, CIA: values}, SweepSettings(window_tokens=4), tamper={BEN: mute}).run()
    assert world.hub.windows[1] == 128
    assert world.states[BEN] == "dropped:deadline"
    assert world.largest_hold <= 4 * world.settings.credits
    assert world.counts == oracle(dict.fromkeys((ANN, CIA), values)).counts


def test_who_comes_back_when_pairs_are_proven_goes_on() -> None:
    values = [entry(value) for value in range(5)]
    world = World(
        {ANN: values, BEN: values, CIA: [entry(77)]},
        SweepSettings(window_tokens=64),
        tamper={ANN: lambda frame: [] if frame.WhichOneof("frame") == "pair_proofs" else [frame]},
    )

    def take(party: str) -> None:
        world.apply(world.hub.receive(party, world.up[party].popleft(), world.now))

    for party, state in world.parties.items():
        world.up[party].append(state.join())
    for party in [CIA, ANN, BEN] * 2 + [CIA]:
        take(party)
    # All that it owes has come.
    world.apply(world.hub.gone(CIA, world.now))
    take(ANN)
    take(BEN)
    assert world.hub.phase is Phase.PAIRING
    world.apply(world.hub.receive(CIA, world.parties[CIA].join(), world.now))
    world.carry()
    assert world.states == {ANN: "dropped:deadline", BEN: "included", CIA: "included"}


@pytest.mark.parametrize("parties", [2, 40, 255 // FEWEST_NARROW_ROWS + 1])
def test_skew_is_named_however_many_take_part(parties: int) -> None:
    skewed = np.arange(MOST_ROWS + 1, dtype=np.int64)
    others = np.sort(np.random.default_rng(1).integers(0, 1 << 32, (parties - 1, 60)), axis=1)
    result = Finder().find(
        np.concatenate([skewed, others.ravel()]), [len(skewed), *[others.shape[1]] * (parties - 1)], 32
    )
    assert set(result.refused) == {0}


def test_credit_does_not_grow_beyond_what_a_large_set_could_send_in_it() -> None:
    """CIA says that it has a large set, and sends empty windows at first: the credit of all counts what it may send."""
    values = [entry(value) for value in range(40)]
    settings = SweepSettings(ahead_bytes=1 << 20)
    world = World({ANN: values, BEN: values, CIA: []}, settings)
    join = world.parties[CIA].join()
    join.join.size, join.join.classes, join.join.counts = 1 << 28, b"\x01", (1 << 28).to_bytes(8, "little")
    for party in (ANN, BEN):
        world.up[party].append(world.parties[party].join())
        world.apply(world.hub.receive(party, world.up[party].popleft(), 0.0))
    world.apply(world.hub.receive(CIA, join, 0.0))
    cut = Cut.for_sizes([1 << 28])
    assert world.hub.windows[1] == cut.windows
    for window in range(64):
        world.now += 1.0
        world.apply(world.hub.receive(CIA, wire.SweepUp(window=wire.SweepWindow(window=window)), world.now))
        for party in (ANN, BEN):
            while world.up[party]:
                world.apply(world.hub.receive(party, world.up[party].popleft(), world.now))
        asked = wire.SweepCandidates(window=window)
        world.apply(world.hub.receive(CIA, wire.SweepUp(candidates=asked), world.now))
    assert world.hub.windows[0] > 2
    ahead = (world.hub.streaming._below - world.hub.windows[0]) * (2 << 28 >> cut.window_bits)
    assert ahead <= 4 * settings.ahead_bytes
