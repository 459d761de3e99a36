"""I3: holders of one value are told of each other exactly once, in every order of events (3.2 to 3.5).

Node cores and stores, hub core and ledger are the ones that run in production; only the wire, the clock and the tokens
are stand-ins. C1 to C5 and C13 are the orders of the threat model.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gateway.ledger import PublishedSequence
from gateway.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.live import Live, RealNode

PHONE, OTHER = "+447700900001", "+447700900002"


def once(*names: str) -> dict[tuple[str, str], int]:
    return {(one, two): 1 for one in names for two in names if one != two}


def test_two_that_submit_one_after_the_other_are_told_before_the_certificate(
    make_live: Callable[..., Live],
) -> None:
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    live.nodes["NL"].submit(PHONE)
    live.run(1)
    live.nodes["DE"].submit(PHONE)
    live.run(0)
    assert live.told(PHONE) == once("NL", "DE")
    assert live.nodes["DE"].party.pending() != {}
    live.run(2)
    assert live.told(PHONE) == once("NL", "DE")
    assert {holder for _, holder in live.nodes["DE"].party.pending()} == {"FR", "RO"}


def test_who_comes_late_is_asked_late(make_live: Callable[..., Live]) -> None:
    """NL asked while DE was away; DE looks at its value once, so that only NL's question can find it."""
    live = make_live("NL", "DE")
    live.attach("NL")
    live.nodes["NL"].submit(PHONE)
    live.run(2)
    assert live.nodes["NL"].party.pending()[1, "DE"] == "offline"
    live.nodes["DE"].party.submit(PHONE)
    live.nodes["DE"].party.publish()
    with live.nodes["DE"].party.store.write() as db:
        db.execute("DELETE FROM to_check")
    live.attach("DE")
    live.run(3)
    assert live.told(PHONE) == once("NL", "DE")


def c1(make_live: Callable[..., Live], rules: Rules | None = None) -> Live:
    live = make_live("NL", "DE", rules=rules)
    nl, de = live.nodes["NL"], live.nodes["DE"]
    live.attach("NL")
    nl.submit(PHONE)
    live.run(2)
    # NL's own question is answered as if DE had been there, so that only DE's can find the match.
    nl.party.store.cover(1, [de.id])
    live.restart_hub()
    nl.held_kinds = frozenset({"snapshot_chunk", "snapshot_end"})
    live.attach("NL", "DE")
    de.submit(PHONE)
    live.run(2)
    live.heal()
    return live


def test_c1_gateway_restarts_and_a_snapshot_is_still_on_its_way(make_live: Callable[..., Live]) -> None:
    live = c1(make_live)
    assert live.told(PHONE) == once("NL", "DE")


def test_c1_is_lost_without_the_rule_of_the_complete_plane(make_live: Callable[..., Live]) -> None:
    live = c1(make_live, Rules(require_complete_plane=False, compare_with_ledger=False))
    assert live.told(PHONE) == {("NL", "DE"): 0, ("DE", "NL"): 0}


def c3(make_live: Callable[..., Live], rules: Rules | None = None) -> Live:
    live = make_live("NL", "DE", rules=rules)
    nl, de = live.nodes["NL"], live.nodes["DE"]
    live.attach("NL", "DE")
    # Half open: NL's process died and came back; the hub still holds its session and its plane.
    nl.kill()
    nl.party.submit(PHONE)
    de.submit(PHONE)
    live.run(0.75)
    assert de.party.pending()
    # At another gateway.
    nl.party.publish()
    live.world.ledger.write([PublishedSequence(nl.id, nl.party.published_through())])
    with nl.party.store.write() as db:
        db.execute("DELETE FROM to_check")
    live.heal()
    return live


def test_c3_half_open_session(make_live: Callable[..., Live]) -> None:
    live = c3(make_live)
    assert live.told(PHONE) == once("NL", "DE")
    assert live.nodes["DE"].party.pending().keys() == {(1, "FR"), (1, "RO")}


def c4(make_live: Callable[..., Live], rules: Rules | None = None) -> Live:
    live = make_live("NL", "DE", rules=rules)
    nl, de = live.nodes["NL"], live.nodes["DE"]
    live.attach("DE")
    nl.held_kinds = frozenset({"snapshot_chunk", "snapshot_end"})
    live.attach("NL")
    nl.submit(PHONE)
    live.run(0)
    nl.let_go()
    with nl.party.store.write() as db:
        db.execute("DELETE FROM to_check")
    live.run(1)
    assert nl.party.published_through() == 1
    de.submit(PHONE)
    live.heal()
    return live


def test_c4_snapshot_races_a_submit(make_live: Callable[..., Live]) -> None:
    assert c4(make_live).told(PHONE) == once("NL", "DE")


def test_c4_is_lost_where_deltas_are_not_merged_into_the_snapshot(make_live: Callable[..., Live]) -> None:
    live = c4(make_live, Rules(merge_deltas_into_snapshot=False))
    assert live.told(PHONE) == {("NL", "DE"): 0, ("DE", "NL"): 0}


def c5(make_live: Callable[..., Live], rules: Rules | None = None) -> Live:
    live = make_live("NL", "DE", "FR", rules=rules)
    live.attach("NL", "DE", "FR")
    for node in live.nodes.values():
        node.held_kinds = frozenset({"answer"})
        node.submit(PHONE)
    live.run(0)
    for node in live.nodes.values():
        node.let_go()
    live.heal()
    return live


def test_c5_checks_at_once_tell_everybody_once(make_live: Callable[..., Live]) -> None:
    assert c5(make_live).told(PHONE) == once("NL", "DE", "FR")


def test_c5_is_doubled_where_edges_are_not_unique(make_live: Callable[..., Live]) -> None:
    live = c5(make_live, Rules(unique_edges=False))
    assert max(live.told(PHONE).values()) > 1


def test_c13_one_record_timed_out_and_a_later_one_covered(make_live: Callable[..., Live]) -> None:
    live = make_live("NL", "DE")
    nl, de = live.nodes["NL"], live.nodes["DE"]
    de.party.submit(PHONE, OTHER)
    with de.party.store.write() as db:
        db.execute("DELETE FROM to_check")
    live.attach("NL", "DE")
    live.run(1)
    de.held_kinds = frozenset({"answer", "barrier_reply"})
    nl.submit(PHONE)
    live.run(1)
    assert nl.party.pending()[1, "DE"] == "timed_out"
    # The answer is lost; the replies come too late to count, but show that DE is alive.
    de.held = [(link, frame) for link, frame in de.held if frame.HasField("barrier_reply")]
    de.let_go()
    nl.submit(OTHER)
    live.run(0.75)
    assert (2, "DE") not in nl.party.pending()
    assert nl.party.pending()[1, "DE"] == "timed_out"
    live.run(3)
    assert live.told(OTHER) == once("NL", "DE")
    assert live.told(PHONE) == once("NL", "DE")


def test_a_holder_that_lies_is_shown_to_nobody_and_named_by_the_hub(make_live: Callable[..., Live]) -> None:
    """DE echoes the ask MAC back: NL shows nothing, the edge is void for DE too, and the value stays pending."""
    live = make_live("NL", "DE")
    nl, de = live.nodes["NL"], live.nodes["DE"]
    de.party.submit(PHONE)
    with de.party.store.write() as db:
        db.execute("DELETE FROM to_check")
    live.attach("NL", "DE")
    live.run(1)
    de.held_kinds = frozenset({"answer"})
    nl.submit(PHONE)
    live.run(0)
    question = next(frame.question for frame in de.link.seen if frame.HasField("question"))
    for _, frame in de.held:
        frame.answer.answer_macs = question.items.ask_macs
    de.let_go()
    live.run(1)
    assert live.told(PHONE) == {("NL", "DE"): 0, ("DE", "NL"): 0}
    assert nl.party.pending()[1, "DE"] == "timed_out"
    assert any("refused by" in note.text and note.party == de.id for note in live.hub.notes)
    live.run(5)
    assert live.told(PHONE) == once("NL", "DE")


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_submits_crashes_and_broken_sessions_tells_each_side_once(
    make_live: Callable[..., Live], seed: int
) -> None:
    rng = random.Random(seed)
    live = make_live("NL", "DE", "FR")
    names, values = list(live.nodes), [f"+4477009000{number:02}" for number in range(6)]
    for _ in range(40):
        _something(live, rng, live.nodes[rng.choice(names)], rng.choice(values))
    live.heal(90)
    for value in values:
        assert live.told(value) == once(*live.holders(value))
    assert all(holder == "RO" for node in live.nodes.values() for _, holder in node.party.pending())


def _something(live: Live, rng: random.Random, node: RealNode, value: str) -> None:
    match rng.choice(["submit", "submit", "submit", "dial", "dial", "kill", "hold", "go", "hub", "time", "time"]):
        case "submit":
            node.submit(value)
        case "dial":
            node.dial(live.hub)
        case "kill":
            node.kill()
        case "hold":
            node.held_kinds = frozenset(rng.sample(["answer", "barrier_reply", "snapshot_end", "publish", "check"], 2))
        case "go":
            node.let_go()
        case "hub":
            live.restart_hub()
        case _:
            live.run(rng.choice([0, 0.25, 1]))
