"""Two worlds that differ by one silent holder give equal views to everyone else, at equal times (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.wire.v1 import check_pb2
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
