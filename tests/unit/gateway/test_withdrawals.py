"""A value is taken back: whoever was told hears of it, and says so; nobody else hears anything (3.8; LB-22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.protocol.withdrawal import MAX_REFERENCES
from concordat.wire.v1 import check_pb2
from gateway.rules import Limits
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Node, World


def matched(world: World) -> tuple[Node, Node]:
    """Let DE and NL be told of each other by one value."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.window()
    assert told_once(nl, de)
    return de, nl


def test_whoever_was_told_hears_of_it_and_the_withdrawing_party_gets_the_receipt(world: World) -> None:
    de, nl = matched(world)
    (reference,) = de.withdraw("x")
    world.settle()
    (heard,), (own,) = nl.withdrawn, de.withdrawn
    assert (heard.party, heard.reference, heard.own_reference) == (de.id, reference, nl.values["x"])
    assert heard.edge_id == nl.told[0].edge_id
    assert (own.party, own.reference, own.edge_id) == (de.id, reference, b"")
    (receipt,) = de.receipts
    assert (receipt.signer, receipt.edge_id, receipt.reference) == (nl.id, heard.edge_id, reference)
    assert not nl.receipts


def test_a_value_that_is_submitted_again_is_told_of_again_once(world: World) -> None:
    de, nl = matched(world)
    de.withdraw("x")
    de.publish("x")
    world.settle()
    for _ in range(2):
        nl.check("x")
        de.check("x")
        world.window()
    assert [len(nl.told), len(de.told)] == [2, 2]
    assert nl.told[1].other_reference == de.values["x"]


def test_the_same_again_changes_nothing_and_its_list_says_that_it_is_buried(world: World) -> None:
    de, nl = matched(world)
    (reference,) = de.withdraw("x")
    for _ in range(3):
        de.link.send(withdraw=de.withdrawal([reference]))
        world.settle()
    assert (len(de.withdrawn), len(nl.withdrawn), len(de.receipts)) == (1, 1, 1)
    # A restored store reads its list from where it stands, and so hears of it again.
    de.cursor, de.values, de.withdrawn = 0, {"x": reference}, []
    link = de.dial(world.hubs[0])
    world.settle()
    assert link.seen[0].welcome.notice_cursor == de.cursor
    assert [one.reference for one in de.withdrawn] == [reference]
    assert "x" not in de.values


def test_no_edge_opens_with_a_reference_that_is_withdrawn_while_its_answer_is_on_the_way(world: World) -> None:
    """C12."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    hub = world.hubs[0]
    hub.hold_writes = True
    nl.check("x")
    world.settle()
    de.withdraw("x")
    world.settle()
    # The withdrawal overtakes the answer, as another gateway's would.
    hub.held.reverse()
    hub.hold_writes = False
    world.window()
    assert not nl.told
    assert not de.told
    assert not nl.withdrawn


def test_a_party_that_both_sides_merged_under_hears_of_every_edge_of_which_it_was_told(world: World) -> None:
    de, nl = matched(world)
    # NL was restored, and asks under a new reference: DE's key is another one, NL is told anew.
    nl.values["x"] = b"n" * 16
    nl.check("x")
    world.window()
    told = {(one.edge_id, one.own_reference) for one in nl.told}
    de.withdraw("x")
    world.settle()
    assert {(one.edge_id, one.own_reference) for one in nl.withdrawn} == told
    assert len(nl.withdrawn) == len(told) == 2


def test_both_sides_withdraw_at_once(world: World) -> None:
    de, nl = matched(world)
    world.hubs[0].hold_writes = True
    de.withdraw("x")
    nl.withdraw("x")
    world.settle()
    world.hubs[0].hold_writes = False
    world.settle()
    assert [one.party for one in nl.withdrawn] == [de.id, nl.id], "the first one closed the edge"
    assert [one.party for one in de.withdrawn] == [de.id]
    assert world.ledger.figures()["edges_live"] == 0


@pytest.mark.parametrize("kind", ["withdraw", "receipt", "feedback"])
def test_only_the_session_s_own_party_may_sign(world: World, kind: str) -> None:
    de, nl = matched(world)
    before = world.ledger.figures()
    if kind == "withdraw":
        nl.link.send(withdraw=de.withdrawal([de.values["x"]]))
    elif kind == "receipt":
        de.links.append(nl.link)
        de._withdrawn(nl.link, check_pb2.Withdrawn(party=nl.id, reference=b"r" * 16, edge_id=b"e" * 16))
    else:
        de.links.append(nl.link)
        de.say_false_hit(de.told[0])
    world.settle()
    assert nl.links[0].closed == "bad_identity"
    assert {key: value for key, value in world.ledger.figures().items() if key != "position"} == {
        key: value for key, value in before.items() if key != "position"
    }


def test_a_receipt_that_nobody_is_owed_reaches_nobody(world: World) -> None:
    de, nl = matched(world)
    for edge_id in (nl.told[0].edge_id, b"e" * 16):
        withdrawn = check_pb2.Withdrawn(party=de.id, reference=de.values["x"], edge_id=edge_id)
        nl._withdrawn(nl.link, withdrawn)
    world.settle()
    assert not de.receipts
    de.withdraw("x")
    world.settle()
    nl._withdrawn(nl.link, nl.withdrawn[-1])
    world.settle()
    assert len(de.receipts) == 1, "once for each edge"


def test_too_many_references_end_the_session(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(withdrawals_in_flight=MAX_REFERENCES))
    de, nl = matched(world)
    many = [number.to_bytes(16, "big") for number in range(MAX_REFERENCES + 1)]
    de.link.send(withdraw=de.withdrawal(many))
    world.settle()
    assert de.link.closed == "too_large"
    world.hubs[0].hold_writes = True
    for _ in range(2):
        nl.link.send(withdraw=nl.withdrawal(many[1:]))
    world.settle()
    assert nl.link.closed == "busy"


@pytest.mark.parametrize("kind", ["withdraw", "receipt", "feedback"])
def test_what_the_ledger_does_not_take_ends_the_session_so_that_it_comes_again(world: World, kind: str) -> None:
    de, nl = matched(world)
    world.hubs[0].ledger_up = False
    if kind == "withdraw":
        nl.withdraw("x")
    elif kind == "receipt":
        nl._withdrawn(nl.link, check_pb2.Withdrawn(party=de.id, reference=b"r" * 16, edge_id=b"e" * 16))
    else:
        nl.say_false_hit(nl.told[0])
    world.settle()
    assert nl.link.closed == "unavailable"


def test_feedback_reaches_the_other_side_once(world: World) -> None:
    de, nl = matched(world)
    for _ in range(3):
        nl.say_false_hit(nl.told[0])
        world.settle()
    (feedback,) = de.feedback
    assert feedback.own_reference == de.values["x"]
    assert check_pb2.FeedbackBody.FromString(feedback.feedback.body).reason == "other_person"
    assert not nl.feedback
    de.say_false_hit(de.told[0], "reassigned")
    world.settle()
    assert len(nl.feedback) == 1


def test_feedback_on_an_edge_that_is_void_or_none_reaches_nobody(world: World) -> None:
    de, nl = matched(world)
    de.withdraw("x")
    world.settle()
    nl.say_false_hit(nl.told[0])
    nl.say_false_hit(check_pb2.Told(edge_id=b"e" * 16, other=de.id))
    world.settle()
    assert not de.feedback
    assert nl.link.closed is None


def test_log_lines_name_parties_and_nothing_else(world: World) -> None:
    de, nl = matched(world)
    nl.say_false_hit(nl.told[0])
    (reference,) = de.withdraw("x")
    world.settle()
    notes = [note for note in world.hubs[0].notes if note.party in {de.id, nl.id}]
    assert [(note.text, note.party) for note in notes] == [("a party withdraws values", de.id)]
    assert reference.hex() not in "".join(note.text for note in notes)
