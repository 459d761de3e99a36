"""Records at their end are withdrawn by the node itself, before it answers anything and as often as one likes (3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.node.daemon import catch_up
from services.node.retention import withdraw_ended
from services.node.store import withdrawals

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk

DAY_S = 86_400
LIVE = "SELECT count(*) FROM record WHERE status = 'accepted'"


@pytest.fixture
def held(desk: Desk) -> Desk:
    """Two records: one ends with November, one with its case at the end of the year."""
    desk.submit("kind,identifier\nemail,two@mail.example\n")
    desk.case_fields = {"defaults": {"keep_until": "2026-11-30"}}
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    desk.tokenise()
    assert desk.count(LIVE) == 2
    return desk


def test_the_last_day_itself_is_still_kept(held: Desk) -> None:
    """LB-21."""
    held.clock.advance(6 * DAY_S)
    assert withdraw_ended(held.store, clock=held.clock) == 0
    held.clock.advance(DAY_S)
    assert withdraw_ended(held.store, clock=held.clock) == 1
    assert withdraw_ended(held.store, clock=held.clock) == 0, "once"


def test_what_ended_leaves_no_typed_text_and_its_reference_to_be_buried(held: Desk) -> None:
    held.clock.advance(7 * DAY_S)
    withdraw_ended(held.store, clock=held.clock)
    with held.store.read() as db:
        rows = db.execute("SELECT code, reason, typed, row, notes FROM record WHERE status = 'withdrawn'").fetchall()
        assert rows == [("expired", "withdrawn", None, "{}", "")]
        assert [one for (one,) in db.execute("SELECT canonical FROM value WHERE grade = 1")] == ["two@mail.example"]
        assert len(withdrawals.unburied(db, 10)) >= 1
    assert held.store.plane_is_stale()


def test_the_end_of_a_case_ends_all_its_records(held: Desk) -> None:
    held.clock.advance(60 * DAY_S)
    assert withdraw_ended(held.store, clock=held.clock) == 2
    assert held.count("SELECT count(*) FROM value") == held.count("SELECT count(*) FROM token") == 0
    assert held.count("SELECT count(*) FROM pending") == 0


def test_a_node_that_was_down_catches_up_before_it_answers(held: Desk) -> None:
    """I9: `run_node` does this before it dials."""
    incarnation = held.store.incarnation()
    held.clock.advance(60 * DAY_S)
    catch_up(held.home.path, held.store, held.clock)
    assert held.count(LIVE) == 0
    assert held.store.incarnation() == incarnation, "downtime is no restore"
    assert held.store.snapshot([1])[1] == b""
