"""Withdrawals, receipts, feedback and incarnations in every ledger, whatever its database (3.8, 3.2; C10, C12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.wire.v1 import check_pb2 as wire
from gateway.ledger import FeedbackGiven, Incarnated, Ledger, PublishedSequence, ReceiptTaken, Tombstone
from tests.contract.ledger.conftest import NOW_MS
from tests.contract.ledger.test_ledger_contract import live, pair, reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ledger import Committed

HOUR_MS = 3_600_000
OLD, NEW = b"o" * 16, b"n" * 16


def kinds(committed: Committed) -> list[tuple[str, str | None]]:
    """Return recipient and kind of each notice."""
    read = [(one.recipient, wire.Notice.FromString(one.content)) for one in committed.notices]
    return [(recipient, notice.WhichOneof("content")) for recipient, notice in read]


def dead(name: str) -> Tombstone:
    return Tombstone(name[0], reference(name))


def receipt(ledger: Ledger, signer: str, name: str) -> ReceiptTaken:
    """Return the receipt of the last withdrawal in a party's list."""
    read = [wire.Notice.FromString(one.content) for one in ledger.notices_above(signer, 0, limit=99)]
    edge_id = next(one.withdrawn.edge_id for one in reversed(read) if one.HasField("withdrawn"))
    message = wire.Receipt(body=b"b", signature=b"s").SerializeToString()
    return ReceiptTaken(signer, name[0], reference(name), edge_id, message)


def test_a_withdrawal_frees_the_keys_of_both_sides(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    assert kinds(ledger.write([dead("A:x")])) == [("B", "withdrawn"), ("A", "withdrawn")]
    assert live(ledger, "A:x", "B:x") is None
    assert kinds(ledger.write([pair("A:new", "B:x")])) == [("A", "told"), ("B", "told")]
    assert ledger.write([pair("A:x", "B:x")]).dead == {("A", reference("A:x"))}


def test_many_at_once_are_as_one_after_the_other(open_ledger: Callable[[], Ledger]) -> None:
    """More than fit one query, and both sides of some edges."""
    ledger = open_ledger()
    names = [str(number) for number in range(900)]
    ledger.open_edges([pair(f"A:{name}", f"B:{name}") for name in names])
    committed = ledger.write([dead(f"A:{name}") for name in names] + [dead(f"B:{name}") for name in names[:10]])
    assert committed.visible
    assert len([one for one in kinds(committed) if one == ("B", "withdrawn")]) == 900 + 10
    assert len([one for one in kinds(committed) if one == ("A", "withdrawn")]) == 900
    assert ledger.figures()["edges_live"] == 0
    assert kinds(ledger.write([dead(f"A:{name}") for name in names])) == []


def test_a_receipt_is_kept_once_and_only_where_it_is_owed(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    ledger.write([dead("A:x")])
    good = receipt(ledger, "B", "A:x")
    wrong = [
        ReceiptTaken("C", good.withdrawer, good.reference, good.edge_id, good.message),
        ReceiptTaken("B", "C", good.reference, good.edge_id, good.message),
        ReceiptTaken("B", good.withdrawer, reference("A:y"), good.edge_id, good.message),
        ReceiptTaken("B", good.withdrawer, good.reference, b"e" * 16, good.message),
        ReceiptTaken("A", good.withdrawer, good.reference, good.edge_id, good.message),
    ]
    assert kinds(ledger.write(wrong)) == []
    assert kinds(ledger.write([good, good])) == [("A", "receipt")]
    assert kinds(ledger.write([good])) == []


def test_who_was_not_told_hears_nothing(ledger: Ledger) -> None:
    """I11: neither of a withdrawal, nor of its receipt, nor of feedback."""
    ledger.open_edges([pair("A:x", "B:x", told_a=False)])
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    message = wire.Feedback(body=b"b").SerializeToString()
    assert kinds(ledger.write([FeedbackGiven("B", "A", edge_id, message)])) == []
    assert kinds(ledger.write([FeedbackGiven("A", "B", edge_id, message)])) == [], "nor may it comment"
    assert kinds(ledger.write([dead("A:x")])) == [("B", "withdrawn"), ("A", "withdrawn")]
    assert kinds(ledger.write([receipt(ledger, "B", "A:x")])) == []
    ledger.open_edges([pair("A:y", "B:y", told_a=False)])
    assert kinds(ledger.write([dead("B:y")])) == [("B", "withdrawn")]


def test_feedback_names_the_other_side_and_comes_once(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    message = wire.Feedback(body=b"b").SerializeToString()
    assert kinds(ledger.write([FeedbackGiven("A", "C", edge_id, message)])) == []
    (notice,) = ledger.write([FeedbackGiven("A", "B", edge_id, message)] * 2).notices
    assert notice.recipient == "B"
    assert wire.Notice.FromString(notice.content).feedback.own_reference == reference("B:x")
    assert kinds(ledger.write([FeedbackGiven("A", "B", edge_id, message)])) == []
    assert kinds(ledger.write([FeedbackGiven("B", "A", edge_id, message)])) == [("A", "feedback")]


def test_the_last_new_incarnation_counts_and_none_comes_back(open_ledger: Callable[[], Ledger]) -> None:
    one, two = open_ledger(), open_ledger()
    assert one.write([Incarnated("A", OLD), Incarnated("B", OLD)]).superseded == frozenset()
    assert two.write([Incarnated("A", NEW)]).superseded == frozenset()
    assert one.write([Incarnated("A", OLD)]).superseded == {("A", OLD)}
    assert one.tick_state().incarnations == {"A": NEW, "B": OLD}
    assert two.write([Incarnated("A", NEW), Incarnated("B", OLD)]).superseded == frozenset()


def test_what_a_node_knows_shows_a_ledger_that_was_put_back(open_ledger: Callable[[], Ledger]) -> None:
    """C10: a notice or a sequence that the ledger has no more; and every replica hears of it."""
    one, two = open_ledger(), open_ledger()
    first = one.incarnation
    one.write([pair("A:x", "B:x"), PublishedSequence("A", 7)])
    same = Incarnated("A", OLD, first, notice_cursor=1, published_sequence=7)
    assert one.write([same]).ledger_incarnation == first
    committed = one.write([Incarnated("A", OLD, first, notice_cursor=2)])
    assert (committed.renewed_by, committed.ledger_incarnation != first) == ("A", True)
    assert committed.ledger_incarnation == one.incarnation
    assert two.write([]).ledger_incarnation == one.incarnation == two.tick_state().ledger_incarnation
    # Whoever says the same after it follows, and its sequence is raised.
    again = two.write([Incarnated("B", OLD, first, notice_cursor=9, published_sequence=5)])
    assert (again.renewed_by, again.doubted, two.sequence_of("B")) == ("", frozenset(), 5)


@pytest.mark.parametrize(("later_ms", "renewed"), [(HOUR_MS - 1, False), (HOUR_MS, True)])
def test_at_most_once_an_hour(open_ledger: Callable[[], Ledger], later_ms: int, *, renewed: bool) -> None:
    ledger = open_ledger()
    ledger.renew()
    ledger._now_ms = lambda: NOW_MS + later_ms
    before = ledger.incarnation
    committed = ledger.write([Incarnated("A", OLD, before, published_sequence=1)])
    assert (committed.ledger_incarnation != before) is renewed
    assert committed.doubted == (frozenset() if renewed else {("A", OLD)})


def test_a_renewed_ledger_keeps_what_it_holds(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    before = (ledger.figures(), ledger.notices_above("A", 0, limit=9), ledger.handle("A", reference("A:x")))
    ledger.renew()
    assert (ledger.figures(), ledger.notices_above("A", 0, limit=9), ledger.handle("A", reference("A:x"))) == before
