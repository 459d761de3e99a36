"""A plane is complete up to its sequence, deltas follow one by one, and nothing is lost between (3.2, 3.3 step 2)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError, ProtocolError, RefusedError
from concordat.planes import bitmap, slots_of, unpack_slots
from concordat.wire.v1 import session_pb2
from services.node.events import Attached
from services.node.exchange import publisher
from tests.unit.exchange.hub_by_hand import HubByHand
from tests.unit.exchange.parties import Party, token

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO, THREE = "+447700900001", "+447700900002", "+447700900003"


@pytest.fixture
def node(party: Callable[[str], Party]) -> Party:
    return party("NL")


def kinds(frames: list[session_pb2.NodeFrame]) -> list[str]:
    return [frame.WhichOneof("frame") or "" for frame in frames]


def plane_of(node: Party, *values: str) -> bytes:
    manifest = node.federation.manifest
    slots = slots_of(b"".join(map(token, values)), manifest.plane_log2_slots, manifest.plane_hashes)
    return bitmap(slots, manifest.plane_log2_slots)


def snapshot_of(frames: list[session_pb2.NodeFrame]) -> tuple[int, bytes]:
    begin = next(frame.snapshot_begin for frame in frames if frame.HasField("snapshot_begin"))
    bits = b"".join(frame.snapshot_chunk.bits for frame in frames if frame.HasField("snapshot_chunk"))
    end = next(frame.snapshot_end for frame in frames if frame.HasField("snapshot_end"))
    assert end.bitmap_hash == hashlib.sha256(bits).digest()
    return begin.sequence, bits


def test_hello_says_who_comes_and_how_far_it_is(node: Party) -> None:
    hello = node.core.hello().hello
    manifest = node.federation.manifest
    assert hello.manifest_hash == manifest.hash
    assert hello.incarnation == node.store.incarnation()
    assert list(hello.epochs) == list(manifest.live_epochs)
    assert hello.rules_versions["e164"] == 1
    assert hello.notice_cursor == 0


def test_a_node_without_records_installs_an_empty_plane_at_sequence_0(node: Party) -> None:
    hub = HubByHand(node)
    hub.attach()
    assert snapshot_of(hub.frames) == (0, plane_of(node))
    assert Attached(node.federation.manifest.gateways[0].id) in node.events


def test_a_snapshot_holds_all_that_was_numbered_and_the_next_delta_goes_above_it(node: Party) -> None:
    node.submit(ONE)
    node.publish()
    node.submit(TWO)
    hub = HubByHand(node)
    frames = hub.welcome()
    assert snapshot_of(frames) == (1, plane_of(node, ONE))
    publish = frames[-1].publish
    assert publish.sequence == 2
    manifest = node.federation.manifest
    slots = unpack_slots(publish.slots, manifest.plane_log2_slots)
    assert bitmap(slots, manifest.plane_log2_slots) == plane_of(node, TWO)


def test_what_was_numbered_and_never_acknowledged_is_in_the_next_snapshot(node: Party) -> None:
    node.submit(ONE)
    HubByHand(node).welcome()
    assert node.published_through() == 0
    node.restart()
    hub = HubByHand(node)
    hub.attach()
    assert snapshot_of(hub.frames) == (1, plane_of(node, ONE))
    assert node.published_through() == 1
    assert not any(frame.HasField("publish") for frame in hub.frames)


def test_one_delta_is_under_way_at_a_time(node: Party) -> None:
    hub = HubByHand(node)
    hub.attach()
    node.submit(ONE)
    assert kinds(node.core.work()) == ["publish"]
    node.submit(TWO)
    assert kinds(node.core.work()) == []
    assert kinds(hub.give(published=session_pb2.Published(sequence=1)))[0] == "publish"


def test_deltas_may_come_between_the_chunks_of_a_snapshot(node: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher.Publisher, "chunk_bytes", 64)
    node.submit(ONE)
    hub = HubByHand(node)
    frames = hub.welcome()
    assert node.core.has_more
    node.submit(TWO)
    while node.core.has_more:
        frames += node.core.work()
    order = kinds(frames)
    assert order.index("publish") < order.index("snapshot_end")
    assert snapshot_of(frames) == (0, plane_of(node))
    hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=1))
    assert node.published_through() == 1


def test_a_ledger_that_is_ahead_raises_the_sequence_and_renews_the_incarnation(node: Party) -> None:
    """The store is an older copy: its next numbers must lie above what the ledger has seen."""
    node.submit(ONE)
    before = node.store.incarnation()
    with pytest.raises(RefusedError) as refused:
        HubByHand(node, ledger_sequence=41).attach()
    # The process that ran on the other copy may still be there: it attaches again as another.
    assert refused.value.code == "store_restored"
    assert node.store.incarnation() != before
    node.core.detach()
    hub = HubByHand(node, ledger_sequence=41)
    hub.attach()
    assert snapshot_of(hub.frames)[0] == 41
    assert node.store.sequence() == 42


def test_values_that_are_looked_at_once_are_in_no_plane(node: Party) -> None:
    node.submit(ONE, look_once=True)
    hub = HubByHand(node)
    hub.attach()
    assert snapshot_of(hub.frames) == (0, plane_of(node))
    assert not any(frame.HasField("publish") for frame in hub.frames)


@pytest.mark.parametrize("sequence", [1, 7])
def test_an_acknowledgement_of_what_was_not_sent_is_an_error(node: Party, sequence: int) -> None:
    hub = HubByHand(node)
    hub.welcome()
    with pytest.raises(ProtocolError):
        hub.give(published=session_pb2.Published(sequence=sequence))
    with pytest.raises(ProtocolError):
        hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=sequence))


def test_a_plane_of_an_impossible_shape_is_refused(node: Party) -> None:
    manifest = node.federation.manifest
    gateway = manifest.gateways[0].id
    welcome = session_pb2.Welcome(gateway=gateway, manifest_hash=manifest.hash, plane_log2_slots=40, plane_hashes=4)
    with pytest.raises(ConfigError):
        node.core.receive(session_pb2.HubFrame(welcome=welcome))


def test_a_gateway_with_another_manifest_is_refused(node: Party) -> None:
    welcome = session_pb2.Welcome(manifest_hash=b"m" * 32, plane_log2_slots=12, plane_hashes=4)
    with pytest.raises(RefusedError) as caught:
        node.core.receive(session_pb2.HubFrame(welcome=welcome))
    assert caught.value.code == "stale_manifest"
