"""A sweep goes on at the next window: after a participant's stream broke, and after the gateway was killed (I9)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.checkpoint import SweepFolder
from gateway.sweep.effects import SweepSettings
from gateway.sweep.hub import MOST_JOINS, Phase
from tests.unit.sweep.sweep_world import Entry, World, entry, name, oracle, rows_of

if TYPE_CHECKING:
    from pathlib import Path

ANN, BEN, CIA = name("ANN"), name("BEN"), name("CIA")
KEY = bytes(32)
HELD: dict[str, list[Entry]] = {
    ANN: [entry(value, 1) for value in range(30)],
    BEN: [entry(value, 1 | 1 << 4) for value in range(10, 40)],
    CIA: [entry(value, 1 | 2 << 4) for value in range(20, 50)],
}
SMALL = SweepSettings(window_tokens=4, pair_rows=8, save_s=0.0)


def started(folder: Path | None = None, **options: object) -> World:
    kept = None if folder is None else SweepFolder(folder, KEY)
    world = World(HELD, **({"settings": SMALL, "folder": kept} | options))  # type: ignore[arg-type]
    for party, state in world.parties.items():
        world._post(party, state.join())
    return world


def is_undisturbed(world: World) -> None:
    truth = oracle(HELD)
    assert world.counts == truth.counts
    assert world.edges == truth.edges
    assert world.conclusion is not None
    assert world.conclusion.result.shared_values == truth.shared
    assert set(world.states.values()) == {"included"}
    calm = started()
    calm.carry()
    assert calm.conclusion is not None
    assert world.conclusion.result == calm.conclusion.result


@pytest.mark.parametrize("seed", range(4))
def test_a_participant_whose_stream_breaks_again_and_again_joins_again(seed: int) -> None:
    draw = random.Random(seed)

    def trouble(world: World, _step: int) -> None:
        if world.hub.phase is not Phase.JOINING and draw.random() < 0.06:
            world.reconnect(draw.choice(sorted(world.up)))

    is_undisturbed(started(seed=seed).carry(trouble))


@pytest.mark.parametrize("phase", [Phase.STREAMING, Phase.PAIRING])
def test_all_streams_break_at_once(phase: Phase) -> None:
    done: list[Phase] = []

    def trouble(world: World, step: int) -> None:
        if world.hub.phase is phase and not done and step % 3 == 0:
            done.append(phase)
            for party in sorted(world.up):
                world.reconnect(party)

    is_undisturbed(started().carry(trouble))
    assert done == [phase]


def test_a_gateway_that_is_killed_after_each_window_goes_on_at_the_next(tmp_path: Path) -> None:
    seen: list[int] = []

    def trouble(world: World, _step: int) -> None:
        state = world.folder.load() if world.folder is not None else None
        at = -1 if state is None else state.window * 1000 + (state.block or 0)
        if at >= 0 and at not in seen:
            seen.append(at)
            world.restart()

    world = started(tmp_path / "one").carry(trouble)
    is_undisturbed(world)
    # Each window, and each block of pairs.
    assert [at // 1000 for at in seen if at < 8000] == list(range(8))
    assert len([at for at in seen if at >= 8000]) > 2


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(2, 150), max_size=5), st.integers(0, 99), st.sampled_from([0.0, 3.0]))
def test_a_gateway_that_is_killed_anywhere_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, when: set[int], seed: int, save_s: float
) -> None:
    chosen = SweepSettings(window_tokens=4, pair_rows=8, save_s=save_s)
    world = started(tmp_path_factory.mktemp("sweep") / "one", settings=chosen, seed=seed)
    is_undisturbed(world.carry(lambda one, step: one.restart() if step in when else None))


def test_who_was_dropped_stays_dropped_after_a_restart(tmp_path: Path) -> None:
    world = started(tmp_path / "one")
    restarted: list[int] = []

    def trouble(one: World, step: int) -> None:
        if one.hub.phase is Phase.STREAMING and one.hub.windows[0] == 2 and CIA not in one.done:
            one.apply(one.hub.receive(CIA, wire.SweepUp(), one.now))
        elif CIA in one.done and one.hub.windows[0] == 4 and not restarted:
            restarted.append(step)
            one.restart()

    world.carry(trouble)
    assert restarted
    assert world.states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}
    assert world.counts == oracle({party: HELD[party] for party in (ANN, BEN)}).counts


def test_another_set_than_declared_is_refused_by_name(tmp_path: Path) -> None:
    world = started(tmp_path / "one")

    def trouble(one: World, _step: int) -> None:
        if one.hub.phase is Phase.STREAMING and one.hub.windows[0] == 3 and not restarted:
            restarted.append(3)
            party = one.parties[CIA]
            party._rows, party._join = rows_of(CIA, HELD[CIA][1:]), None
            one.restart()

    restarted: list[int] = []
    world.carry(trouble)
    assert world.states == {ANN: "included", BEN: "included", CIA: "dropped:protocol_violation"}
    assert world.counts == oracle({party: HELD[party] for party in (ANN, BEN)}).counts


@pytest.mark.parametrize("phase", [Phase.STREAMING, Phase.PAIRING])
def test_who_stays_away_is_named_and_the_sweep_goes_on(phase: Phase) -> None:
    gone: list[float] = []

    def trouble(one: World, _step: int) -> None:
        if one.hub.phase is phase and not gone and one._owes_something(CIA):
            gone.append(one.now)
            one.up.pop(CIA)
            one.apply(one.hub.gone(CIA, one.now))

    world = started().carry(trouble)
    assert world.states == {ANN: "included", BEN: "included", CIA: "dropped:unavailable"}
    assert SMALL.away_s <= world.now - gone[0] <= SMALL.away_s + 3


def test_who_joins_again_without_end_is_dropped() -> None:
    def trouble(one: World, _step: int) -> None:
        if one.hub.phase is Phase.STREAMING and CIA in one.up:
            one.reconnect(CIA)

    world = started(seed=1).carry(trouble)
    assert world.hub.members.dropped == {CIA: "unavailable"}
    assert MOST_JOINS == 64


def test_a_state_that_another_wrote_is_refused(tmp_path: Path) -> None:
    world = started(tmp_path / "one")
    world.carry()
    with pytest.raises(ConfigError):
        SweepFolder(tmp_path / "one", b"k" * 32).load()
    state = (tmp_path / "one/state").read_bytes()
    (tmp_path / "one/state").write_bytes(state[:-1] + bytes([state[-1] ^ 1]))
    with pytest.raises(ConfigError):
        SweepFolder(tmp_path / "one", KEY).load()


def test_a_folder_whose_journal_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(ConfigError, match="cannot be kept here"):
        SweepFolder(tmp_path, KEY)


def test_a_journal_that_is_shorter_than_its_state_is_refused(tmp_path: Path) -> None:
    world = started(tmp_path / "one")
    world.carry()
    (tmp_path / "one/journal").write_bytes(b"")
    state = SweepFolder(tmp_path / "one", KEY).load()
    assert state is not None
    with pytest.raises(ConfigError):
        world.new_hub().take_up(state)


def test_what_is_kept_holds_no_token_and_is_for_nobody_else(tmp_path: Path) -> None:
    """I2; what of the state could be guessed at is sealed."""
    started(tmp_path / "one").carry()
    for file in (tmp_path / "one").iterdir():
        kept = file.read_bytes()
        assert file.stat().st_mode & 0o77 == 0
        for one in {each for held in HELD.values() for each in held}:
            assert not any(piece in kept for piece in (one.token[:4], one.token[8:], one.secret[:8]))
    sealed = (tmp_path / "one/state").read_bytes()
    assert b"members" not in sealed
    assert b"members" in SweepFolder(tmp_path / "one", KEY).load().model_dump_json().encode()  # type: ignore[union-attr]
