"""A sweep whose windows are shared among several processes comes to what one hub comes to, byte for byte."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError
from gateway.sweep.checkpoint import SweepFolder, SweepState
from gateway.sweep.effects import SweepSettings
from gateway.sweep.jobs import JoinJob
from gateway.sweep.journal import Journal
from gateway.sweep.parts import join_parts
from tests.unit.sweep.sweep_world import Entry, World, entry, name, oracle

if TYPE_CHECKING:
    from concordat.wire.v1 import sweep_pb2 as wire

ANN, BEN, CIA = name("ANN"), name("BEN"), name("CIA")
HELD: dict[str, list[Entry]] = {
    ANN: [entry(value, 1) for value in range(300)],
    BEN: [entry(value, 1 | 1 << 4) for value in range(100, 400)],
    CIA: [entry(value, 1 | 2 << 4) for value in range(200, 500)],
}
SETTINGS, KEY, WINDOWS = SweepSettings(window_tokens=20, pair_rows=64), bytes(32), 16


def given(shards: int) -> World:
    """Return the gateway's side, as it stands when the parts are given away."""
    addresses = tuple(f"hub.example:{7410 + at}" for at in range(shards))
    world = World(HELD, settings=SETTINGS.model_copy(update={"shards": addresses}))
    for party, one in world.parties.items():
        world.apply(world.hub.receive(party, one.join(), world.now))
    assert world.given is not None
    return world


def _without_last(frame: wire.SweepUp) -> list[wire.SweepUp]:
    """CIA leaves its last token out, in window 13: no part by itself can see that."""
    if frame.WhichOneof("frame") == "window" and frame.window.window == 13:
        frame.window.deltas = b""
    return [frame]


def stream(path: str, number: int, shards: int, *, lies: bool) -> int:
    """Run one part, in whatever process; return how many tokens its participants streamed."""
    give = given(shards).given
    assert give is not None
    folder = SweepFolder(Path(path), KEY)
    world = World(HELD, settings=SETTINGS, folder=folder, part=give.shares[number].part, seed=number)
    world.tamper = {CIA: _without_last} if lies else {}
    world.apply(world.hub.take_up(give.orders[number]))
    world.run()
    assert world.handed is not None
    world.hub.journal.sync()
    folder.save(world.handed)
    assert all(not done.dropped for done in world.done.values())
    return sum(member.rows for member in world.handed.members)


def parts(
    tmp_path: Path, shards: int, *, lies: bool = False, apart: bool = False
) -> tuple[list[SweepState], list[Journal]]:
    """Stream all parts, in processes of their own or one after the other."""
    paths = [tmp_path / f"{shards}-{at}" for at in range(shards)]
    if apart:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(stream, str(path), at, shards, lies=lies) for at, path in enumerate(paths)]
            assert all(job.result() for job in jobs)
    else:
        assert all(stream(str(path), at, shards, lies=lies) for at, path in enumerate(paths))
    states, journals = [], []
    for path in paths:
        folder = SweepFolder(path, KEY)
        state, journal = folder.load(), Journal(folder.journal())
        assert state is not None
        journal.cut(state.journal_rows)
        states.append(state)
        journals.append(journal)
    return states, journals


def joined(states: list[SweepState], journals: list[Journal]) -> World:
    world = given(len(states))
    world.apply(world.hub.parts_begun(world.now))
    job = JoinJob(states, journals, world.participants, world.hub.journal)
    world.apply(world.hub.ran(job.run(), world.now))
    return world.carry()


# A test that ends all children of this process may have been before; Python then starts its helper again, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:resource_tracker")


@pytest.mark.parametrize("shards", [1, 4])
def test_parts_in_processes_of_their_own_add_up_to_the_same(tmp_path: Path, shards: int) -> None:
    alone, shared = World(HELD, settings=SETTINGS).run(), joined(*parts(tmp_path, shards, apart=True))
    truth = oracle(HELD)
    assert alone.conclusion == shared.conclusion
    assert (shared.counts, shared.edges) == (truth.counts, truth.edges)
    assert set(shared.states.values()) == {"included"}


def test_a_lie_that_no_part_can_see_is_named_when_they_are_joined(tmp_path: Path) -> None:
    shared = joined(*parts(tmp_path, 2, lies=True))
    assert shared.states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}
    truth = oracle({party: HELD[party] for party in (ANN, BEN)})
    assert (shared.counts, shared.edges) == (truth.counts, truth.edges)


def test_parts_that_are_not_the_whole_are_not_joined(tmp_path: Path) -> None:
    states, journals = parts(tmp_path, 2)
    for wrong in ([0], [1], [1, 0], [0, 0], [0, 1, 1]):
        with pytest.raises(ConfigError):
            join_parts([states[at] for at in wrong], [journals[at] for at in wrong], sorted(HELD), into=Journal())


def test_whoever_was_dropped_from_a_part_is_named_with_what_it_did_and_not_with_its_leaving(tmp_path: Path) -> None:
    states, journals = parts(tmp_path, 3)
    codes = ("unavailable", "too_large", "unavailable")
    for at, code in enumerate(codes):
        left = tuple(one for one in states[at].members if one.party != CIA)
        states[at] = states[at].model_copy(update={"members": left, "dropped": {CIA: code}})
    shared = joined(states, journals)
    assert shared.states == {ANN: "included", BEN: "included", CIA: "dropped:too_large"}
    truth = oracle({party: HELD[party] for party in (ANN, BEN)})
    assert (shared.counts, shared.edges) == (truth.counts, truth.edges)


def test_parts_of_another_set_than_was_declared_to_the_gateway_are_not_taken(tmp_path: Path) -> None:
    states, journals = parts(tmp_path, 2)
    for at, state in enumerate(states):
        members = (one.model_copy(update={"salt": bytes(32)}) if one.party == CIA else one for one in state.members)
        states[at] = state.model_copy(update={"members": tuple(members)})
    assert joined(states, journals).states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}


def test_i2_what_a_part_hands_over_holds_no_token_and_no_secret(tmp_path: Path) -> None:
    states, journals = parts(tmp_path, 2)
    roots = b"".join(member.roots for state in states for member in state.members)
    rows = b"".join(block.tobytes() for journal in journals for block in journal.blocks())
    handed = roots + rows + b"".join(state.model_dump_json().encode() for state in states)
    shared = {one.token for one in HELD[ANN]} & {one.token for one in HELD[BEN]}
    assert len(shared) == 200
    assert len(rows) > 200 * 16, "the references of what is shared are there"
    for one in {*HELD[ANN], *HELD[BEN], *HELD[CIA]}:
        for secret in (one.token[:8], one.token[8:], one.secret):
            assert secret not in handed
            assert secret.hex().encode() not in handed
