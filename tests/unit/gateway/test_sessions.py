"""Sessions of nodes: who may attach, what replaces what, and when a party is absent (3.2, 3.4 (6))."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import IdentityError, UnavailableError
from concordat.wire.v1 import check_pb2, session_pb2
from tests.unit.gateway.world import Link, told_once

if TYPE_CHECKING:
    from tests.unit.gateway.world import Node, World


def dial_with(world: World, **changed: Any) -> Link:
    """Dial with a hello that differs in some fields from the right one."""
    node = world.node("NL")
    hub = world.hubs[0]
    manifest = world.federation.manifest
    content: dict[str, Any] = {
        "federation": manifest.federation,
        "manifest_hash": manifest.hash,
        "incarnation": b"i" * 16,
        "rules_versions": {"e164": manifest.rules_versions["e164"].current},
        "epochs": list(manifest.live_epochs),
    }
    link = Link(node, hub, hub.exchange.open(node.id))
    hub.links[link.session] = link
    link.send(hello=session_pb2.Hello(**(content | changed)))
    world.settle()
    return link


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"federation": "other.example"}, "refused"),
        ({"manifest_hash": b"m" * 32}, "stale_manifest"),
        ({"rules_versions": {"e164": 9}}, "stale_rules"),
        ({"rules_versions": {"shoe_size": 1}}, "stale_rules"),
        ({"epochs": [7]}, "stale_epoch"),
        ({"epochs": []}, "stale_epoch"),
        ({"incarnation": b"short"}, "protocol_violation"),
    ],
)
def test_a_hello_that_does_not_fit_is_refused_by_its_code(
    world: World, changed: dict[str, Any], code: str | None
) -> None:
    link = dial_with(world, **changed)
    assert link.closed == code
    assert ("welcome" in link.kinds()) == (code is None)


def test_a_party_that_is_no_node_has_no_session(world: World) -> None:
    with pytest.raises(IdentityError):
        world.hubs[0].exchange.open(world.federation.manifest.gateways[0].id)


def test_welcome_says_ledger_plane_and_presence(world: World) -> None:
    de = world.attached("DE")
    de.publish("x")
    world.settle()
    de.dial(world.hubs[0])
    nl = world.attached("NL")
    welcome = nl.link.seen[0].welcome
    assert welcome.ledger_incarnation == world.ledger.incarnation
    assert (welcome.plane_log2_slots, welcome.plane_hashes) == (12, 4)
    assert list(welcome.presence.attached) == []
    assert de.link.seen[0].welcome.ledger_sequence == 1


def test_presence_goes_to_everyone_at_each_change(world: World) -> None:
    nl = world.attached("NL")
    de = world.attached("DE")
    assert nl.link.seen[-1].presence.attached == [de.id, nl.id]
    de.link.send(bye=session_pb2.Bye())
    world.settle()
    assert nl.link.seen[-1].presence.attached == [nl.id]
    assert de.link.closed == ""


def test_a_newer_session_replaces_the_older_one(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    old = de.link
    new = de.dial(world.hubs[0])
    world.settle()
    assert (old.closed, new.closed) == ("session_replaced", None)
    assert nl.link.seen[-1].presence.attached == [nl.id]
    # What the older session still says is heard by nobody.
    old.send(publish=session_pb2.Publish(sequence=9))
    world.settle()
    assert world.ledger.sequence_of(de.id) == 0


def test_the_end_of_a_replaced_stream_does_not_end_the_new_session(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    old = de.link
    new = de.dial(world.hubs[0])
    world.settle()
    de.snapshot(new)
    world.hubs[0].exchange.detach(old.session)
    world.settle()
    nl.check("x")
    world.settle()
    assert told_once(nl, de)


def test_a_party_is_absent_after_three_unanswered_barriers(world: World) -> None:
    de, nl = world.attached("DE"), world.attached("NL")
    de.link.mute_barrier = True
    manifest = world.federation.manifest
    # The third barrier leaves at the third tick and is unanswered at its window's end.
    late = (3 * manifest.tick_ms + manifest.window_ms) / 1000
    world.advance(late - 0.001)
    assert de.link.closed is None
    world.advance(0.001)
    assert de.link.closed == "deadline"
    assert nl.link.seen[-1].WhichOneof("frame") in {"presence", "barrier"}
    assert world.hubs[0].exchange.attached() == [nl.id]


def test_a_late_reply_keeps_a_party_but_does_not_cover_it(world: World) -> None:
    de, nl = world.attached("DE"), world.attached("NL")
    de.link.mute_barrier = True
    check_id = nl.check("x")
    world.advance(0.6)
    barriers = [frame.barrier for frame in de.link.seen if frame.WhichOneof("frame") == "barrier"]
    world.advance(0.2)
    for barrier in barriers:
        de.link.send(barrier_reply=session_pb2.BarrierReply(tick=barrier.tick, index_sequence=9))
    world.settle()
    world.advance(0.3)
    assert nl.states(check_id)["DE"] == "timed_out"
    assert de.link.closed is None


def test_a_party_whose_snapshot_is_not_whole_is_timed_out_and_not_offline(world: World) -> None:
    nl, de = world.attached("NL"), world.node("DE")
    de.dial(world.hubs[0])
    world.settle()
    check_id = nl.check("x")
    world.window()
    assert nl.states(check_id) == {"DE": "timed_out", "FR": "offline", "RO": "offline"}


def test_a_restored_node_learns_its_sequence_from_the_welcome(world: World) -> None:
    de = world.attached("DE")
    de.publish("x")
    world.settle()
    de.sequence = 0
    link = de.dial(world.hubs[0])
    world.settle()
    assert de.sequence == 1
    de.snapshot(link)
    world.settle()
    assert [f.snapshot_installed.sequence for f in link.seen if f.HasField("snapshot_installed")] == [1]


def _chunks(node: Node, plane: bytes, *pieces: tuple[int, int], digest: bytes | None = None) -> None:
    link = node.link
    for start, end in pieces:
        link.send(snapshot_chunk=session_pb2.SnapshotChunk(offset=start, bits=plane[start:end]))
    digest = hashlib.sha256(plane).digest() if digest is None else digest
    link.send(snapshot_end=session_pb2.SnapshotEnd(bitmap_hash=digest))


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(0, 256)],
        [(256, 512)],
        [(0, 256), (0, 256), (256, 512)],
        [(0, 256), (300, 512)],
        [(0, 512), (512, 600)],
        [(0, 512), (0, 0)],
    ],
)
def test_a_snapshot_with_gaps_repeats_or_too_many_bytes_is_refused(world: World, pieces: list[tuple[int, int]]) -> None:
    de = world.node("DE")
    link = de.dial(world.hubs[0])
    world.settle()
    plane = de.begin_snapshot(link)
    assert len(plane) == 512
    _chunks(de, plane + bytes(88), *pieces, digest=hashlib.sha256(plane).digest())
    world.settle()
    assert link.closed == "protocol_violation"
    assert world.hubs[0].exchange.attached() == []


def test_a_snapshot_with_another_hash_is_refused(world: World) -> None:
    de = world.node("DE")
    link = de.dial(world.hubs[0])
    world.settle()
    _chunks(de, de.begin_snapshot(link), (0, 512), digest=b"h" * 32)
    world.settle()
    assert link.closed == "protocol_violation"


def test_a_snapshot_that_lacks_a_published_delta_is_refused(world: World) -> None:
    de = world.attached("DE")
    de.publish("x")
    de.sequence = 0
    de.begin_snapshot(de.link)
    world.settle()
    assert de.link.closed == "protocol_violation"


@pytest.mark.parametrize(
    "content",
    [
        {"snapshot_chunk": session_pb2.SnapshotChunk(offset=0, bits=b"x")},
        {"snapshot_end": session_pb2.SnapshotEnd()},
        {"snapshot_begin": session_pb2.SnapshotBegin(sequence=1, log2_slots=13, hashes=4)},
        {"publish": session_pb2.Publish(sequence=1, slots=b"odd")},
        {"publish": session_pb2.Publish(sequence=1, slots=(1 << 12).to_bytes(4, "little"))},
        {"publish": session_pb2.Publish(sequence=1 << 63)},
        {"snapshot_begin": session_pb2.SnapshotBegin(sequence=1 << 63, log2_slots=12, hashes=4)},
        {"notice_ack": check_pb2.NoticeAck(cursor=1)},
        {"hello": session_pb2.Hello()},
        {"check": check_pb2.Check(header=b"\xff")},
        {"refusal": check_pb2.Refusal(body=b"\xff")},
        {},
    ],
    ids=str,
)
def test_a_frame_that_breaks_the_protocol_ends_its_session_and_no_other(world: World, content: dict[str, Any]) -> None:
    de, nl = world.attached("DE"), world.attached("NL")
    de.link.send(**content)
    world.settle()
    assert de.link.closed == "protocol_violation"
    assert nl.link.closed is None


def test_a_stream_without_a_hello_ends_and_one_party_cannot_open_many(world: World) -> None:
    hub, party = world.hubs[0], world.federation.id("DE")
    links = [Link(world.node("DE"), hub, hub.exchange.open(party)) for _ in range(4)]
    hub.links |= {link.session: link for link in links}
    with pytest.raises(UnavailableError):
        hub.exchange.open(party)
    assert world.attached("NL").link.closed is None
    world.advance(5.3)
    assert [link.closed for link in links] == ["deadline"] * 4
    assert world.attached("DE").link.closed is None


def test_nothing_is_taken_before_the_welcome(world: World) -> None:
    de = world.node("DE")
    link = de.dial(world.hubs[0])
    link.send(publish=session_pb2.Publish(sequence=1))
    world.settle()
    assert link.closed == "protocol_violation"
