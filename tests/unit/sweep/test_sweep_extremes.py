"""Sets of every shape come to what plain sets say; random frames of a hostile party fill no memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.protocol.sweep_frames import ANSWER
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import SweepSettings
from gateway.sweep.hub import Phase
from tests.unit.sweep.sweep_world import Entry, World, digest, entry, name, oracle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PARTIES = [name(f"P{number:02}") for number in range(40)]


def is_right(held: Mapping[str, list[Entry]], world: World) -> None:
    truth = oracle(held)
    assert world.conclusion is not None
    assert (world.counts, world.edges) == (truth.counts, truth.edges)
    assert world.conclusion.result.shared_values == truth.shared
    assert set(world.states.values()) == {"included"}


def at(tokens: Iterable[int], secret: int = 0) -> list[Entry]:
    packed = [token.to_bytes(16, "big") for token in sorted(set(tokens))]
    return [Entry(token, digest("secret", token, secret), token[-1] % 5 + 1) for token in packed]


@pytest.mark.parametrize("window_bits", [0, 1, 5, 12])
def test_tokens_at_both_ends_of_the_range_and_at_every_kind_of_border(window_bits: int) -> None:
    draw = random.Random(window_bits)
    firsts = [window << (128 - window_bits) for window in range(1, 1 << window_bits)]
    edges = [0, (1 << 128) - 1, *draw.sample(firsts, min(len(firsts), 12))]
    near = {edge + by for edge in edges for by in (-1, 0, 1, -(1 << 96), 1 << 96)}
    tokens = sorted(one for one in near if 0 <= one < 1 << 128)
    held = {party: at(one for one in tokens if draw.random() < 0.6) for party in PARTIES[:4]}
    # As many windows as the largest set asks for.
    largest = max(len(one) for one in held.values())
    world = World(held, settings=SweepSettings(window_tokens=max(1, largest >> window_bits)))
    if window_bits == 12:
        world.settings = SweepSettings(window_tokens=1)
    is_right(held, world.run())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30), max_size=12), min_size=2, max_size=4), st.integers(0, 2))
def test_equal_prefixes_with_different_tokens_are_different_values(held_by: list[set[int]], shift: int) -> None:
    """They differ in the last bits of the first word, or in the second alone: no prefix tells them apart."""
    by = [1, 1 << 64, 1 << 70][shift]
    held = {party: at((7 << 100) + one * by for one in tokens) for party, tokens in zip(PARTIES, held_by, strict=False)}
    is_right(held, World(held).run())


def test_forty_participants_hold_one_value() -> None:
    held = {party: [entry(1), entry(100 + number)] for number, party in enumerate(PARTIES)}
    is_right(held, World(held).run())


def test_sources_of_very_unequal_size() -> None:
    """The small ones' gaps need many escapes."""
    held = {PARTIES[0]: [entry(value) for value in range(4000)]}
    held |= {party: [entry(number * 7)] for number, party in enumerate(PARTIES[1:4])}
    world = World(held, settings=SweepSettings(window_tokens=512)).run()
    assert world.hub.windows[1] == 8
    is_right(held, world)


def test_4096_windows_most_of_them_of_one_token() -> None:
    held = {party: [entry(value) for value in range(number, 4096)] for number, party in enumerate(PARTIES[:2])}
    world = World(held, settings=SweepSettings(window_tokens=1, credits=16, pair_rows=1 << 14)).run()
    assert world.hub.windows[1] == 4096
    is_right(held, world)


def test_one_source_alone_has_data() -> None:
    held = {PARTIES[0]: [], PARTIES[1]: [entry(value) for value in range(20)], PARTIES[2]: []}
    is_right(held, World(held).run())


def noise(draw: random.Random, good: wire.SweepUp) -> wire.SweepUp:
    """Return a frame that begins with an honest one and goes wrong in one place or many."""
    frame = wire.SweepUp()
    frame.CopyFrom(good)
    match draw.randrange(6):
        case 0:
            frame = wire.SweepUp(window=wire.SweepWindow(window=draw.randrange(70), deltas=draw.randbytes(4000)))
        case 1:
            rows = draw.randbytes(ANSWER.itemsize * draw.randrange(40))
            frame = wire.SweepUp(candidates=wire.SweepCandidates(window=draw.randrange(70), rows=rows))
        case 2 if frame.HasField("window"):
            frame.window.deltas += draw.randbytes(1 << 16)
        case 3 if frame.HasField("window"):
            frame.window.candidates.rows += draw.randbytes(1 << 16)
        case 4:
            frame = wire.SweepUp(pair_proofs=wire.PairProofs(peer=PARTIES[1], pairs=draw.randbytes(64)))
        case _:
            frame = wire.SweepUp(preparing=wire.SweepPreparing(total=1 << 60))
    return frame


def held_by_hub(world: World) -> int:
    """Return how many bytes of frames and answers the hub keeps."""
    hub = world.hub
    frames = sum(len(one) for held in hub.streaming._frames.values() for one in held.values())
    answers = sum(one.ByteSize() for window in hub.streaming._open.values() for one in window.answers.values())
    return frames + answers


@pytest.mark.parametrize("seed", range(12))
def test_random_frames_never_let_the_hub_hold_more_than_the_credit(seed: int) -> None:
    draw, largest = random.Random(seed), 0
    held = {party: [entry(value) for value in range(400)] for party in PARTIES[:3]}
    cheat = PARTIES[2]

    def tamper(frame: wire.SweepUp) -> list[wire.SweepUp]:
        wrong = draw.random() < 0.1 and frame.WhichOneof("frame") != "join"
        return [noise(draw, frame) for _ in range(draw.randrange(4))] if wrong else [frame]

    chosen = SweepSettings(window_tokens=8)
    world = World(held, settings=chosen, tamper={cheat: tamper}, seed=seed)

    def look(one: World, _step: int) -> None:
        nonlocal largest
        if one.hub.phase is Phase.STREAMING:
            largest = max(largest, held_by_hub(one))

    for party, state in world.parties.items():
        world._post(party, state.join())
    world.carry(look)
    # A window of a participant is at most so many words, and so many of its rows can be asked.
    progress = world.hub.members.present[PARTIES[0]].progress
    a_window = 2 * world.hub.streaming.cut.most_words(progress.limit) + 64 + ANSWER.itemsize * progress.limit
    assert largest <= 3 * 2 * chosen.credits * a_window
    # As it goes for honest ones: what they hold in credit and their answers.
    assert world.states[PARTIES[0]] == world.states[PARTIES[1]] == "included"
    honest = oracle({party: held[party] for party in PARTIES[:2]})
    assert {edge for edge in world.edges if cheat not in edge} == honest.edges
    if world.states[cheat] != "included":
        assert world.counts == honest.counts
