"""Two worlds that differ by one silent holder give equal views to everyone else, at equal times (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.protocol.macs import HOLDER_TOLD
from concordat.wire.v1 import check_pb2
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Node, World


def views(world: World, *, silent: str) -> tuple[list[bytes], World]:
    """Let three parties meet, one of which may hold what two share, and return what the two others saw."""
    nl, de = world.attached("NL", "x", "y"), world.attached("DE", "x", "y")
    fr = world.attached("FR", "z")
    fr.decision = 0
    # The silent party stores something in both worlds; only in one of them it is what the others ask about.
    fr.publish(silent)
    world.advance(60)
    nl.check("x", "y")
    de.check("x")
    world.advance(61)
    nl.check("x")
    world.window()
    assert told_once(nl, de)
    return [_seen(nl), _seen(de)], world


def _seen(node: Node) -> bytes:
    frames = [frame.SerializeToString(deterministic=True) for link in node.links for frame in link.seen]
    return b"\n".join(frames)


def test_views_and_times_are_equal_with_and_without_a_silent_holder(make_world: Callable[..., World]) -> None:
    without, _ = views(make_world(), silent="nothing of theirs")
    with_it, world = views(make_world(), silent="x")
    asked = [frame for link in world.nodes[2].links for frame in link.seen if frame.HasField("question")]
    assert asked, "the silent holder was asked"
    assert with_it == without


def test_a_submit_that_nobody_may_see_does_not_move_what_certificates_say(make_world: Callable[..., World]) -> None:
    def certificate(*, busy: bool) -> check_pb2.CertificateBody:
        world = make_world()
        nl, fr = world.attached("NL", "x"), world.attached("FR")
        for number in range(3 if busy else 0):
            fr.publish(f"silent {number}")
            world.settle()
        check_id = nl.check("x")
        world.window()
        return nl.certificates[check_id]

    assert certificate(busy=True) == certificate(busy=False)


def test_coverage_of_a_later_check_says_nothing_about_an_earlier_one(make_world: Callable[..., World]) -> None:
    """C13: one number for all that was asked would lose the first value."""
    world = make_world()
    nl, de = world.attached("NL", "x", "y"), world.attached("DE", "x")
    de.link.deaf = True
    first = nl.check("x")
    world.advance(0.25)
    world.hubs[0].links[de.link.session].inbox.clear()
    de.link.deaf = False
    second = nl.check("y")
    world.window()
    assert nl.states(first)["DE"] == "timed_out"
    assert nl.states(second)["DE"] == "covered"
    nl.check("x", only=["DE"])
    world.window()
    assert told_once(nl, de)


def taken_back(world: World, *, silent: bool) -> list[list[bytes]]:
    """Let three parties meet, one of them perhaps silently, then take back, acknowledge and comment; return the views.

    FR is told of both others and lets neither know that it holds the value.
    """
    nl, de = world.attached("NL", "x"), world.attached("DE", "x")
    fr = world.attached("FR", "x" if silent else "nothing of theirs")
    fr.decision = HOLDER_TOLD
    nl.check("x")
    de.check("x")
    world.window()
    assert told_once(nl, de)
    assert len(fr.told) == (2 if silent else 0)
    for told in fr.told:
        fr.say_false_hit(told)
    nl.say_false_hit(nl.told[0])
    world.window()
    nl.withdraw("x")
    world.window()
    assert len(fr.withdrawn) == (1 if silent else 0), "who was told hears of it"
    if silent:
        fr.withdraw("x")
    world.window()
    nl.publish("x")
    nl.check("x")
    world.window()
    assert len(de.told) == 2
    assert [len(nl.receipts), len(de.feedback)] == [1, 1]
    return [_with_numbered_edges(node) for node in (nl, de)]


def _with_numbered_edges(node: Node) -> list[bytes]:
    """Return what a node saw, with edges numbered as it met them: their ids are random, and signed in places."""
    numbers: dict[bytes, bytes] = {}

    def number(edge_id: bytes) -> bytes:
        return numbers.setdefault(edge_id, b"edge %d" % len(numbers)) if edge_id else b""

    seen = []
    for frame in [frame for link in node.links for frame in link.seen]:
        notice = frame.notice
        kind = notice.WhichOneof("content")
        if kind in ("told", "withdrawn"):
            content = getattr(notice, kind)
            content.edge_id = number(content.edge_id)
        elif kind in ("receipt", "feedback"):
            signed = notice.receipt.receipt if kind == "receipt" else notice.feedback.feedback
            body = (check_pb2.ReceiptBody if kind == "receipt" else check_pb2.FeedbackBody).FromString(signed.body)
            body.edge_id = number(body.edge_id)
            signed.body, signed.signature = body.SerializeToString(deterministic=True), b""
        seen.append(frame.SerializeToString(deterministic=True))
    return seen


def test_withdrawals_receipts_and_feedback_show_no_silent_holder(make_world: Callable[..., World]) -> None:
    """I11, LB-22: its receipt is kept for audits and reaches nobody who was not told that it holds the value."""
    without, with_it = (taken_back(make_world(), silent=silent) for silent in (False, True))
    assert with_it == without


def test_a_silent_holder_s_receipt_is_kept_for_audits(make_world: Callable[..., World]) -> None:
    world = make_world()
    nl, fr = world.attached("NL", "x"), world.attached("FR", "x")
    fr.decision = HOLDER_TOLD
    nl.check("x")
    world.window()
    nl.withdraw("x")
    world.settle()
    with world.ledger._engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT signer, forward, message FROM receipt").all()
    assert [(signer, bool(forward), bool(message)) for signer, forward, message in rows] == [(fr.id, False, True)]
    assert not nl.receipts
