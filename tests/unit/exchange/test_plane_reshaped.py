"""A node takes a larger shape of its plane in the running session, and loses nothing that it published (3.2)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError, ProtocolError
from concordat.planes import bitmap, slots_of, unpack_slots
from concordat.wire.v1 import session_pb2
from services.node.exchange import publisher
from tests.unit.exchange.hub_by_hand import HubByHand
from tests.unit.exchange.parties import Party, token

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO, THREE = "+447700900001", "+447700900002", "+447700900003"
OLD, NEW = 12, 14


@pytest.fixture
def node(party: Callable[[str], Party]) -> Party:
    return party("NL")


def reshaped(hub: HubByHand, log2_slots: int = NEW) -> list[session_pb2.NodeFrame]:
    frames = hub.give(plane_shape=session_pb2.PlaneShape(log2_slots=log2_slots))
    while hub.party.core.has_more:
        frames += hub.party.core.work()
    return frames


def snapshots(frames: list[session_pb2.NodeFrame]) -> list[tuple[int, bytes]]:
    """Return shape and bitmap of every whole snapshot."""
    found = []
    for frame in frames:
        if frame.HasField("snapshot_begin"):
            shape, bits = frame.snapshot_begin.log2_slots, b""
        elif frame.HasField("snapshot_chunk"):
            bits += frame.snapshot_chunk.bits
        elif frame.HasField("snapshot_end"):
            assert frame.snapshot_end.bitmap_hash == hashlib.sha256(bits).digest()
            found.append((shape, bits))
    return found


def plane_of(log2_slots: int, *values: str) -> bytes:
    return bitmap(slots_of(b"".join(map(token, values)), log2_slots, 4), log2_slots)


def test_the_hello_declares_what_is_stored_and_what_waits_for_its_token(node: Party) -> None:
    assert node.core.hello().hello.tokens == 0
    node.submit(ONE)
    node.submit(TWO)
    assert node.core.hello().hello.tokens == 2


def test_a_larger_shape_is_taken_at_once_for_deltas_and_for_a_new_snapshot(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    hub.attach()
    frames = reshaped(hub)
    assert snapshots(frames) == [(NEW, plane_of(NEW, ONE))]
    hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=node.store.sequence()))
    node.submit(TWO)
    publish = next(frame.publish for frame in node.core.work() if frame.HasField("publish"))
    assert publish.log2_slots == NEW
    assert bitmap(unpack_slots(publish.slots, NEW), NEW) == plane_of(NEW, TWO)
    assert not snapshots(node.core.work()), "once is enough"


def test_a_shape_that_is_named_amid_a_snapshot_waits_for_its_end(node: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher.Publisher, "chunk_bytes", 64)
    hub = HubByHand(node)
    frames = hub.welcome()
    assert node.core.has_more
    frames += reshaped(hub)
    assert snapshots(frames) == [(OLD, plane_of(OLD))]
    frames = hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=0))
    while node.core.has_more:
        frames += node.core.work()
    assert [shape for shape, _ in snapshots(frames)] == [NEW]


def test_a_plane_is_made_of_blocks_with_turns_for_others_in_between(
    node: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "TOKENS_AT_ONCE", 1)
    monkeypatch.setattr(publisher, "FRAMES_AT_ONCE", 1)
    node.submit(ONE, TWO, THREE)
    hub = HubByHand(node)
    hub.attach()
    frames = hub.give(plane_shape=session_pb2.PlaneShape(log2_slots=NEW))
    idle = 0
    while node.core.has_more:
        more = node.core.work()
        idle += not more
        frames += more
    assert idle >= 2
    assert snapshots(frames) == [(NEW, plane_of(NEW, ONE, TWO, THREE))]


@pytest.mark.parametrize("shape", [0, 11, 12, 31])
def test_a_shape_that_is_no_larger_or_too_large_is_refused(node: Party, shape: int) -> None:
    hub = HubByHand(node)
    hub.attach()
    with pytest.raises(ProtocolError, match=r"shape of the plane|larger than any node makes"):
        hub.give(plane_shape=session_pb2.PlaneShape(log2_slots=shape))


def test_a_shape_that_cannot_be_made_is_refused(node: Party) -> None:
    hub = HubByHand(node)
    hub.attach()
    with pytest.raises(ConfigError):
        hub.give(plane_shape=session_pb2.PlaneShape(log2_slots=33))
