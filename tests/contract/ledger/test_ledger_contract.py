"""What every ledger must do, whatever its database."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError, ProtocolError, UnavailableError
from concordat.wire.v1 import check_pb2
from gateway import ledger_schema
from gateway.database import open_engine
from gateway.ledger import (
    EdgeCandidate,
    Ledger,
    LedgerNotice,
    LoggedCheck,
    PublishedSequence,
    Tombstone,
    VoidEdge,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

NOW_MS = 1_800_000_000_000
CHECK, SWEEP = b"c" * 16, b"s" * 16


def reference(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


def pair(one: str, two: str, **changed: Any) -> EdgeCandidate:
    """Return a candidate between references written as PARTY:NAME; the first asked."""
    content: dict[str, Any] = {
        "party_a": one.partition(":")[0],
        "reference_a": reference(one),
        "party_b": two.partition(":")[0],
        "reference_b": reference(two),
        "namespace": 1,
        "told_a": True,
        "told_b": True,
        "check_id": CHECK,
        "decision": 3,
        "answer_mac": b"m" * 32,
    }
    return EdgeCandidate(**(content | changed))


def told(notices: tuple[LedgerNotice, ...]) -> list[tuple[str, str]]:
    """Return recipient and other party of each telling."""
    read = [(notice.recipient, check_pb2.Notice.FromString(notice.content)) for notice in notices]
    return [(recipient, notice.told.other) for recipient, notice in read if notice.HasField("told")]


def live(ledger: Ledger, one: str, two: str) -> bytes | None:
    ends = ((one.partition(":")[0], reference(one)), (two.partition(":")[0], reference(two)))
    return ledger.live_edges([ends])[0]


def test_an_edge_tells_both_sides_what_they_must_know(ledger: Ledger) -> None:
    notices = ledger.open_edges([pair("A:x", "B:x", look_once=True)])
    asker, holder = (check_pb2.Notice.FromString(notice.content) for notice in notices)
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    assert asker == check_pb2.Notice(
        cursor=1,
        told=check_pb2.Told(
            edge_id=edge_id,
            handle=ledger.handle("A", reference("A:x")),
            own_reference=reference("A:x"),
            other="B",
            other_reference=reference("B:x"),
            grade=check_pb2.GRADE_STRONG,
            told_at_ms=1_800_000_000_000,
            asked=True,
            check_id=CHECK,
            decision=3,
            answer_mac=b"m" * 32,
            look_once=True,
        ),
    )
    assert (holder.told.asked, holder.told.answer_mac, holder.told.other) == (False, b"", "A")
    assert holder.told.handle != asker.told.handle


def test_an_edge_of_a_sweep_names_the_sweep_and_nobody_asked(ledger: Ledger) -> None:
    notices = ledger.open_edges([pair("A:x", "B:x", check_id=b"", sweep_id=SWEEP, answer_mac=b"", decision=0)])
    both = [check_pb2.Notice.FromString(notice.content).told for notice in notices]
    assert [(one.sweep_id, one.check_id, one.asked) for one in both] == [(SWEEP, b"", False)] * 2


@pytest.mark.parametrize("again", [pair("A:x", "B:x"), pair("B:x", "A:x")])
def test_the_same_pair_again_changes_nothing(ledger: Ledger, again: EdgeCandidate) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    edge_id = live(ledger, "A:x", "B:x")
    assert ledger.open_edges([again]) == ()
    assert live(ledger, "A:x", "B:x") == edge_id
    assert ledger.figures()["edges_live"] == 1


def test_two_answers_in_one_group_open_one_edge(ledger: Ledger) -> None:
    """C5: both ask at once, and both answers share a transaction."""
    notices = ledger.open_edges([pair("A:x", "B:x"), pair("B:x", "A:x")])
    assert sorted(told(notices)) == [("A", "B"), ("B", "A")]


def test_two_writers_at_once_open_one_edge(open_ledger: Callable[[], Ledger]) -> None:
    """C5, with two transactions from two connections."""
    ledgers = [open_ledger(), open_ledger()]
    found: list[tuple[str, str]] = []

    def write(ledger: Ledger, candidate: EdgeCandidate) -> None:
        found.extend(told(ledger.open_edges([candidate])))

    for number in range(10):
        pairs = [pair(f"A:{number}", f"B:{number}"), pair(f"B:{number}", f"A:{number}")]
        threads = [threading.Thread(target=write, args=item) for item in zip(ledgers, pairs, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(found) == {("A", "B"): 10, ("B", "A"): 10}


def test_a_side_that_was_not_told_is_told_later_and_once(ledger: Ledger) -> None:
    assert told(ledger.open_edges([pair("A:x", "B:x", told_b=False)])) == [("A", "B")]
    assert told(ledger.open_edges([pair("A:x", "B:x")])) == [("B", "A")]
    assert ledger.open_edges([pair("A:x", "B:x")]) == ()


def test_an_edge_of_which_nobody_may_know_is_none(ledger: Ledger) -> None:
    assert ledger.open_edges([pair("A:x", "B:x", told_a=False, told_b=False)]) == ()
    assert ledger.figures()["edges_live"] == 0


def test_a_weak_coincidence_that_was_confirmed_is_told_with_its_grade(ledger: Ledger) -> None:
    notices = ledger.open_edges([pair("A:x", "B:x", grade=check_pb2.GRADE_WEAK)])
    assert [check_pb2.Notice.FromString(one.content).told.grade for one in notices] == [check_pb2.GRADE_WEAK] * 2
    assert ledger.figures()["edges_live"] == 1


def test_a_new_reference_replaces_the_old_one_and_tells_nobody_else(ledger: Ledger) -> None:
    """C9: a restored party stores the same value again."""
    ledger.open_edges([pair("A:x", "B:x")])
    edge_id = live(ledger, "A:x", "B:x")
    assert told(ledger.open_edges([pair("B:x2", "A:x")])) == [("B", "A")]
    assert (live(ledger, "A:x", "B:x"), live(ledger, "A:x", "B:x2")) == (None, edge_id)
    assert ledger.open_edges([pair("A:x", "B:x2")]) == ()


def test_two_edges_of_one_value_become_one(ledger: Ledger) -> None:
    """Both parties were restored, and each entered anew against another reference of the other."""
    ledger.open_edges([pair("A:1", "B:1"), pair("A:2", "B:2")])
    ledger.open_edges([pair("A:1", "B:2")])
    assert live(ledger, "A:1", "B:2") is not None
    assert (live(ledger, "A:1", "B:1"), live(ledger, "A:2", "B:2")) == (None, None)
    assert ledger.figures()["edges_live"] == 1


def test_a_void_edge_reaches_everyone_who_was_told_of_what_it_grew_from(ledger: Ledger) -> None:
    first = ledger.open_edges([pair("A:1", "B:1"), pair("A:2", "B:2")])
    edges = {check_pb2.Notice.FromString(notice.content).told.edge_id for notice in first}
    ledger.open_edges([pair("A:1", "B:2")])
    edge_id = live(ledger, "A:1", "B:2")
    assert edge_id is not None
    committed = ledger.write([VoidEdge(edge_id, "A", "B")])
    voided = [(one.recipient, check_pb2.Notice.FromString(one.content).voided.edge_id) for one in committed.notices]
    assert sorted(voided) == sorted(("B", one) for one in edges)
    assert ledger.figures()["edges_live"] == 0


def test_matches_that_grow_together_tell_pair_by_pair(ledger: Ledger) -> None:
    """C14: A-B and C-D are one value; the rest of the pairs tell each pair once."""
    names = ["A:x", "B:x", "C:x", "D:x"]
    order = [("A:x", "B:x"), ("C:x", "D:x"), ("A:x", "C:x"), ("B:x", "C:x"), ("A:x", "D:x"), ("D:x", "B:x")]
    found = [one for items in order for one in told(ledger.open_edges([pair(*items)]))]
    parties = [name[0] for name in names]
    assert Counter(found) == Counter((one, two) for one in parties for two in parties if one != two)


def test_a_refused_edge_is_void_its_key_free_and_the_other_told(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    committed = ledger.write([VoidEdge(edge_id, "A", "B", "wrong_answer_mac")])
    (notice,) = committed.notices
    assert (notice.recipient, notice.cursor) == ("B", 2)
    assert check_pb2.Notice.FromString(notice.content).voided.edge_id == edge_id
    assert [void.other for void in committed.refused] == ["B"]
    assert live(ledger, "A:x", "B:x") is None
    assert sorted(told(ledger.open_edges([pair("A:x", "B:x")]))) == [("A", "B"), ("B", "A")]


@pytest.mark.parametrize(
    "write",
    [
        lambda edge_id: VoidEdge(edge_id, "C", "B"),
        lambda edge_id: VoidEdge(edge_id, "A", "C"),
        lambda edge_id: VoidEdge(edge_id, "B", "A"),
        lambda _edge_id: VoidEdge(b"?" * 16, "A", "B"),
    ],
    ids=["a stranger", "another party", "one who was not told", "no such edge"],
)
def test_a_refusal_of_one_who_was_not_told_changes_nothing(ledger: Ledger, write: Callable[[bytes], VoidEdge]) -> None:
    ledger.open_edges([pair("A:x", "B:x", told_b=False)])
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    committed = ledger.write([write(edge_id)])
    assert (committed.notices, committed.refused) == ((), ())
    assert live(ledger, "A:x", "B:x") == edge_id


def test_a_refusal_again_changes_nothing(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x")])
    edge_id = live(ledger, "A:x", "B:x")
    assert edge_id is not None
    ledger.write([VoidEdge(edge_id, "A", "B")])
    assert ledger.write([VoidEdge(edge_id, "A", "B"), VoidEdge(edge_id, "B", "A")]).notices == ()


@pytest.mark.parametrize("dead", ["A:x", "B:x"])
def test_no_edge_opens_with_a_dead_reference(ledger: Ledger, dead: str) -> None:
    """C12, also where the tombstone comes in the same group as the answer."""
    grave = Tombstone(dead[0], reference(dead))
    # The party's own list says that it is buried, and nobody else's says anything.
    (own,) = ledger.write([pair("A:x", "B:x"), grave, grave]).notices
    assert (own.recipient, check_pb2.Notice.FromString(own.content).withdrawn.reference) == (dead[0], reference(dead))
    assert ledger.open_edges([pair("A:x", "B:x")]) == ()
    assert ledger.figures()["edges_live"] == 0


def test_a_dead_reference_is_its_party_s_own(ledger: Ledger) -> None:
    ledger.write([Tombstone("C", reference("A:x"))])
    assert len(ledger.open_edges([pair("A:x", "B:x")])) == 2


def test_references_of_different_parties_may_be_equal(ledger: Ledger) -> None:
    """A party cannot touch another's keys by sending its reference as its own."""
    ledger.open_edges([pair("A:x", "B:x")])
    stolen = pair("C:x", "B:y", reference_a=reference("A:x"))
    assert sorted(told(ledger.open_edges([stolen]))) == [("B", "C"), ("C", "B")]
    assert live(ledger, "A:x", "B:x") is not None


def test_each_list_of_notices_has_no_gaps_and_can_be_read_from_any_cursor(ledger: Ledger) -> None:
    for number in range(7):
        ledger.open_edges([pair(f"A:{number}", f"B:{number}"), pair(f"C:{number}", f"A:{number}")])
    everything = ledger.notices_above("A", 0, limit=100)
    assert [notice.cursor for notice in everything] == list(range(1, 15))
    assert ledger.notices_above("A", 9, limit=3) == everything[9:12]
    assert ledger.notices_above("A", 14, limit=3) == []
    assert [check_pb2.Notice.FromString(one.content).cursor for one in everything] == list(range(1, 15))


def test_sequences_only_rise(ledger: Ledger) -> None:
    ledger.write([PublishedSequence("A", 3), PublishedSequence("A", 5), PublishedSequence("B", 1)])
    ledger.write([PublishedSequence("A", 4)])
    assert ledger.sequences() == {"A": 5, "B": 1}
    assert (ledger.sequence_of("A"), ledger.sequence_of("C")) == (5, 0)


def test_a_check_is_logged_once_and_without_what_was_asked(ledger: Ledger) -> None:
    row = LoggedCheck("A", CHECK, "thb", "", b"j" * 32, 5)
    ledger.write([row, row])
    ledger.write([row, LoggedCheck("B", CHECK, "thb", "", b"j" * 32, 5)])
    assert ledger.figures()["checks"] == 2


def test_the_position_is_a_time_that_rises_with_each_transaction(ledger: Ledger) -> None:
    positions = [ledger.write([pair(f"A:{n}", f"B:{n}"), PublishedSequence("A", n)]).position for n in range(3)]
    assert positions == [NOW_MS, NOW_MS + 1, NOW_MS + 2]
    assert ledger.position() == NOW_MS + 2


def test_a_ledger_that_is_opened_again_is_the_same(open_ledger: Callable[[], Ledger]) -> None:
    first = open_ledger()
    first.open_edges([pair("A:x", "B:x")])
    second = open_ledger()
    assert second.incarnation == first.incarnation
    assert second.handle("A", b"r" * 16) == first.handle("A", b"r" * 16)
    assert second.position() == first.position()
    assert second.open_edges([pair("B:x", "A:x")]) == ()


def test_a_handle_is_short_stable_and_the_recipient_s_own(ledger: Ledger) -> None:
    handle = ledger.handle("A", b"r" * 16)
    assert re.fullmatch(r"M(-[0-9A-HJKMNP-TV-Z]{4}){3}", handle)
    assert handle == ledger.handle("A", b"r" * 16)
    assert len({handle, ledger.handle("B", b"r" * 16), ledger.handle("A", b"s" * 16)}) == 3


def test_live_edges_are_looked_up_in_order(ledger: Ledger) -> None:
    ledger.open_edges([pair("A:x", "B:x"), pair("A:y", "C:y")])
    ends = [(("C", reference("C:y")), ("A", reference("A:y"))), (("A", reference("A:x")), ("C", reference("C:y")))]
    assert ledger.live_edges(ends) == [live(ledger, "A:y", "C:y"), None]
    assert ledger.live_edges([]) == []


def test_a_group_larger_than_one_query_is_one_transaction(ledger: Ledger) -> None:
    pairs = [pair(f"A:{number}", f"B:{number}") for number in range(1000)]
    assert len(ledger.open_edges(pairs)) == 2000
    assert ledger.open_edges(pairs) == ()
    assert ledger.position() == NOW_MS + 1


def test_a_group_that_cannot_be_written_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(UnavailableError):
        ledger.write([pair("A:x", "B:x"), PublishedSequence("A", 1 << 64)])
    assert ledger.figures() == dict.fromkeys(ledger.figures(), 0)


def test_a_candidate_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ProtocolError):
        pair("A:x", "A:y")
    with pytest.raises(ProtocolError):
        pair("A:x", "B:x", check_id=b"")
    with pytest.raises(ProtocolError):
        pair("A:x", "B:x", sweep_id=SWEEP)


def test_a_ledger_of_another_version_is_refused(open_database: Callable[[], Engine]) -> None:
    engine = open_database()
    counter = itertools.count(1)

    def make() -> Ledger:
        return Ledger(engine, now_ms=lambda: 0, random_bytes=lambda size: next(counter).to_bytes(size, "big"))

    make()
    with engine.begin() as connection:
        connection.execute(ledger_schema.meta.update().where(ledger_schema.meta.c.key == "version").values(value=b"0"))
    with pytest.raises(ConfigError):
        make()


def test_a_ledger_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_engine(tmp_path / "missing" / "ledger.db")


ENDS = st.sampled_from([f"{party}:{number}" for party in "ABC" for number in range(2)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(ENDS, ENDS), max_size=6), max_size=6))
def test_nobody_is_told_twice_by_one_reference_whatever_the_order(
    open_database: Callable[[], Engine], groups: list[list[tuple[str, str]]]
) -> None:
    engine = open_database()
    with engine.begin() as connection:
        for table in reversed(ledger_schema.metadata.sorted_tables):
            connection.execute(table.delete())
    numbers = itertools.count(1)
    ledger = Ledger(engine, now_ms=lambda: 0, random_bytes=lambda size: next(numbers).to_bytes(size, "big"))
    seen: Counter[tuple[str, bytes, str]] = Counter()
    for group in groups:
        pairs = [pair(one, two) for one, two in group if one[0] != two[0]]
        for notice in ledger.open_edges(pairs):
            content = check_pb2.Notice.FromString(notice.content).told
            seen[notice.recipient, content.own_reference, content.other] += 1
        for candidate in pairs[-1:]:
            assert live(ledger, group_name(candidate, "a"), group_name(candidate, "b")) is not None
    assert set(seen.values()) <= {1}
    wanted = {(one, two) for group in groups for one, two in group if one[0] != two[0]}
    for one, two in wanted:
        assert seen[one[0], reference(one), two[0]] == 1
        assert seen[two[0], reference(two), one[0]] == 1
    engine.dispose()


def group_name(candidate: EdgeCandidate, side: str) -> str:
    """Return the written name of a side's reference."""
    party, held = (
        (candidate.party_a, candidate.reference_a) if side == "a" else (candidate.party_b, candidate.reference_b)
    )
    return next(name for name in (f"{party}:0", f"{party}:1") if reference(name) == held)
