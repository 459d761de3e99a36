"""I9: a store that was restored answers nothing before it knows again what it had been told and had withdrawn (3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.wire.v1 import check_pb2
from services.node.exchange.inbox import UNKNOWN_WITHDRAWAL
from tests.unit.exchange.hub_by_hand import HubByHand, acks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.exchange.parties import Party

PHONE, OTHER = "+31621123456", "+31621123457"


def reference_of(node: Party, value: str) -> bytes:
    with node.store.read() as db:
        row = db.execute("SELECT reference FROM value WHERE canonical = ?", (value,)).fetchone()
    found: bytes = row[0]
    return found


@pytest.fixture
def node(party: Callable[[str], Party]) -> Party:
    found = party("NL")
    found.submit(PHONE, OTHER)
    found.publish()
    return found


def own_withdrawal(node: Party, reference: bytes, at_ms: int = 1 << 47) -> check_pb2.Withdrawn:
    return check_pb2.Withdrawn(party=node.id, reference=reference, withdrawn_at_ms=at_ms)


def begun(node: Party) -> bool:
    frames = node.core.work()
    return any(frame.HasField("snapshot_begin") for frame in frames)


def test_no_plane_is_sent_before_every_notice_of_the_list_is_taken(node: Party) -> None:
    """Without its plane a party is asked nothing."""
    hub = HubByHand(node, notice_cursor=2)
    assert not any(frame.HasField("snapshot_begin") for frame in hub.welcome())
    assert not begun(node)
    assert acks(hub.notify(wiped=check_pb2.Wiped())) == [1]
    assert not begun(node)
    assert acks(hub.notify(wiped=check_pb2.Wiped())) == [2]
    assert begun(node)


def test_a_restored_store_learns_from_its_own_list_what_it_had_withdrawn(node: Party) -> None:
    dead = reference_of(node, PHONE)
    hub = HubByHand(node, notice_cursor=1)
    hub.welcome()
    hub.notify(withdrawn=own_withdrawal(node, dead))
    with node.store.read() as db:
        assert db.execute("SELECT canonical FROM value WHERE kept = 1").fetchall() == [(OTHER,)]
    assert begun(node)


def test_a_list_that_names_what_was_never_withdrawn_here_destroys_nothing(node: Party) -> None:
    """The list is the hub's word alone: it can hide a record of this node, which is seen, and never erase one."""
    dead = reference_of(node, PHONE)
    hub = HubByHand(node, notice_cursor=1)
    hub.welcome()
    hub.notify(withdrawn=own_withdrawal(node, dead))
    with node.store.read() as db:
        assert db.execute("SELECT count(*) FROM record WHERE status = 'accepted'").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM record WHERE typed IS NULL").fetchone() == (0,)
    assert reference_of(node, PHONE) != dead
    assert [one.what for one in node.store.incidents()] == [UNKNOWN_WITHDRAWAL]


def test_what_was_submitted_after_the_withdrawal_lives_on_under_another_reference(node: Party) -> None:
    """The store was restored and the value typed anew before the node had caught up: it must not be lost."""
    dead = reference_of(node, PHONE)
    hub = HubByHand(node, notice_cursor=1)
    hub.welcome()
    hub.notify(withdrawn=own_withdrawal(node, dead, at_ms=1))
    assert reference_of(node, PHONE) != dead
    with node.store.read() as db:
        assert db.execute("SELECT count(*) FROM to_check c JOIN value v ON v.id = c.value_id").fetchone()[0] >= 1


def test_a_session_that_waits_for_notices_publishes_and_asks_nothing(node: Party) -> None:
    hub = HubByHand(node, notice_cursor=1)
    hub.welcome()
    node.submit("+31621123458")
    assert node.core.work() == []
    assert not node.core.attached
