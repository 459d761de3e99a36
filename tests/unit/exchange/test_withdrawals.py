"""Withdrawals, receipts and feedback at the node: said until they are certain, believed when they are signed (3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.identity.names import short
from concordat.protocol.feedback import accept_feedback, sign_feedback
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac
from concordat.protocol.withdrawal import accept_receipt, accept_withdraw, sign_receipt
from concordat.vocabulary import FalseHit, WithdrawReason
from concordat.wire.v1 import check_pb2, session_pb2
from services.node.events import EdgeWithdrawn, FeedbackHeard
from services.node.store import feedback, withdrawals
from services.node.store.feedback import FeedbackRow
from tests.unit.exchange.hub_by_hand import HubByHand, acks, header_of
from tests.unit.exchange.parties import Party, secret

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "+31621123456"
THEIRS = b"t" * 16
EDGE = b"e" * 16


def withdraw_all(node: Party) -> list[bytes]:
    """Withdraw every record of a node; return the references that have to be buried."""
    with node.store.write() as db:
        ids = [one for (one,) in db.execute("SELECT id FROM record WHERE status = 'accepted'")]
        withdrawals.withdraw_records(db, ids, reason=WithdrawReason.WITHDRAWN, at_ms=1, epochs=(1,))
        return withdrawals.unburied(db, 100)


def said(frames: list[session_pb2.NodeFrame], node: Party) -> list[bytes]:
    """Return the references of the withdrawals among frames, their signatures checked."""
    manifest = node.federation.manifest
    taken = (
        accept_withdraw(one.withdraw, party=node.id, manifest=manifest) for one in frames if one.HasField("withdraw")
    )
    return [reference for references in taken for reference in references]


def receipts(frames: list[session_pb2.NodeFrame], node: Party) -> list[tuple[str, bytes]]:
    manifest = node.federation.manifest
    bodies = [
        accept_receipt(one.receipt, signer=node.id, manifest=manifest) for one in frames if one.HasField("receipt")
    ]
    return [(short(body.withdrawer), body.reference) for body in bodies]


def snapshots(frames: list[session_pb2.NodeFrame]) -> int:
    return sum(frame.HasField("snapshot_begin") for frame in frames)


def work(node: Party) -> list[session_pb2.NodeFrame]:
    frames = node.core.work()
    while node.core.has_more:
        frames += node.core.work()
    return frames


@pytest.fixture
def node(party: Callable[[str], Party]) -> Party:
    found = party("NL")
    found.submit(PHONE)
    return found


@pytest.fixture
def hub(node: Party) -> HubByHand:
    hub = HubByHand(node)
    hub.attach()
    return hub


@pytest.fixture
def told(party: Callable[[str], Party]) -> tuple[Party, HubByHand, bytes]:
    """A node that was told of DE, with its own reference."""
    node = party("NL")
    node.submit(PHONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    header, own = header_of(check), check.items.references
    other, decision = node.federation.id("DE"), ASKER_TOLD | HOLDER_TOLD
    hub.tell(
        check_pb2.Told(
            edge_id=EDGE,
            handle="M-TEST",
            own_reference=own,
            other=other,
            other_reference=THEIRS,
            grade=check_pb2.GRADE_STRONG,
            asked=True,
            check_id=header.fields.check_id,
            decision=decision,
            answer_mac=answer_mac(secret(PHONE), header.hash, other, (own, THEIRS), decision),
        )
    )
    return node, hub, own


def gone(node: Party, own: bytes) -> check_pb2.Withdrawn:
    return check_pb2.Withdrawn(
        party=node.federation.id("DE"), reference=THEIRS, edge_id=EDGE, own_reference=own, withdrawn_at_ms=7
    )


def test_a_withdrawal_is_said_once_a_session_until_the_own_list_says_that_it_is_buried(
    node: Party, hub: HubByHand
) -> None:
    (reference,) = withdraw_all(node)
    assert said(work(node), node) == [reference]
    assert said(work(node), node) == []
    node.core.detach()
    again = HubByHand(node, cursor=hub.cursor)
    again.attach()
    assert said(again.frames, node) == [reference]
    assert acks(again.notify(withdrawn=check_pb2.Withdrawn(party=node.id, reference=reference, withdrawn_at_ms=2))) == [
        1
    ]
    node.core.detach()
    last = HubByHand(node)
    last.attach()
    assert said(last.frames, node) == []


def test_a_withdrawn_value_is_out_of_the_index_at_once_and_the_plane_is_built_anew(node: Party, hub: HubByHand) -> None:
    """Store, tombstone, index, receipts, plane: nobody is told by an answer after the first of them."""
    withdraw_all(node)
    assert node.store.snapshot([1])[1] == b""
    frames = work(node)
    assert snapshots(frames) == 1
    begin = next(frame.snapshot_begin for frame in frames if frame.HasField("snapshot_begin"))
    assert snapshots(work(node)) == 0, "one at a time"
    hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=begin.sequence))
    assert not node.store.plane_is_stale()
    assert snapshots(work(node)) == 0


def test_what_leaves_the_index_after_a_snapshot_was_taken_takes_another_one(node: Party, hub: HubByHand) -> None:
    node.submit("+31621123457")
    hub.work()
    with node.store.write() as db:
        first, second = [one for (one,) in db.execute("SELECT id FROM record ORDER BY id")]
        withdrawals.withdraw_records(db, [first], reason=WithdrawReason.WITHDRAWN, at_ms=1, epochs=(1,))
    begin = next(frame.snapshot_begin for frame in work(node) if frame.HasField("snapshot_begin"))
    with node.store.write() as db:
        withdrawals.withdraw_records(db, [second], reason=WithdrawReason.WITHDRAWN, at_ms=1, epochs=(1,))
    hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=begin.sequence))
    assert node.store.plane_is_stale()


def test_a_check_under_way_outlives_the_new_plane(party: Callable[[str], Party]) -> None:
    """It is no new session: nothing is asked twice."""
    node = party("NL")
    node.submit(PHONE, "+31621123457")
    hub = HubByHand(node)
    assert len(hub.attach()) == 1
    with node.store.write() as db:
        (first,) = db.execute("SELECT min(id) FROM record").fetchone()
        withdrawals.withdraw_records(db, [first], reason=WithdrawReason.WITHDRAWN, at_ms=1, epochs=(1,))
    begin = next(frame.snapshot_begin for frame in work(node) if frame.HasField("snapshot_begin"))
    assert hub.checks(hub.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=begin.sequence))) == []


def test_who_was_told_keeps_the_withdrawal_and_owes_a_receipt(told: tuple[Party, HubByHand, bytes]) -> None:
    """LB-22: the receipt is on disk with the notice, and leaves with its acknowledgement."""
    node, hub, own = told
    frames = hub.notify(withdrawn=gone(node, own))
    assert receipts(frames, node) == [("DE", THEIRS)]
    assert acks(frames) == [2]
    assert [row.state for row in node.store.all_told()] == ["withdrawn"]
    assert EdgeWithdrawn(node.federation.id("DE")) in node.events
    assert node.store.matches() == []


def test_a_receipt_is_said_again_until_a_snapshot_after_it_is_installed(told: tuple[Party, HubByHand, bytes]) -> None:
    node, hub, own = told
    hub.notify(withdrawn=gone(node, own))
    for _ in range(2):
        node.restart()
        lost = HubByHand(node, cursor=2)
        assert receipts(lost.welcome(), node) == [("DE", THEIRS)]
    lost.give(snapshot_installed=session_pb2.SnapshotInstalled(sequence=1))
    node.restart()
    assert receipts(HubByHand(node, cursor=2).welcome(), node) == []


@pytest.mark.parametrize("field", ["party", "edge_id", "own_reference"])
def test_a_withdrawal_of_what_was_not_told_changes_nothing(told: tuple[Party, HubByHand, bytes], field: str) -> None:
    node, hub, own = told
    notice = gone(node, own)
    setattr(notice, field, node.federation.id("FR") if field == "party" else b"x" * 16)
    frames = hub.notify(withdrawn=notice)
    assert receipts(frames, node) == []
    assert acks(frames) == [2]
    assert [row.state for row in node.store.all_told()] == ["shown"]


def test_a_receipt_is_kept_if_its_signer_signed_it(node: Party, hub: HubByHand) -> None:
    federation = node.federation
    body = check_pb2.ReceiptBody(
        withdrawer=node.id, reference=b"r" * 16, edge_id=EDGE, signer=federation.id("DE"), taken_at_ms=5
    )
    true = sign_receipt(body, federation.keys["DE"])
    forged = sign_receipt(body, federation.keys["FR"])
    for receipt in (forged, true, true):
        assert acks(hub.notify(receipt=check_pb2.ReceiptFor(receipt=receipt)))
    with node.store.read() as db:
        assert db.execute("SELECT peer, own FROM receipt").fetchall() == [(federation.id("DE"), 0)]


def test_feedback_is_signed_and_said_until_it_is_certain(told: tuple[Party, HubByHand, bytes]) -> None:
    node, _, own = told
    body = check_pb2.FeedbackBody(
        edge_id=EDGE, other=node.federation.id("DE"), reason=FalseHit.REASSIGNED, signer=node.id, given_at_ms=3
    )
    message = sign_feedback(body, node.federation.keys["NL"]).SerializeToString()
    with node.store.write() as db:
        row = FeedbackRow(EDGE, own, True, FalseHit.REASSIGNED, "officer-1", 3, message)
        assert feedback.put_feedback(db, row)
        assert not feedback.put_feedback(db, row)
    (frame,) = [one for one in work(node) if one.HasField("feedback")]
    said_body = accept_feedback(frame.feedback, signer=node.id, manifest=node.federation.manifest)
    assert said_body.reason == FalseHit.REASSIGNED
    assert b"officer-1" not in frame.SerializeToString()
    assert not [one for one in work(node) if one.HasField("feedback")]


@pytest.mark.parametrize(
    ("change", "heard"),
    [
        ({}, True),
        ({"edge_id": b"x" * 16}, False),
        ({"other": "spiffe://test.example/node/FR"}, False),
        ({"reason": "because"}, False),
        ({"given_at_ms": (1 << 63) - 1}, False),
        ({"given_at_ms": -1}, False),
    ],
)
def test_feedback_is_heard_of_a_told_edge_only(
    told: tuple[Party, HubByHand, bytes], change: dict[str, object], heard: bool
) -> None:
    node, hub, own = told
    fields = {"edge_id": EDGE, "other": node.id, "reason": "other_person", "given_at_ms": 4} | change
    body = check_pb2.FeedbackBody(signer=node.federation.id("DE"), **fields)  # type: ignore[arg-type]  # by name
    said_of = check_pb2.FeedbackFor(feedback=sign_feedback(body, node.federation.keys["DE"]), own_reference=own)
    assert acks(hub.notify(feedback=said_of)) == [2]
    assert (FeedbackHeard(node.federation.id("DE"), "other_person") in node.events) is heard
    with node.store.read() as db:
        assert len(feedback.all_feedback(db)) == int(heard)


def test_a_ledger_that_was_restored_hears_of_every_withdrawal_and_receipt_again(
    told: tuple[Party, HubByHand, bytes],
) -> None:
    """C10: it may have lost the tombstone, and then people elsewhere would go on seeing what was withdrawn."""
    node, hub, own = told
    hub.notify(withdrawn=gone(node, own))
    (reference,) = withdraw_all(node)
    hub.notify(withdrawn=check_pb2.Withdrawn(party=node.id, reference=reference, withdrawn_at_ms=9))
    node.restart()
    again = HubByHand(node, cursor=3)
    again.attach()
    node.core.detach()
    # A snapshot was installed after them, so that all of it counts as said.
    assert said(HubByHand(node, cursor=3).welcome(), node) == []
    node.core.detach()
    restored = HubByHand(node, ledger_incarnation=b"M" * 16)
    frames = restored.welcome()
    assert said(frames, node) == [reference]
    assert receipts(frames, node) == [("DE", THEIRS)]
