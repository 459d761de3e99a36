"""The routing filter: false positives maybe, false negatives never, whatever the order of deltas and chunks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError, ProtocolError
from concordat.planes import bitmap, pack_slots, slots_of, unpack_slots
from gateway.plane_builder import PlaneBuilder
from gateway.planes import RoutingTable
from tests.unit.gateway.world import token

LOG2, HASHES = 10, 4
PARTIES = ("A", "B", "C")


def table() -> RoutingTable:
    return RoutingTable(PARTIES, log2_slots=LOG2, hashes=HASHES)


def slots(*values: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    return slots_of(b"".join(token(value) for value in values), LOG2, HASHES)


def plane_of(*values: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    bits = bitmap(slots(*values), LOG2) if values else bytes(1 << (LOG2 - 3))
    return np.frombuffer(bits, dtype=np.uint8).copy()


def holders(filled: RoutingTable, value: str) -> set[str]:
    return set(filled.named(filled.route(token(value))[0]))


def test_slots_are_the_little_endian_words_modulo_the_size() -> None:
    one = bytes(range(16))
    expected = [[0x03020100 % 1024, 0x07060504 % 1024, 0x0B0A0908 % 1024, 0x0F0E0D0C % 1024]]
    assert slots_of(one, LOG2, HASHES).tolist() == expected
    assert slots_of(one * 3, LOG2, 2).tolist() == [expected[0][:2]] * 3
    assert slots_of(b"", LOG2, HASHES).shape == (0, HASHES)


def test_a_bitmap_has_the_least_significant_bit_first() -> None:
    plane = bitmap(np.array([0, 9, 1023], dtype=np.uint32), LOG2)
    assert (len(plane), plane[0], plane[1], plane[127]) == (128, 1, 2, 128)
    assert sum(plane) == 131


def test_slots_travel_as_they_are() -> None:
    packed = pack_slots(slots("x", "y"))
    assert len(packed) == 2 * HASHES * 4
    assert unpack_slots(packed, LOG2).tolist() == slots("x", "y").reshape(-1).tolist()


@pytest.mark.parametrize("packed", [b"odd", (1 << LOG2).to_bytes(4, "little")])
def test_a_delta_out_of_the_plane_is_refused(packed: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack_slots(packed, LOG2)


def test_a_column_of_no_whole_tokens_is_refused() -> None:
    with pytest.raises(ProtocolError):
        slots_of(b"x" * 17, LOG2, HASHES)


@pytest.mark.parametrize(("log2_slots", "hashes"), [(2, 4), (33, 4), (12, 0), (12, 5)])
def test_a_plane_of_no_possible_shape_is_refused(log2_slots: int, hashes: int) -> None:
    with pytest.raises(ConfigError):
        slots_of(b"", log2_slots, hashes)


@pytest.mark.parametrize("count", [1, 8, 9, 16, 17, 26, 32, 33, 40, 64, 65, 100, 128, 130])
def test_any_number_of_parties_is_routed(count: int) -> None:
    parties = tuple(str(number) for number in range(count))
    full = RoutingTable(parties, log2_slots=LOG2, hashes=HASHES)
    told = {parties[0], parties[count // 2], parties[-1]}
    for number, party in enumerate(sorted(told)):
        if number % 2:
            full.merge_delta(party, slots("x"))
        else:
            full.install(party, plane_of("x"))
    assert (holders(full, "x"), holders(full, "y")) == (told, set())
    assert full.named(full.mask(told)) == [party for party in parties if party in told]
    masks = full.route(token("y") + token("x"))
    assert {party for party in parties if full.positions(masks, party).tolist() == [1]} == told
    full.install(parties[-1], plane_of())
    assert holders(full, "x") == told - {parties[-1]}


@pytest.mark.parametrize(("parties", "nbytes"), [(4, 1), (16, 2), (26, 4), (64, 8), (72, 9), (100, 16)])
def test_a_slot_takes_no_more_bytes_than_its_parties_need(parties: int, nbytes: int) -> None:
    sized = RoutingTable(tuple(map(str, range(parties))), log2_slots=LOG2, hashes=HASHES)
    assert sized.nbytes == nbytes << LOG2


def test_a_plane_replaces_its_party_s_bits_and_no_other() -> None:
    filled = table()
    filled.merge_delta("A", slots("old"))
    filled.merge_delta("B", slots("old"))
    filled.install("A", plane_of("new"))
    assert (holders(filled, "old"), holders(filled, "new")) == ({"B"}, {"A"})


def test_every_change_of_a_plane_is_counted() -> None:
    filled = table()
    before = filled.versions.copy()
    filled.merge_delta("B", slots("x"))
    filled.install("C", np.zeros(128, dtype=np.uint8))
    assert (filled.versions - before)[:3].tolist() == [0, 1, 1]


@dataclass
class Publisher:
    """A party that publishes values one by one and sends a snapshot in chunks meanwhile."""

    kept: list[str] = field(default_factory=list)
    builder: PlaneBuilder | None = None
    plane: bytes = b""
    at: int = 0


STEP = st.tuples(st.sampled_from(["delta", "begin", "chunk", "chunk"]), st.integers(0, 2), st.integers(1, 90))


@settings(max_examples=120, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_no_order_of_deltas_and_chunks_makes_a_false_negative(steps: list[tuple[str, int, int]]) -> None:
    filled = table()
    publishers = {party: Publisher() for party in PARTIES}
    for number, (kind, which, size) in enumerate(steps):
        party = PARTIES[which]
        one = publishers[party]
        if kind == "delta":
            value = f"{party} {number}"
            one.kept.append(value)
            filled.merge_delta(party, slots(value))
            if one.builder is not None:
                one.builder.delta(len(one.kept), slots(value), LOG2)
        elif kind == "begin":
            one.plane, one.at = bitmap(slots(*one.kept), LOG2), 0
            one.builder = PlaneBuilder(len(one.kept), log2_slots=LOG2, hashes=HASHES)
        elif one.builder is not None:
            piece = one.plane[one.at : one.at + size]
            one.builder.chunk(one.at, piece)
            one.at += len(piece)
            if one.at == len(one.plane):
                filled.install(party, one.builder.finish(hashlib.sha256(one.plane).digest()))
                assert one.builder.sequence == len(one.kept)
                one.builder = None
        for name, publisher in publishers.items():
            assert all(name in holders(filled, value) for value in publisher.kept)
