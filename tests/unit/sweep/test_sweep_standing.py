"""What the operator sees of a sweep: who joined, who is waited for or was left out, and no number of what is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.api import operator
from concordat.api.operator import SweepPhase, SweepStanding
from concordat.api.sweep_words import sweep_facts
from concordat.identity.keys import SigningKey
from concordat.protocol import sweep_frames
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import SweepSettings
from gateway.sweep.hub import Phase
from gateway.sweep.standing import ROWS_STEP, rows_offset, standing_of
from tests.unit.sweep.sweep_world import OPERATION, SWEEP_ID, World, entry, name

if TYPE_CHECKING:
    from concordat.api.operator import SweepParty, SweepProgress

ANN, BEN, CIA, DAN = name("ANN"), name("BEN"), name("CIA"), name("DAN")


def four(**options: object) -> World:
    """Return a sweep of four, of whom DAN was not attached when it began."""
    held = {party: [entry(value) for value in range(40)] for party in (ANN, BEN, CIA, DAN)}
    attached = frozenset({ANN, BEN, CIA})
    return World(held, attached=attached, settings=SweepSettings(window_tokens=2), **options)  # type: ignore[arg-type]


def parties(found: SweepProgress) -> dict[str, SweepParty]:
    return {one.name: one for one in found.parties}


def standings(found: SweepProgress) -> dict[str, str]:
    return {one.name: one.standing.value for one in found.parties}


def prepares(world: World, party: str, done: int, total: int) -> None:
    said = wire.SweepPreparing(operation=OPERATION, sweep_id=SWEEP_ID, done=done, total=total)
    world.apply(world.hub.receive(party, wire.SweepUp(preparing=said), world.now))


def test_while_they_join_it_shows_who_is_waited_for_and_how_far_their_sets_are() -> None:
    world = four()
    prepares(world, BEN, 0, 0)
    world.apply(world.hub.receive(ANN, world.parties[ANN].join(), world.now))
    found = standing_of(world.hub, 0)
    assert (found.phase, found.windows, found.windows_done) == (SweepPhase.JOINING, 0, 0)
    assert standings(found) == {"ANN": "joined", "BEN": "preparing", "CIA": "awaited", "DAN": "absent"}
    assert [one.name for one in found.parties if one.owes] == ["BEN", "CIA"]
    assert world.hub.progress.endswith(f"have joined; waits for {BEN} (prepares its set), {CIA}")
    assert sweep_facts(found) == [
        "Sweep: 1 of 4 participants have joined",
        "It waits for BEN (prepares its set), CIA",
        "Not attached when it began: DAN",
    ]


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, 9, 0), (469, 1000, 40), (1000, 1000, 100), (2**64 - 1, 1, 100), (5, 0, None)]
)
def test_what_a_node_says_of_its_set_comes_in_tens_whatever_it_says(done: int, total: int, percent: int | None) -> None:
    world = four()
    prepares(world, BEN, done, total)
    assert parties(standing_of(world.hub, 0))["BEN"].prepared_percent == percent


def test_in_the_middle_it_shows_windows_and_who_is_away_or_left_out() -> None:
    world = four()
    for party, state in world.parties.items():
        world._post(party, state.join())

    def trouble(world: World, _step: int) -> None:
        done, windows = world.hub.windows
        if world.hub.phase is not Phase.STREAMING or done < windows // 2 or seen:
            return
        world.apply(world.hub.gone(BEN, world.now))
        world.up[BEN].clear()
        world.apply(world.hub.receive(CIA, wire.SweepUp(leaving=wire.SweepLeaving()), world.now))
        seen.append(standing_of(world.hub, 0))

    seen: list[SweepProgress] = []
    world.carry(trouble)
    (found,) = seen
    assert found.phase is SweepPhase.WINDOWS
    assert found.windows == 32
    assert 16 <= found.windows_done < 32
    assert standings(found) == {"ANN": "joined", "BEN": "away", "CIA": "dropped", "DAN": "absent"}
    assert parties(found)["CIA"].code == "unavailable"
    assert f"Sweep: {found.windows_done} of 32 windows are done" in sweep_facts(found)
    assert "Left out: CIA [unavailable]" in sweep_facts(found)
    assert any("BEN" in fact and "line broke" in fact for fact in sweep_facts(found))


def test_later_phases_have_their_words() -> None:
    found = standing_of(four().hub, 0).model_copy(update={"phase": SweepPhase.PAIRS, "pairs_percent": 30})
    assert sweep_facts(found)[0] == "Sweep: holders prove themselves to each other, 30 % done"
    found = found.model_copy(update={"phase": SweepPhase.COUNTING, "rows_about": 12_000})
    assert {"Sweep: its report is made", "Rows of shared values so far: about 12,000"} <= set(sweep_facts(found))


def test_shards_that_do_not_answer_are_named_with_the_command_that_starts_them() -> None:
    found = standing_of(four().hub, 0).model_copy(update={"phase": SweepPhase.WINDOWS, "shards_away": (0, 2)})
    (fact,) = [one for one in sweep_facts(found) if "shards" in one]
    assert fact == "It waits for shards that do not answer: 0, 2 (concordat gateway sweep-shard)"
    assert operator.MAX_SHARDS == sweep_frames.MAX_SHARDS


def test_rows_show_in_thousands_behind_a_part_that_is_secret_and_always_the_same() -> None:
    """So that whoever adds values of their own until the number moves does not know how many others hold."""
    hub = four().hub
    shown = {}
    for rows in (0, 299, 300, 1299, 1300, 52_345):
        hub.journal.rows = rows
        shown[rows] = standing_of(hub, 300).rows_about
    assert shown == {0: 0, 299: 0, 300: 0, 1299: 0, 1300: 1000, 52_345: 52_000}
    keys = [SigningKey.generate() for _ in range(4)]
    assert [rows_offset(key) for key in keys] == [rows_offset(key) for key in keys]
    assert len({rows_offset(key) for key in keys}) > 1
    assert all(0 <= rows_offset(key) < ROWS_STEP for key in keys)


def test_of_few_rows_and_of_sizes_nothing_shows() -> None:
    """Two sweeps of which one has nothing in common and other sizes look the same at every step."""
    views = []
    for shared in (range(40), range(100, 140)):
        world = World({ANN: [entry(one) for one in range(40)], BEN: [entry(one) for one in shared]})
        world.run()
        views.append(standing_of(world.hub, 0).model_copy(update={"phase": SweepPhase.COUNTING, "pairs_percent": 0}))
    assert views[0] == views[1]
    assert {one.standing for one in views[0].parties} == {SweepStanding.JOINED}
