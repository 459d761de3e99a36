"""A match is what this party was told of it: all of it follows from its own told edges alone (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.vocabulary import WithdrawReason
from concordat.wire.v1 import check_pb2 as wire
from services.node import matches
from services.node.match_groups import HELD_BY_MANY, Group, is_held_by_many, match_groups
from services.node.store import feedback, inbox
from services.node.store.feedback import FeedbackRow
from services.node.store.rows import ToldRow

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk

HOUR_MS = 3_600_000


def told(reference: bytes, other: str, *, edge: int, at_ms: int, grade: int = 1) -> ToldRow:
    return ToldRow(
        edge_id=bytes([edge]) * 16,
        own_reference=reference,
        other=f"spiffe://test.example/node/{other}",
        other_reference=bytes([edge]) * 16,
        handle=f"M-{reference.hex()[:4]}",
        grade=grade,
        told_at_ms=at_ms,
        asked=True,
        check_id=b"c" * 16,
        sweep_id=None,
        look_once=False,
    )


def hear(desk: Desk, row: ToldRow | None = None, **content: object) -> None:
    """Take a notice, as the inbox does."""
    cursor = desk.store.notice_cursor() + 1
    notice = wire.Notice(cursor=cursor, **content)  # type: ignore[arg-type]  # one of the oneof's fields
    desk.store.receive_notice(cursor, notice.SerializeToString(), told=row, at=1.0)


def reference_of(desk: Desk, canonical: str) -> bytes:
    with desk.store.read() as db:
        row = db.execute("SELECT reference FROM value WHERE canonical = ? AND grade = 1", (canonical,)).fetchone()
    found: bytes = row[0]
    return found


def groups(desk: Desk, nodes: int = 6) -> list[Group]:
    with desk.store.read() as db:
        return match_groups(db, nodes)


@pytest.fixture
def held(desk: Desk) -> Desk:
    desk.submit("kind,identifier\nemail,one@mail.example\nplatform,gmail.com\n")
    return desk


def test_size_and_times_are_those_of_the_told_edges(held: Desk) -> None:
    one = reference_of(held, "one@mail.example")
    hear(held, told(one, "DE", edge=1, at_ms=1000))
    (before,) = groups(held)
    assert (before.size, before.updated_at_ms, before.state, before.label) == (1, 1000, "shown", "one@mail.example")
    # A reveal carries its own time, as any other notice does.
    hear(held, told(one, "UA", edge=2, at_ms=9 * HOUR_MS))
    (after,) = groups(held)
    assert (after.handle, after.size, after.updated_at_ms) == (before.handle, 2, 9 * HOUR_MS)
    assert [(turn.what, turn.other) for turn in after.timeline] == [("told", "DE"), ("told", "UA")]


def test_a_withdrawal_ends_its_edge_only_and_says_until_when_to_correct(held: Desk) -> None:
    """LB-22: 48 hours."""
    one = reference_of(held, "one@mail.example")
    hear(held, told(one, "DE", edge=1, at_ms=1000))
    hear(held, told(one, "UA", edge=2, at_ms=2000))
    with held.store.write() as db:
        inbox.set_told_state(db, bytes([1]) * 16, "withdrawn")
    hear(held, withdrawn=wire.Withdrawn(edge_id=bytes([1]) * 16, withdrawn_at_ms=HOUR_MS))
    (group,) = groups(held)
    assert (group.size, group.state, group.updated_at_ms) == (1, "shown", HOUR_MS)
    (line,) = matches.news_lines([group])
    assert "DE withdrew" in line
    assert "1970-01-03 01:00:00 UTC" in line


def test_a_match_whose_last_edge_is_withdrawn_is_withdrawn(held: Desk) -> None:
    one = reference_of(held, "one@mail.example")
    hear(held, told(one, "DE", edge=1, at_ms=1000))
    with held.store.write() as db:
        inbox.set_told_state(db, bytes([1]) * 16, "withdrawn")
    (group,) = groups(held)
    assert (group.size, group.state) == (0, "withdrawn")


def test_feedback_of_both_sides_is_in_the_timeline(held: Desk) -> None:
    one = reference_of(held, "one@mail.example")
    hear(held, told(one, "DE", edge=1, at_ms=1000))
    with held.store.write() as db:
        for own, reason, at_ms in ((True, "reassigned", 3000), (False, "other_person", 2000)):
            feedback.put_feedback(db, FeedbackRow(bytes([1]) * 16, one, own, reason, "", at_ms, b""))
    (group,) = groups(held)
    assert [(turn.what, turn.reason) for turn in group.timeline[1:]] == [
        ("false_hit", "other_person"),
        ("own_false_hit", "reassigned"),
    ]
    assert len(matches.news_lines([group])) == 2


def test_a_common_value_is_counted_and_not_listed(held: Desk) -> None:
    hear(held, told(reference_of(held, "gmail.com"), "DE", edge=1, at_ms=1000))
    hear(held, told(reference_of(held, "one@mail.example"), "DE", edge=2, at_ms=2000))
    found = groups(held)
    assert [one.common for one in found] == [None, "mail provider"]
    table = matches.common_table(found)
    assert table is not None
    assert table.row_count == 1
    assert matches.common_table([one for one in found if one.common is None]) is None


@pytest.mark.parametrize(("parties", "nodes", "many"), [(3, 6, False), (4, 6, True), (5, 27, False), (6, 27, True)])
def test_what_many_parties_hold_is_common(parties: int, nodes: int, many: bool) -> None:
    assert is_held_by_many(parties, nodes) is many


def test_a_value_that_many_hold_says_so(held: Desk) -> None:
    one = reference_of(held, "one@mail.example")
    for edge, other in enumerate(("DE", "UA", "CH", "OSCE"), 1):
        hear(held, told(one, other, edge=edge, at_ms=edge))
    assert groups(held)[0].common == HELD_BY_MANY


def test_a_weak_match_is_marked(held: Desk) -> None:
    hear(held, told(reference_of(held, "one@mail.example"), "DE", edge=1, at_ms=1, grade=wire.GRADE_WEAK))
    assert groups(held)[0].grade == "weak"


def test_what_this_party_withdrew_is_no_match_and_not_said_of_the_other_side(held: Desk) -> None:
    """The other side has to correct what it got, not this one (LB-22); and the time is that of the withdrawal."""
    held.tokenise()
    hear(held, told(reference_of(held, "one@mail.example"), "DE", edge=1, at_ms=1))
    held.decisions().withdraw(held.every(), officer="o", reason=WithdrawReason.WITHDRAWN)
    (group,) = groups(held)
    assert (group.size, group.state) == (0, "withdrawn")
    assert [turn.what for turn in group.timeline] == ["told", "own_withdrawn"]
    assert group.updated_at_ms == int(held.clock.now() * 1000)
    (line,) = matches.news_lines([group])
    assert "withdrawn here" in line
    assert "correct" not in line


def test_what_the_other_side_withdrew_first_stays_its_withdrawal(held: Desk) -> None:
    held.tokenise()
    hear(held, told(reference_of(held, "one@mail.example"), "DE", edge=1, at_ms=1))
    with held.store.write() as db:
        inbox.set_told_state(db, bytes([1]) * 16, "withdrawn")
    hear(held, withdrawn=wire.Withdrawn(edge_id=bytes([1]) * 16, withdrawn_at_ms=HOUR_MS))
    held.decisions().withdraw(held.every(), officer="o", reason=WithdrawReason.WITHDRAWN)
    assert [turn.what for turn in groups(held)[0].timeline] == ["told", "withdrawn"]
