"""Stores and ledgers that went back to a copy: the old is fenced off, and what was lost is asked again (I9, C10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.errors import ProtocolError
from concordat.wire.v1 import session_pb2
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Hub, Node, World

NEW, NEWER = b"n" * 16, b"o" * 16


def replaced_by(world: World, old: Node, *, hub: Hub, incarnation: bytes = NEW) -> Node:
    """Let another process of the same party attach to a hub, with a store of another incarnation."""
    node = world.node(old.name)
    node.incarnation = incarnation
    link = node.dial(hub)
    world.settle()
    node.snapshot(link)
    world.settle()
    return node


def notes(world: World) -> list[str]:
    return [note.text for hub in world.hubs for note in hub.notes]


def test_a_store_that_was_replaced_is_refused_and_does_not_end_the_newer_session(world: World) -> None:
    old = world.attached("DE", "x")
    new = replaced_by(world, old, hub=world.hubs[0])
    assert old.link.closed == "session_replaced"
    link = old.dial(world.hubs[0])
    world.settle()
    assert (link.closed, link.seen) == ("superseded", [])
    assert new.link.closed is None
    assert world.hubs[0].exchange.attached() == [new.id]


def test_one_that_was_replaced_never_comes_back(world: World) -> None:
    first = world.attached("DE")
    second = replaced_by(world, first, hub=world.hubs[0])
    third = replaced_by(world, second, hub=world.hubs[0], incarnation=NEWER)
    for old in (first, second):
        old.dial(world.hubs[0])
        world.settle()
        assert old.link.closed == "superseded"
    third.dial(world.hubs[0])
    world.settle()
    assert third.link.closed is None


def test_another_gateway_ends_the_old_store_s_session_before_its_next_barrier(make_world: Callable[..., World]) -> None:
    """And what it answered in that tick covers nobody."""
    world = make_world()
    first, second = world.hubs[0], world.hub()
    old, nl = world.attached("DE", "x", hub=first), world.attached("NL", "x", hub=first)
    replaced_by(world, old, hub=second)
    assert old.link.closed is None, "the first hub has not heard of it yet"
    check_id = nl.check("x")
    world.window()
    assert old.link.closed == "superseded"
    assert nl.states(check_id)["DE"] == "offline"


def test_the_same_store_again_replaces_its_session_and_is_not_superseded(world: World) -> None:
    de = world.attached("DE")
    for _ in range(3):
        de.dial(world.hubs[0])
        world.settle()
    assert [link.closed for link in de.links] == ["session_replaced"] * 3 + [None]


def test_a_hello_that_the_ledger_does_not_take_ends_its_session_and_not_the_one_before(world: World) -> None:
    de = world.attached("DE")
    world.hubs[0].ledger_up = False
    link = de.dial(world.hubs[0])
    world.settle()
    assert (link.closed, de.links[0].closed) == ("unavailable", None)


def told_before_the_ledger_went_back(world: World) -> tuple[Node, Node]:
    """Let DE and NL match, and the ledger forget it; nobody is attached afterwards."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    copy = world.back_up()
    nl.check("x")
    world.window()
    assert told_once(nl, de)
    world.restore(copy)
    world.hub()
    return de, nl


def attach(world: World, *nodes: Node) -> None:
    for node in nodes:
        link = node.dial(world.hubs[0])
        world.settle()
        if link.closed is None:
            node.snapshot(link)
            world.settle()


def test_a_node_that_knows_more_than_the_ledger_makes_it_another_one(world: World) -> None:
    before = world.ledger.incarnation
    de, nl = told_before_the_ledger_went_back(world)
    fr = world.node("FR")
    attach(world, fr)
    first = fr.link.seen[0].welcome.ledger_incarnation
    assert first == before, "FR was never told of anything, and cannot know"
    attach(world, de)
    renewed = de.link.seen[0].welcome.ledger_incarnation
    assert renewed != before
    assert world.ledger.incarnation == renewed
    assert fr.link.closed == "ledger_restored"
    assert any("it was restored" in text for text in notes(world))
    # Who had seen the one before does not make it another one once more.
    attach(world, nl, fr)
    assert {node.link.seen[0].welcome.ledger_incarnation for node in (nl, fr)} == {renewed}
    check_id = nl.check("x")
    world.window()
    assert told_once(nl, de)
    assert nl.certificates[check_id].ledger_incarnation == renewed


def test_a_published_sequence_shows_a_restored_ledger_as_well(world: World) -> None:
    de = world.attached("DE")
    copy = world.back_up()
    de.publish("x")
    world.settle()
    assert de.published == 1
    world.restore(copy)
    world.hub()
    before = world.ledger.incarnation
    attach(world, de)
    assert world.ledger.incarnation != before
    assert world.ledger.sequence_of(de.id) == 1
    # The node dies before its snapshot is durable in the ledger that it knows now, and says nothing new.
    renewed = world.ledger.incarnation
    attach(world, de)
    assert (de.link.closed, world.ledger.incarnation) == (None, renewed)


def test_who_follows_late_says_only_once_that_it_knew_more(world: World) -> None:
    """Its hello names the old ledger, so its sequence is raised before it names the new one."""
    nl, de = world.attached("NL"), world.attached("DE")
    copy = world.back_up()
    for node in (nl, de):
        node.publish("x")
    world.settle()
    world.restore(copy)
    world.hub()
    attach(world, nl)
    renewed = world.ledger.incarnation
    de.dial(world.hubs[0])
    world.settle()
    assert de.ledger == renewed, "welcomed, and gone before its snapshot"
    attach(world, de)
    assert (de.link.closed, world.ledger.incarnation) == (None, renewed)


def test_a_ledger_becomes_another_one_at_most_once_an_hour(world: World) -> None:
    """So that one party cannot make all others ask everything again and again; the operator reads who it is."""
    de, nl = told_before_the_ledger_went_back(world)
    attach(world, de, nl)
    renewed = world.ledger.incarnation
    liar = nl
    liar.cursor += 5
    attach(world, liar)
    assert liar.link.closed == "unavailable"
    assert world.ledger.incarnation == renewed
    assert de.link.closed is None
    assert any("this hour" in text for text in notes(world))


def test_the_operator_s_renewal_reaches_a_gateway_that_runs(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    # Another process, as the command line is.
    renewed = world.ledger.renew()
    world.window()
    assert [de.link.closed, nl.link.closed] == ["ledger_restored"] * 2
    attach(world, de, nl)
    assert {node.link.seen[0].welcome.ledger_incarnation for node in (de, nl)} == {renewed}


def test_a_check_that_was_open_covers_nobody(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    check_id = nl.check("x")
    world.settle()
    world.ledger.renew()
    world.window()
    assert check_id not in nl.certificates
    assert de.link.closed == "ledger_restored"


def test_nobody_is_attached_before_it_has_taken_its_list(world: World) -> None:
    """I9: also where its node sends the plane first."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.window()
    de.cursor, de.catching_up = 0, True
    link = de.dial(world.hubs[0])
    world.settle()
    de.snapshot(link)
    world.settle()
    assert link.seen[0].welcome.notice_cursor == 1
    assert "snapshot_installed" in link.kinds()
    assert world.hubs[0].exchange.attached() == [nl.id]
    check_id = nl.check("x")
    world.window()
    assert nl.states(check_id)["DE"] == "timed_out"
    de.catching_up = False
    for frame in [frame for frame in link.seen if frame.HasField("notice")]:
        de.take(link, frame)
    world.settle()
    assert world.hubs[0].exchange.attached() == [de.id, nl.id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ledger_incarnation": b"short"},
        {"incarnation": b""},
        {"notice_cursor": 1 << 63},
        {"published_sequence": 1 << 63},
    ],
)
def test_a_hello_with_what_no_store_has_is_refused(world: World, wrong: dict[str, object]) -> None:
    de = world.node("DE")
    hub = world.hubs[0]
    number = hub.exchange.open(de.id)
    hello = de.hello()
    for name, value in wrong.items():
        setattr(hello, name, value)
    hub.exchange.frame(number, session_pb2.NodeFrame(hello=hello))
    closed = [effect for effect in hub.exchange.effects() if getattr(effect, "code", None) == ProtocolError.code]
    assert closed
