"""A gateway that repeats itself, forgets, or sends what no honest one would: nothing is told twice, nobody crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConcordatError, ProtocolError
from concordat.wire.v1 import check_pb2, session_pb2
from services.node.events import Told
from services.node.store.rows import WitnessRow
from services.node.store.values import WEAK
from tests.unit.exchange.hub_by_hand import COVERED, TIMED_OUT, HubByHand, header_of
from tests.unit.exchange.test_notices import PHONE, THEIRS, Asked, holder_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.exchange.parties import Party


@pytest.fixture
def asked(party: Callable[[str], Party]) -> Asked:
    node = party("NL")
    node.submit(PHONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    return Asked(node, hub, check)


def told_events(node: Party) -> int:
    return sum(isinstance(one, Told) for one in node.events)


def test_a_ledger_that_was_lost_and_began_anew_tells_nobody_twice(asked: Asked) -> None:
    """C10: the new ledger numbers edges anew; the match is the one that people know."""
    asked.hub.tell(asked.told(edge=b"1" * 16))
    asked.node.core.detach()
    hub = HubByHand(asked.node, ledger_incarnation=b"M" * 16)
    (again,) = hub.attach()
    hub.tell(Asked(asked.node, hub, again).told(edge=b"2" * 16))
    assert told_events(asked.node) == 1
    assert [row.edge_id for row in asked.node.store.all_told() if row.state == "shown"] == [b"2" * 16]


def test_one_match_under_many_edge_ids_shows_once(holder: Party) -> None:
    holder.submit(PHONE)
    holder.publish()
    own, other = holder.reference(PHONE), holder.federation.id("DE")
    holder.store.witness([WitnessRow(own, other, THEIRS, b"c" * 16)])
    hub = HubByHand(holder)
    hub.attach()
    for number in range(5):
        hub.tell(holder_told(own, other, edge_id=bytes([number]) * 16))
    assert told_events(holder) == 1
    assert sum(row.state == "shown" for row in holder.store.all_told()) == 1


def test_a_match_that_was_void_and_is_told_anew_is_news(asked: Asked) -> None:
    asked.hub.tell(asked.told(edge=b"1" * 16))
    asked.hub.void(b"1" * 16)
    asked.hub.tell(asked.told(edge=b"2" * 16))
    assert told_events(asked.node) == 2
    assert sorted(asked.states()) == ["shown", "voided"]


@pytest.mark.parametrize("sequence", [1 << 62, (1 << 64) - 1])
def test_a_sequence_that_no_node_can_have_reached_is_not_taken_over(holder: Party, sequence: int) -> None:
    holder.submit(PHONE)
    hub = HubByHand(holder, ledger_sequence=sequence)
    with pytest.raises(ProtocolError):
        hub.welcome()
    assert holder.store.sequence() == 0


def test_numbers_that_no_store_can_hold_end_the_session(asked: Asked) -> None:
    with pytest.raises(ConcordatError):
        asked.hub.give(notice=check_pb2.Notice(cursor=(1 << 64) - 1, told=asked.told()))
    assert asked.states() == []


@pytest.mark.parametrize("handle", ["", "\x1b[2J", "M" * 65, "M-\n"])
def test_a_handle_is_a_short_plain_word(asked: Asked, handle: str) -> None:
    told = asked.told()
    told.handle = handle
    with pytest.raises(ProtocolError):
        asked.hub.tell(told)
    assert asked.states() == []


def test_a_welcome_of_a_gateway_that_the_manifest_does_not_name_is_no_welcome(holder: Party) -> None:
    manifest = holder.federation.manifest
    with pytest.raises(ConcordatError):
        holder.core.step(
            [
                session_pb2.HubFrame(
                    welcome=session_pb2.Welcome(
                        gateway="\x1b[2J",
                        manifest_hash=manifest.hash,
                        ledger_incarnation=b"L" * 16,
                        plane_log2_slots=12,
                        plane_hashes=2,
                        max_items=4096,
                    )
                )
            ],
            work=False,
        )


def test_a_weak_value_of_ones_own_never_shows_as_a_strong_match(holder: Party) -> None:
    """The grade is the value's own, whatever the gateway says."""
    holder.submit("skeleton", grade=WEAK)
    holder.publish()
    own, other = holder.reference("skeleton"), holder.federation.id("DE")
    holder.store.witness([WitnessRow(own, other, THEIRS, b"c" * 16)])
    hub = HubByHand(holder)
    hub.attach()
    hub.tell(holder_told(own, other))
    assert [row.state for row in holder.store.all_told()] == ["refused"]


def test_a_refused_match_is_asked_for_again_although_its_value_moved_to_another_batch(
    party: Callable[[str], Party],
) -> None:
    """Looked up once, then kept: the first batch is empty, and what it asked for is asked by the second."""
    node = party("NL")
    node.submit(PHONE, look_once=True)
    hub = HubByHand(node)
    (first,) = hub.attach()
    node.submit(PHONE)
    (second,) = hub.work()
    hub.certify(second, {"DE": COVERED, "FR": COVERED})
    hub.tell(Asked(node, hub, first).told(mac=b"x" * 32))
    node.clock.advance(2)
    (again,) = hub.work()
    assert again.items.references == second.items.references
    assert list(again.only_holders) == [node.federation.id("DE")]
    assert header_of(again).fields.check_id != header_of(second).fields.check_id


def test_a_check_under_way_clears_nobody_whose_edge_became_void_meanwhile(asked: Asked) -> None:
    """The hub dropped the second answer as told, took the refusal of the first, and then said 'covered'."""
    asked.hub.certify(asked.check, {"DE": TIMED_OUT, "FR": COVERED})
    asked.node.clock.advance(1.1)
    (second,) = asked.hub.work()
    asked.hub.tell(asked.told(mac=b"x" * 32))
    asked.hub.certify(second, {"DE": COVERED})
    assert {holder for _, holder in asked.node.pending()} == {"DE"}
    asked.node.clock.advance(2.1)
    assert len(asked.hub.work()) == 1
