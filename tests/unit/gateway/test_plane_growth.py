"""Tables that grow and planes of many shapes: no match is lost (I3, C4), and the memory is bounded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.planes import PlaneBits, bitmap, fitting_log2, reshape_slots, slots_of
from gateway.plane_builder import PlaneBuilder
from gateway.planes import FALSE_POSITIVES, RARELY, RoutingTable
from tests.unit.gateway.world import token

HASHES = 4
LEAST, MOST = 8, 12
PARTIES = tuple(str(number) for number in range(70))
# In both words of a mask.
ACTIVE = ("0", "1", "69")


class SmallSteps(RoutingTable):
    """Does a small part of its work at once, so that much can happen in between."""

    grown_at_once = 64
    installed_at_once = 128


def tokens_of(*values: str) -> bytes:
    return b"".join(map(token, values))


def random_tokens(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(16 * count)


def plane_of(tokens: bytes, log2_slots: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    bits = PlaneBits(log2_slots, HASHES)
    bits.add(tokens)
    return np.frombuffer(bits.piece(0, bits.size), dtype=np.uint8).copy()


def table(parties: tuple[str, ...] = PARTIES, **given: int) -> RoutingTable:
    return SmallSteps(parties, log2_slots=LEAST, hashes=HASHES, **given)


def holders(filled: RoutingTable, value: str) -> set[str]:
    return set(filled.named(filled.route(token(value))[0]))


@dataclass
class Sender:
    """A party that publishes, removes, and sends snapshots, in shapes that it was told at some time."""

    kept: set[str] = field(default_factory=set)
    shape: int = LEAST
    builder: PlaneBuilder | None = None
    plane: bytes = b""
    at: int = 0


KINDS = ("delta", "delta", "remove", "begin", "chunk", "chunk", "grow", "told", "work", "work", "work")
STEP = st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(LEAST, MOST))


class Play:
    """Three parties among 70 and one table, step by step."""

    def __init__(self) -> None:
        self.filled = table()
        self.senders = {party: Sender() for party in ACTIVE}
        self.number = 0

    def step(self, kind: str, party: str, log2_slots: int) -> None:
        one = self.senders[party]
        self.number += 1
        if kind == "delta":
            self.publish(party, f"{party} {self.number}", min(one.shape, log2_slots))
        elif kind == "remove" and one.kept:
            one.kept.remove(min(one.kept))
        elif kind == "begin":
            one.plane, one.at = plane_of(tokens_of(*one.kept), one.shape).tobytes(), 0
            one.builder = PlaneBuilder(self.number, log2_slots=one.shape, hashes=HASHES)
        elif kind == "chunk" and one.builder is not None:
            self.send(party, one.builder, 16 * log2_slots)
        elif kind == "grow":
            self.filled.grow(log2_slots)
        elif kind == "told":
            one.shape = self.filled.target_log2
        elif kind == "work":
            self.filled.work()

    def publish(self, party: str, value: str, shape: int) -> None:
        one = self.senders[party]
        one.kept.add(value)
        slots = slots_of(token(value), shape, HASHES)
        self.filled.merge_delta(party, slots, shape)
        if one.builder is not None:
            one.builder.delta(self.number, slots, shape)

    def send(self, party: str, builder: PlaneBuilder, size: int) -> None:
        one = self.senders[party]
        piece = one.plane[one.at : one.at + size]
        builder.chunk(one.at, piece)
        one.at += len(piece)
        if one.at == len(one.plane):
            self.filled.install(party, builder.finish(hashlib.sha256(one.plane).digest()))
            one.builder = None

    def check(self) -> None:
        for party, one in self.senders.items():
            lost = {value for value in one.kept if party not in holders(self.filled, value)}
            assert not lost, f"a match with {party} is lost"


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_i3_no_order_of_growth_deltas_snapshots_and_removals_loses_a_match(steps: list[tuple[str, int, int]]) -> None:
    play = Play()
    for kind, which, log2_slots in steps:
        play.step(kind, ACTIVE[which], log2_slots)
        play.check()
    play.filled.finish()
    play.check()


@pytest.mark.parametrize("steps", range(0, 64, 7))
def test_i3_a_delta_in_the_midst_of_growth_is_in_the_larger_table(steps: int) -> None:
    filled = table()
    filled.merge_delta("1", slots_of(tokens_of("before"), LEAST, HASHES), LEAST)
    filled.grow(MOST)
    assert filled.busy
    for _ in range(steps):
        filled.work()
    assert filled.log2_slots == (MOST if steps >= (1 << MOST) // SmallSteps.grown_at_once - 1 else LEAST)
    filled.merge_delta("1", slots_of(tokens_of("old shape"), LEAST, HASHES), LEAST)
    filled.merge_delta("1", slots_of(tokens_of("new shape"), MOST, HASHES), MOST)
    values = ("before", "old shape", "new shape")
    assert all(holders(filled, value) == {"1"} for value in values)
    filled.finish()
    assert (filled.log2_slots, filled.busy) == (MOST, False)
    assert all(holders(filled, value) == {"1"} for value in values)


def test_growth_changes_no_route_until_a_snapshot_of_the_new_shape_sharpens_it() -> None:
    filled, held, asked = table(), random_tokens(100, 1), random_tokens(4000, 2)
    filled.install("0", plane_of(held, LEAST))
    filled.finish()
    before, versions = filled.route(asked), filled.versions.copy()
    filled.grow(MOST)
    filled.finish()
    assert np.array_equal(filled.route(asked), before)
    assert np.array_equal(filled.versions, versions), "nothing is to be routed again"
    filled.install("0", plane_of(held, MOST))
    filled.finish()
    assert filled.versions[0] == versions[0] + 1
    assert filled.route(held)[:, 0].all()
    assert np.count_nonzero(filled.route(asked)) < np.count_nonzero(before) / 20


def test_a_snapshot_takes_out_what_was_removed_while_another_party_keeps_it() -> None:
    filled = table()
    for party in ACTIVE:
        filled.merge_delta(party, slots_of(tokens_of("both"), LEAST, HASHES), LEAST)
    filled.grow(MOST)
    filled.install("1", plane_of(tokens_of("other"), MOST))
    filled.merge_delta("1", slots_of(tokens_of("late"), LEAST, HASHES), LEAST)
    filled.finish()
    assert holders(filled, "both") == {"0", "69"}
    assert (holders(filled, "other"), holders(filled, "late")) == ({"1"}, {"1"})


@pytest.mark.parametrize(("tokens", "shape"), [(300, LEAST), (300, MOST), (5000, 17)])
def test_false_positives_are_what_the_fill_says(tokens: int, shape: int) -> None:
    filled = RoutingTable(("0",), log2_slots=LEAST, hashes=HASHES)
    filled.grow(shape)
    filled.install("0", plane_of(random_tokens(tokens, 3), shape))
    filled.finish()
    asked = random_tokens(100_000, 4)
    found = np.count_nonzero(filled.route(asked)) / 100_000
    assert found == pytest.approx(filled.false_positives("0"), rel=0.15, abs=5e-4)


@pytest.mark.parametrize("tokens", [300, 5000, 70_000])
def test_the_shape_for_a_count_keeps_false_positives_within_what_is_aimed_at(tokens: int) -> None:
    shape = fitting_log2(tokens, HASHES, FALSE_POSITIVES)
    filled = RoutingTable(("0",), log2_slots=shape, hashes=HASHES)
    filled.install("0", plane_of(random_tokens(tokens, 5), shape))
    found = np.count_nonzero(filled.route(random_tokens(100_000, 6))) / 100_000
    assert found < FALSE_POSITIVES * 1.2
    assert not filled.crowded("0")
    # One shape less would not have done.
    assert fitting_log2(2 * tokens, HASHES, FALSE_POSITIVES) == shape + 1


def test_few_tokens_ask_hardly_anybody_in_vain_and_many_have_what_they_need() -> None:
    names = tuple(map(str, range(30)))
    few, small = table(names), table(names, memory_bytes=1 << 28)
    assert few.shape_for(100_000) == fitting_log2(100_000, HASHES, RARELY)
    # Beyond a small part of the memory the usual aim counts.
    assert few.shape_for(5_000_000) == fitting_log2(5_000_000, HASHES, FALSE_POSITIVES)
    assert small.shape_for(100_000) == fitting_log2(100_000, HASHES, FALSE_POSITIVES)


def test_ten_million_tokens_take_2_to_the_27_slots() -> None:
    assert fitting_log2(10_000_000, HASHES, FALSE_POSITIVES) == 27


def test_deltas_make_a_plane_crowded_as_a_snapshot_does() -> None:
    by_deltas, by_snapshot = table(), table()
    held = random_tokens(40, 7)
    for start in range(0, len(held), 16):
        by_deltas.merge_delta("69", slots_of(held[start : start + 16], LEAST, HASHES), LEAST)
    by_snapshot.install("69", plane_of(held, LEAST))
    by_snapshot.finish()
    assert by_deltas.crowded("69")
    assert by_deltas.false_positives("69") == pytest.approx(by_snapshot.false_positives("69"), rel=0.25)


@pytest.mark.parametrize("parties", [4, 26, 40, 100])
def test_the_memory_bound_holds_also_while_tables_grow(parties: int) -> None:
    names, bound = tuple(map(str, range(parties))), 100_000
    filled = table(names, memory_bytes=bound)
    shape = filled.shape_for(10**18)
    most = 0
    for log2_slots in range(LEAST, shape + 1):
        filled.grow(log2_slots)
        most = max(most, filled.nbytes)
        filled.finish()
    filled.grow(shape + 1)
    assert (filled.busy, filled.log2_slots, filled.most_log2) == (False, shape, shape)
    assert bound / 3 < most <= bound


def test_a_bound_below_the_least_shape_makes_the_planes_smaller_and_loses_nothing() -> None:
    filled = table(PARTIES, memory_bytes=1 << 10)
    assert filled.shape_for(10) < LEAST
    assert filled.nbytes <= 1 << 10
    filled.merge_delta("69", slots_of(tokens_of("x"), MOST, HASHES), MOST)
    assert holders(filled, "x") == {"69"}


@pytest.mark.parametrize("size", [0, 3, 1 << (MOST - 3)])
def test_a_plane_of_no_shape_of_the_tables_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="another shape than the tables"):
        table().install("0", np.zeros(size, dtype=np.uint8))


@given(st.integers(3, 10), st.integers(3, 10), st.integers(0, 99))
def test_slots_of_another_shape_hold_every_token_that_these_held(shape: int, into: int, seed: int) -> None:
    tokens = random_tokens(5, seed)
    there = set(reshape_slots(slots_of(tokens, shape, HASHES), shape, into).tolist())
    assert set(slots_of(tokens, into, HASHES).reshape(-1).tolist()) <= there


def test_a_plane_in_blocks_and_pieces_is_the_plane_at_once() -> None:
    tokens = random_tokens(500, 8)
    bits = PlaneBits(MOST, HASHES)
    for start in range(0, len(tokens), 7 * 16):
        bits.add(tokens[start : start + 7 * 16])
    pieces = b"".join(bits.piece(offset, 100) for offset in range(0, bits.size, 100))
    assert pieces == bitmap(slots_of(tokens, MOST, HASHES), MOST)


def test_planes_that_a_party_sends_again_and_again_do_not_pile_up_and_the_last_one_counts() -> None:
    filled = table()
    for at in range(50):
        filled.install("0", plane_of(tokens_of(f"value {at}"), LEAST))
        filled.install("1", plane_of(tokens_of("other"), LEAST))
    # The one that is being installed, and one of each party.
    assert len(filled._jobs) <= 3
    filled.merge_delta("0", slots_of(tokens_of("late"), LEAST, HASHES), LEAST)
    filled.finish()
    assert {"0"} <= holders(filled, "value 49") & holders(filled, "late")
    assert "1" in holders(filled, "other")
    assert "0" not in holders(filled, "value 3")
