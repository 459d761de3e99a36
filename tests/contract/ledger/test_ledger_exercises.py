"""An exercise in the ledger: flagged, in no count, and gone at its end; recipients' lists keep their numbers (3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.wire.v1 import check_pb2 as wire
from gateway.ledger import FeedbackGiven, Tombstone, WipeExercise
from tests.contract.ledger.test_ledger_contract import live, pair, reference

if TYPE_CHECKING:
    from gateway.ledger import Ledger


def entries(ledger: Ledger, recipient: str) -> list[tuple[int, str | None]]:
    read = [(one.cursor, wire.Notice.FromString(one.content)) for one in ledger.notices_above(recipient, 0, limit=99)]
    assert [cursor for cursor, _ in read] == [notice.cursor for _, notice in read] == list(range(1, len(read) + 1))
    return [(cursor, notice.WhichOneof("content")) for cursor, notice in read]


def test_an_edge_of_an_exercise_says_so_and_counts_nowhere(ledger: Ledger) -> None:
    before = ledger.figures()
    committed = ledger.write([pair("A:e", "B:e", exercise="drill")])
    assert [wire.Notice.FromString(one.content).told.exercise for one in committed.notices] == [True, True]
    assert not committed.visible
    assert ledger.visible_edges() == {}
    assert ledger.figures()["edges_live"] == before["edges_live"] == 0
    real = ledger.write([pair("A:x", "B:x")])
    assert [wire.Notice.FromString(one.content).told.exercise for one in real.notices] == [False, False]
    assert ledger.visible_edges() == {("A", "B", 1): 1}


def test_what_is_wiped_is_that_exercise_and_nothing_else(ledger: Ledger) -> None:
    ledger.write([pair("A:x", "B:x"), pair("A:e", "B:e", exercise="drill"), pair("A:f", "B:f", exercise="other")])
    edge_id = live(ledger, "A:e", "B:e")
    assert edge_id is not None
    ledger.write([FeedbackGiven("A", "B", edge_id, wire.Feedback(body=b"b").SerializeToString())])
    assert entries(ledger, "B") == [(1, "told"), (2, "told"), (3, "told"), (4, "feedback")]
    assert not ledger.write([WipeExercise("drill")]).visible
    assert entries(ledger, "A") == [(1, "told"), (2, "wiped"), (3, "told")]
    assert entries(ledger, "B") == [(1, "told"), (2, "wiped"), (3, "told"), (4, "wiped")]
    assert [live(ledger, f"A:{name}", f"B:{name}") is None for name in "xef"] == [False, True, False]
    before = ledger.notices_above("B", 0, limit=99)
    assert edge_id not in b"".join(one.content for one in before)
    # A second time, an unknown one, and none at all: real edges have no operation here.
    for operation in ("drill", "never", ""):
        ledger.write([WipeExercise(operation)])
    assert ledger.notices_above("B", 0, limit=99) == before
    assert ledger.visible_edges() == {("A", "B", 1): 1}


def test_withdrawals_and_merges_of_an_exercise_are_wiped_too(ledger: Ledger) -> None:
    ledger.write([pair("A:1", "B:1", exercise="drill"), pair("A:2", "B:2", exercise="drill")])
    ledger.write([pair("A:1", "B:2", exercise="drill")])
    ledger.write([Tombstone("A", reference("A:1"))])
    assert entries(ledger, "A")[-1] == (3, "withdrawn")
    ledger.write([WipeExercise("drill")])
    assert {kind for _, kind in entries(ledger, "B")} == {"wiped"}
    # A's own list keeps what it withdrew: that names no edge.
    assert {kind for _, kind in entries(ledger, "A")} == {"wiped", "withdrawn"}
    with ledger._engine.connect() as connection:
        for table in ("edge", "told", "receipt"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
