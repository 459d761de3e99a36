"""A match that comes of a value which this node has withdrawn meanwhile is no match, and nobody's fault (3.8, C12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac
from concordat.vocabulary import WithdrawReason
from concordat.wire.v1 import check_pb2
from services.node.events import PartyRefused, Told
from services.node.store import withdrawals
from tests.unit.exchange.hub_by_hand import HubByHand, acks, header_of
from tests.unit.exchange.parties import secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.exchange.parties import Party

PHONE = "+31621123456"
THEIRS = b"t" * 16


def test_an_edge_that_was_opened_before_the_tombstone_accuses_nobody(party: Callable[[str], Party]) -> None:
    node = party("NL")
    node.submit(PHONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    with node.store.write() as db:
        ids = [one for (one,) in db.execute("SELECT id FROM record")]
        withdrawals.withdraw_records(db, ids, reason=WithdrawReason.WITHDRAWN, at_ms=1, epochs=(1,))
    header, own = header_of(check), check.items.references
    other, decision = node.federation.id("DE"), ASKER_TOLD | HOLDER_TOLD
    frames = hub.tell(
        check_pb2.Told(
            edge_id=b"e" * 16,
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
    assert acks(frames) == [1]
    assert hub.refusals(frames) == []
    assert not [one for one in node.events if isinstance(one, PartyRefused | Told)]
    assert node.store.incidents() == []
    assert node.store.matches() == []
    assert [row.state for row in node.store.all_told()] == ["withdrawn"]
