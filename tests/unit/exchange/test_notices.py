"""What a node is told shows only where it is proven; anything else goes back signed and stays pending (3.4 step 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ProtocolError, UnavailableError
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac
from concordat.wire.v1 import check_pb2, session_pb2
from services.node.events import EdgeVoided, PartyRefused, Told
from services.node.store.rows import PairRow, WitnessRow
from tests.unit.exchange.hub_by_hand import COVERED, HubByHand, acks, header_of
from tests.unit.exchange.parties import Party, secret

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "+447700900001"
THEIRS = b"t" * 16
BOTH = ASKER_TOLD | HOLDER_TOLD


@dataclass
class Asked:
    """A node that has asked about one value, and its gateway."""

    node: Party
    hub: HubByHand
    check: check_pb2.Check

    def told(self, *, mac: bytes | None = None, edge: bytes = b"e" * 16, decision: int = BOTH) -> check_pb2.Told:
        header, own = header_of(self.check), self.check.items.references
        other = self.node.federation.id("DE")
        proof = answer_mac(secret(PHONE), header.hash, other, (own, THEIRS), decision)
        return check_pb2.Told(
            edge_id=edge,
            handle="M-TEST",
            own_reference=own,
            other=other,
            other_reference=THEIRS,
            grade=check_pb2.GRADE_STRONG,
            asked=True,
            check_id=header.fields.check_id,
            decision=decision,
            answer_mac=proof if mac is None else mac,
        )

    def states(self) -> list[str]:
        return [row.state for row in self.node.store.all_told()]


@pytest.fixture
def asked(party: Callable[[str], Party]) -> Asked:
    node = party("NL")
    node.submit(PHONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    return Asked(node, hub, check)


def holder_told(reference: bytes, other: str, **fields: object) -> check_pb2.Told:
    content: dict[str, object] = {
        "edge_id": b"h" * 16,
        "handle": "M-HELD",
        "own_reference": reference,
        "other": other,
        "other_reference": THEIRS,
        "grade": check_pb2.GRADE_STRONG,
        "asked": False,
        "check_id": b"c" * 16,
    }
    return check_pb2.Told(**(content | fields))  # type: ignore[arg-type]  # by name, for brevity


def test_a_proven_answer_shows_and_is_acknowledged_once_it_is_on_disk(asked: Asked) -> None:
    frames = asked.hub.tell(asked.told())
    assert acks(frames) == [1]
    assert asked.hub.refusals(frames) == []
    expected = Told(
        "M-TEST", asked.node.federation.id("DE"), "e164", "strong", asked=True, look_once=False, common="test number"
    )
    assert expected in asked.node.events
    asked.node.restart()
    assert asked.states() == ["shown"]
    assert asked.node.store.notice_cursor() == 1


def wrong_macs(asked: Asked) -> dict[str, bytes]:
    header = header_of(asked.check)
    own, other = asked.check.items.references, asked.node.federation.id("DE")
    french = asked.node.federation.id("FR")
    return {
        "the ask MAC echoed": asked.check.items.ask_macs,
        "none": b"",
        "another secret": answer_mac(b"x" * 32, header.hash, other, (own, THEIRS), BOTH),
        "another holder": answer_mac(secret(PHONE), header.hash, french, (own, THEIRS), BOTH),
        "another header": answer_mac(secret(PHONE), b"h" * 32, other, (own, THEIRS), BOTH),
        "another reference": answer_mac(secret(PHONE), header.hash, other, (own, b"z" * 16), BOTH),
        "another decision": answer_mac(secret(PHONE), header.hash, other, (own, THEIRS), ASKER_TOLD),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "the ask MAC echoed",
        "none",
        "another secret",
        "another holder",
        "another header",
        "another reference",
        "another decision",
    ],
)
def test_a_wrong_answer_mac_shows_nothing_names_the_party_and_keeps_the_value_pending(asked: Asked, kind: str) -> None:
    frames = asked.hub.tell(asked.told(mac=wrong_macs(asked)[kind]))
    assert asked.hub.refusals(frames) == [("DE", "wrong_answer_mac")]
    assert acks(frames) == [1]
    assert asked.states() == ["refused"]
    assert not any(isinstance(event, Told) for event in asked.node.events)
    assert PartyRefused(asked.node.federation.id("DE"), "wrong_answer_mac") in asked.node.events
    assert [incident.party for incident in asked.node.store.incidents()] == [asked.node.federation.id("DE")]
    asked.hub.certify(asked.check, {"DE": COVERED, "FR": COVERED})
    assert asked.node.pending() == {(1, "DE"): "timed_out"}


def test_a_decision_that_does_not_let_the_asker_know_shows_nothing(asked: Asked) -> None:
    frames = asked.hub.tell(asked.told(decision=HOLDER_TOLD))
    assert asked.hub.refusals(frames) == [("DE", "wrong_answer_mac")]


def test_an_answer_that_is_refused_after_its_certificate_makes_the_party_pending_again(asked: Asked) -> None:
    asked.hub.certify(asked.check, {"DE": COVERED, "FR": COVERED})
    assert asked.node.pending() == {}
    asked.hub.tell(asked.told(mac=b"w" * 32))
    assert asked.node.pending() == {(1, "DE"): "timed_out"}
    asked.node.clock.advance(1)
    (again,) = asked.hub.work()
    assert list(again.only_holders) == [asked.node.federation.id("DE")]


def test_a_party_that_answers_wrong_every_time_is_asked_ever_more_seldom(asked: Asked) -> None:
    check = asked.check
    for edge, pause in enumerate((1, 2, 4, 8)):
        asked.check = check
        asked.hub.tell(asked.told(mac=b"w" * 32, edge=bytes([edge]) * 16))
        asked.hub.certify(check, {"DE": COVERED, "FR": COVERED})
        asked.node.clock.advance(pause - 0.01)
        assert asked.hub.work() == []
        asked.node.clock.advance(0.01)
        (check,) = asked.hub.work()


def test_a_refusal_is_returned_again_when_the_session_that_carried_it_may_have_broken(asked: Asked) -> None:
    asked.hub.tell(asked.told(mac=b"w" * 32))
    asked.node.restart()
    hub = HubByHand(asked.node)
    frames = hub.welcome()
    assert hub.refusals(frames) == [("DE", "wrong_answer_mac")]


def test_a_holder_believes_only_its_own_witness(party: Callable[[str], Party]) -> None:
    node = party("NL")
    node.submit(PHONE)
    hub, german = HubByHand(node), node.federation.id("DE")
    hub.attach()
    reference = node.reference(PHONE)
    assert hub.refusals(hub.tell(holder_told(reference, german))) == [("DE", "never_asked")]
    node.store.witness([WitnessRow(reference, german, THEIRS, b"c" * 16)])
    assert hub.refusals(hub.tell(holder_told(reference, german, edge_id=b"i" * 16))) == []
    assert sorted(row.state for row in node.store.all_told()) == ["refused", "shown"]
    other = hub.tell(holder_told(reference, node.federation.id("FR"), edge_id=b"k" * 16))
    assert hub.refusals(other) == [("FR", "never_asked")]


def test_a_participant_believes_only_its_own_verdict_in_that_sweep(party: Callable[[str], Party]) -> None:
    node = party("NL")
    node.submit(PHONE)
    hub, german = HubByHand(node), node.federation.id("DE")
    hub.attach()
    reference, sweep = node.reference(PHONE), b"s" * 16
    node.store.verified_pairs([PairRow(reference, german, THEIRS, sweep)])
    told = holder_told(reference, german, check_id=b"", sweep_id=sweep)
    assert hub.refusals(hub.tell(told)) == []
    told.edge_id, told.sweep_id = b"i" * 16, b"z" * 16
    assert hub.refusals(hub.tell(told)) == [("DE", "never_asked")]


def test_a_party_that_the_manifest_does_not_name_shows_nothing(asked: Asked) -> None:
    told = asked.told()
    told.other = "spiffe://test.example/node/XX"
    body = asked.hub.tell(told)
    assert [frame.WhichOneof("frame") for frame in body] == ["refusal", "notice_ack"]
    assert asked.states() == ["refused"]


def test_a_voided_edge_shows_no_more_and_its_value_is_asked_again(asked: Asked) -> None:
    asked.hub.tell(asked.told())
    asked.hub.certify(asked.check, {"DE": COVERED, "FR": COVERED})
    asked.hub.void(b"e" * 16)
    assert asked.states() == ["voided"]
    assert EdgeVoided(asked.node.federation.id("DE")) in asked.node.events
    assert asked.node.pending() == {(1, "DE"): "timed_out"}


def test_a_notice_that_comes_again_changes_nothing(asked: Asked) -> None:
    asked.hub.tell(asked.told())
    asked.hub.cursor = 0
    assert acks(asked.hub.tell(asked.told(mac=b"w" * 32))) == [1]
    assert asked.states() == ["shown"]
    assert sum(isinstance(event, Told) for event in asked.node.events) == 1


def test_a_gap_between_notices_ends_the_session(asked: Asked) -> None:
    asked.hub.cursor = 1
    with pytest.raises(ProtocolError, match="left out"):
        asked.hub.tell(asked.told())
    assert asked.states() == []
    assert asked.node.store.notice_cursor() == 0


@pytest.mark.parametrize("field", ["edge_id", "own_reference", "other_reference"])
def test_a_notice_with_an_id_of_another_size_ends_the_session(asked: Asked, field: str) -> None:
    told = asked.told()
    setattr(told, field, b"short")
    with pytest.raises(ProtocolError):
        asked.hub.tell(told)
    with pytest.raises(ProtocolError, match="no content"):
        asked.hub.give(notice=check_pb2.Notice(cursor=1))


def test_many_notices_are_one_wait_for_the_disk_and_one_acknowledgement(asked: Asked) -> None:
    statements = list[str]()
    with asked.node.store.read() as db:
        db.set_trace_callback(statements.append)
    notices = [
        session_pb2.HubFrame(notice=check_pb2.Notice(cursor=at, told=asked.told(edge=bytes([at]) * 16)))
        for at in range(1, 11)
    ]
    frames = asked.node.core.step(notices, work=False)
    assert acks(frames) == [10]
    assert statements.count("BEGIN IMMEDIATE") == 1
    assert asked.node.store.notice_cursor() == 10


def test_a_restored_ledger_starts_anew_and_everybody_is_asked_again(asked: Asked) -> None:
    """C10: notices are numbered from 1 again, what was told before is not told twice, and nothing counts as covered."""
    asked.hub.tell(asked.told())
    asked.hub.certify(asked.check, {"DE": COVERED, "FR": COVERED})
    asked.node.core.detach()
    restored = HubByHand(asked.node, ledger_incarnation=b"M" * 16)
    (again,) = restored.attach()
    assert again.items.tokens == asked.check.items.tokens
    assert acks(restored.tell(asked.told())) == [1]
    assert asked.states() == ["shown"]
    assert sum(isinstance(event, Told) for event in asked.node.events) == 1


def test_nothing_is_told_of_a_group_that_the_store_took_back(asked: Asked) -> None:
    """SQLite ends the whole transaction where the disk is full; what stood in it before must not be shown."""
    statements = list[str]()
    with asked.node.store.read() as db:
        db.set_trace_callback(statements.append)
        db.set_progress_handler(lambda: sum("INSERT INTO notice" in one for one in statements) == 3, 1)
    notices = [
        session_pb2.HubFrame(notice=check_pb2.Notice(cursor=at, told=asked.told(edge=bytes([at]) * 16)))
        for at in range(1, 4)
    ]
    with pytest.raises(UnavailableError):
        asked.node.core.step(notices, work=False)
    statements.clear()
    with asked.node.store.read() as db:
        db.set_progress_handler(None, 0)
    assert not [one for one in asked.node.events if isinstance(one, Told)]
    assert asked.node.store.notice_cursor() == 0
    asked.node.core.detach()
    asked.hub.attach()
    asked.node.core.step(notices, work=False)
    assert sum(isinstance(one, Told) for one in asked.node.events) == 1
