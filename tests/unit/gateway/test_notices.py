"""Notices: in order, without gaps, again from any cursor (C8, C10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.wire.v1 import session_pb2
from gateway.effects import Write
from gateway.rules import Limits
from tests.unit.gateway.world import Link, told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import World


def cursors(link: Link) -> list[int]:
    return [frame.notice.cursor for frame in link.seen if frame.HasField("notice")]


def test_a_party_that_was_away_gets_what_came_meanwhile(world: World) -> None:
    de, nl = world.attached("DE", "x", "y"), world.attached("NL", "x", "y")
    nl.check("x")
    world.settle()
    world.hubs[0].hold_writes = True
    nl.check("y")
    world.settle()
    nl.link.send(bye=session_pb2.Bye())
    world.settle()
    world.hubs[0].hold_writes = False
    world.settle()
    assert (nl.cursor, de.cursor) == (1, 2)
    link = nl.dial(world.hubs[0])
    world.settle()
    assert link.kinds()[:2] == ["welcome", "notice"]
    assert cursors(link) == [2]


def test_what_was_durable_when_the_hub_died_is_told_at_the_next_attach(world: World) -> None:
    """I9: the edge is in the ledger, and the hub is killed before its notices leave."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    hub = world.hubs[0]
    nl.check("x")
    hub.hold_writes = True
    world.settle()
    for effect in hub.held:
        assert isinstance(effect, Write)
        world.ledger.write(effect.writes)
    world.stop(hub)
    assert (nl.told, de.told) == ([], [])
    again = world.hub()
    for node in (de, nl):
        link = node.dial(again)
        world.settle()
        node.snapshot(link)
        world.settle()
    assert told_once(nl, de)
    # Asking again, as both must after the certificate that never came, tells nobody anew.
    nl.check("x")
    de.check("x")
    world.window()
    assert told_once(nl, de)


def test_a_restored_node_reads_its_list_again_from_its_cursor(world: World) -> None:
    nl = world.attached("NL", "x", "y")
    world.attached("DE", "x", "y")
    nl.check("x", "y")
    world.settle()
    before = list(nl.told)
    nl.cursor = 0
    nl.told.clear()
    link = nl.dial(world.hubs[0])
    world.settle()
    assert cursors(link) == [1, 2]
    assert nl.told == before


def test_a_new_ledger_begins_every_list_anew(world: World) -> None:
    """A cursor of another incarnation says nothing about this ledger's list."""
    nl = world.attached("NL", "x")
    world.attached("DE", "x")
    nl.check("x")
    world.settle()
    hub = world.hubs[0]
    link = Link(nl, hub, hub.exchange.open(nl.id))
    hub.links[link.session] = link
    nl.cursor = 0
    manifest = world.federation.manifest
    hello = session_pb2.Hello(
        federation=manifest.federation,
        manifest_hash=manifest.hash,
        incarnation=b"i" * 16,
        epochs=list(manifest.live_epochs),
        notice_cursor=55,
        ledger_incarnation=b"another ledger!!",
    )
    link.send(hello=hello)
    world.settle()
    assert cursors(link) == [1]


def test_a_long_list_comes_in_order_whatever_the_window(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(unacknowledged_notices=3))
    values = [f"value {number}" for number in range(40)]
    nl, de = world.attached("NL", *values), world.attached("DE", *values)
    de.link.deaf = True
    nl.check(*values[:20])
    world.settle()
    assert cursors(nl.link) == []
    de.link.deaf = False
    world.settle()
    assert cursors(nl.link) == list(range(1, 21))
    nl.check(*values[20:])
    world.settle()
    assert cursors(nl.link) == cursors(de.link) == list(range(1, 41))


def test_no_more_notices_wait_for_a_node_than_its_window(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(unacknowledged_notices=3))
    values = [f"value {number}" for number in range(10)]
    nl, de = world.attached("NL", *values), world.attached("DE", *values)
    nl.check(*values)
    # Let the holder answer, and the asker take nothing.
    nl.link.deaf = True
    world.settle()
    waiting = [frame.notice.cursor for _, frame in nl.link.inbox if frame.HasField("notice")]
    assert waiting == [1, 2, 3]
    assert cursors(de.link) == list(range(1, 11))
    nl.link.deaf = False
    world.settle()
    assert cursors(nl.link) == list(range(1, 11))


def test_handles_differ_between_the_two_recipients(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    fr = world.attached("FR", "x")
    nl.check("x")
    world.settle()
    assert {told.handle for told in nl.told} != {told.handle for told in de.told}
    # One match of the recipient: both tellings of one value carry its one handle.
    assert len({told.handle for told in nl.told}) == 1
    assert len(nl.told) == 2
    assert len(fr.told) == 1


def test_a_notice_says_no_more_than_it_must(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.settle()
    asked, holder = nl.told[0], de.told[0]
    assert (len(asked.answer_mac), len(holder.answer_mac)) == (32, 0)
    assert (asked.other, holder.other) == (de.id, nl.id)
    assert (asked.check_id, holder.check_id) == (asked.check_id, asked.check_id)
