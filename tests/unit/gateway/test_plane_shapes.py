"""A plane has the shape that its party's own tokens need; it is named a larger one as it fills up (3.2)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concordat.planes import bitmap, pack_slots, slots_of
from concordat.wire.v1 import session_pb2
from tests.unit.gateway.world import token

if TYPE_CHECKING:
    from tests.unit.gateway.world import Link, Node, World

HASHES = 4


def said(link: Link, kind: str) -> list[session_pb2.HubFrame]:
    return [frame for frame in link.seen if frame.HasField(kind)]  # type: ignore[arg-type]  # a field's name


def dial(world: World, node: Node, tokens: int) -> Link:
    node.tokens = tokens
    link = node.dial(world.hubs[0])
    world.settle()
    return link


def send_plane(world: World, node: Node, link: Link, log2_slots: int) -> None:
    slots = slots_of(b"".join(map(token, node.values)), log2_slots, HASHES)
    plane = bitmap(slots, log2_slots)
    begin = session_pb2.SnapshotBegin(sequence=node.sequence, log2_slots=log2_slots, hashes=HASHES)
    link.send(snapshot_begin=begin)
    link.send(snapshot_chunk=session_pb2.SnapshotChunk(offset=0, bits=plane))
    link.send(snapshot_end=session_pb2.SnapshotEnd(bitmap_hash=hashlib.sha256(plane).digest()))
    world.settle()


def test_the_welcome_names_the_shape_for_what_the_node_declares_and_for_nobody_else(world: World) -> None:
    """I11: what one party holds is not to be read from another one's session."""
    de, nl = dial(world, world.node("DE"), 10_000), dial(world, world.node("NL"), 0)
    shapes = [said(link, "welcome")[0].welcome.plane_log2_slots for link in (de, nl)]
    assert shapes == [20, 12]
    assert world.hubs[0].exchange.planes[1] == 20


def test_a_plane_that_has_filled_up_is_sent_anew_in_the_session_and_nothing_is_lost(world: World) -> None:
    de, nl = world.attached("DE"), world.attached("NL")
    values = [f"v{number}" for number in range(600)]
    de.publish(*values)
    world.settle()
    shapes = [frame.plane_shape.log2_slots for frame in said(de.link, "plane_shape")]
    assert shapes == [13]
    assert not said(nl.link, "plane_shape")
    # A delta of the old shape, one of the new, and a snapshot of the new one.
    de.publish("old")
    de.keep("new")
    de.sequence += 1
    slots = pack_slots(slots_of(token("new"), 13, HASHES))
    de.link.send(publish=session_pb2.Publish(sequence=de.sequence, slots=slots, log2_slots=13))
    world.settle()
    nl.check(*nl.keep("old", "new", values[0]))
    world.settle()
    assert questions(de.link) == 3
    send_plane(world, de, de.link, 13)
    assert said(de.link, "snapshot_installed")[-1].snapshot_installed.sequence == de.sequence
    nl.check(*nl.keep("old", "new", values[1]))
    world.settle()
    assert questions(de.link) == 6
    assert de.link.closed is None


def questions(link: Link) -> int:
    return sum(len(frame.question.positions) // 4 for frame in said(link, "question"))


@pytest.mark.parametrize("shape", [11, 13])
def test_a_shape_that_was_not_named_is_refused(world: World, shape: int) -> None:
    de = world.node("DE")
    link = dial(world, de, 0)
    link.send(snapshot_begin=session_pb2.SnapshotBegin(log2_slots=shape, hashes=HASHES))
    world.settle()
    assert link.closed == "protocol_violation"
    assert any("another shape than the hub named" in note.text for note in world.hubs[0].notes)


@pytest.mark.parametrize("shape", [11, 13, 40])
def test_a_delta_of_a_shape_that_was_not_named_is_refused(world: World, shape: int) -> None:
    de = world.attached("DE")
    de.link.send(publish=session_pb2.Publish(sequence=1, slots=bytes(4), log2_slots=shape))
    world.settle()
    assert de.link.closed == "protocol_violation"


def test_another_number_of_slots_a_token_is_refused(world: World) -> None:
    de = world.node("DE")
    link = dial(world, de, 0)
    link.send(snapshot_begin=session_pb2.SnapshotBegin(log2_slots=12, hashes=3))
    world.settle()
    assert link.closed == "protocol_violation"
    assert any("another number of slots" in note.text for note in world.hubs[0].notes)
