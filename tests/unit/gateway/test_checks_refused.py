"""What the hub does not take: headers, items, audiences and amounts that break a rule (3.4 (1))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.identity.manifest import Manifest
from concordat.protocol.check import audience_hash
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.rules import Limits
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Link, World


def refusals(link: Link) -> list[str]:
    return [frame.check_refused.code for frame in link.seen if frame.HasField("check_refused")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"asker": "spiffe://test.example/node/FR"}, "bad_identity"),
        ({"federation": "other.example"}, "refused"),
        ({"manifest_hash": b"m" * 32}, "stale_manifest"),
        ({"epoch": 9}, "stale_epoch"),
        ({"expires_at_ms": 1}, "expired"),
        ({"justification_hash": b""}, "justification_missing"),
        ({"purpose": ""}, "justification_missing"),
        ({"purpose": "p" * 65}, "too_large"),
        ({"operation": "o" * 65}, "too_large"),
        ({"count": 2}, "protocol_violation"),
        ({"count": 0}, "protocol_violation"),
        ({"audience_hash": b"a" * 32}, "protocol_violation"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused_and_asked_of_nobody(
    world: World, fields: dict[str, Any], code: str
) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x", **fields)
    world.settle()
    assert refusals(nl.link) == [code]
    assert "question" not in de.link.kinds()
    assert world.hubs[0].exchange.in_flight == 0


def test_a_check_re_signed_by_another_party_is_refused(world: World) -> None:
    """Tokens that a party only saw go nowhere under its own session with another's header."""
    de, nl, fr = world.attached("DE", "x"), world.attached("NL", "x"), world.attached("FR")
    fr.link.send(check=nl.check_message("x"))
    world.settle()
    assert refusals(fr.link) == ["bad_identity"]
    assert "question" not in de.link.kinds()


def test_a_check_is_refused_after_its_expiry(world: World) -> None:
    nl = world.attached("NL", "x")
    message = nl.check_message("x")
    world.advance(181)
    nl.link.send(check=message)
    world.settle()
    assert refusals(nl.link) == ["expired"]


def test_a_recorded_token_without_its_secret_opens_no_edge(world: World) -> None:
    """A party that inserts a token it only saw cannot make the MAC, so an honest holder does not answer."""
    de, fr = world.attached("DE", "x"), world.attached("FR")
    fr.keep("x")
    fr.secret_of = lambda _value: b"guess" * 6 + b"!!"
    fr.check("x")
    world.window()
    assert (de.told, fr.told) == ([], [])
    assert world.ledger.figures()["edges_live"] == 0


def test_the_same_check_again_is_taken_once(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    message = nl.check_message("x")
    nl.link.send(check=message)
    nl.link.send(check=message)
    world.window()
    assert nl.link.kinds().count("check_received") == 2
    assert nl.link.kinds().count("certificate") == 1
    assert de.link.kinds().count("question") == 1
    # Presented once more after its certificate it is asked again, and tells nobody anew.
    nl.link.send(check=message)
    world.window()
    assert told_once(nl, de)


def test_a_check_id_in_use_belongs_to_its_asker(world: World) -> None:
    nl, fr = world.attached("NL"), world.attached("FR")
    check_id = nl.check("x")
    fr.check("x", check_id=check_id)
    world.settle()
    assert refusals(fr.link) == ["request_reused"]


def test_a_closed_row_of_the_opt_in_table_is_outside_before_any_look_up(make_world: Callable[..., World]) -> None:
    manifest = make_world().federation.manifest
    content = manifest.model_dump()
    content["opt_in"] = {name: classes for name, classes in content["opt_in"].items() if name != "DE"}
    world = make_world(manifest=Manifest.model_validate(content))
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    check_id = nl.check("x")
    world.window()
    assert nl.states(check_id) == {"DE": "outside", "FR": "offline", "RO": "offline"}
    assert "question" not in de.link.kinds()
    # LB-26: to ask is to hand over, so whoever lets nobody ask is asked by nobody and asks nobody.
    back = de.check("x")
    world.window()
    assert set(de.states(back).values()) == {"outside"}
    assert "question" not in nl.link.kinds()
    assert not nl.told
    assert not de.told


def test_only_the_named_holders_are_asked_and_certified(world: World) -> None:
    de, fr, nl = world.attached("DE", "x"), world.attached("FR", "x"), world.attached("NL", "x")
    check_id = nl.check("x", only=["FR", "RO"])
    world.window()
    assert nl.states(check_id) == {"FR": "covered", "RO": "offline"}
    assert nl.certificates[check_id].partial
    assert ("question" in fr.link.kinds(), "question" in de.link.kinds()) == (True, False)


def test_a_holder_that_is_no_node_is_refused(world: World) -> None:
    nl = world.attached("NL")
    message = nl.check_message("x")
    message.only_holders.append("spiffe://test.example/node/ZZ")
    nl.link.send(check=message)
    world.settle()
    assert refusals(nl.link) == ["refused"]


def test_one_party_cannot_have_more_in_flight_than_its_limits(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(checks_in_flight=2))
    nl, de = world.attached("NL"), world.attached("DE")
    for value in "abc":
        nl.check(value)
    de.check("d")
    world.settle()
    assert (refusals(nl.link), refusals(de.link)) == (["busy"], [])
    world.window()
    nl.check("e")
    world.settle()
    assert refusals(nl.link) == ["busy"]


def test_one_party_cannot_hold_more_bytes_than_its_limit(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(bytes_in_flight=1 << 20))
    nl = world.attached("NL")
    values = [f"value {number}" for number in range(4000)]
    for _ in range(5):
        nl.check(*values)
    world.settle()
    assert refusals(nl.link) == ["busy"]
    world.window()
    nl.check("e")
    world.settle()
    assert refusals(nl.link) == ["busy"]


def test_a_party_that_floods_the_hub_with_frames_is_cut_off(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(frames_per_tick=16))
    nl, de = world.attached("NL"), world.attached("DE")
    world.window()
    for tick in range(20):
        nl.link.send(barrier_reply=session_pb2.BarrierReply(tick=tick))
    world.settle()
    assert (nl.link.closed, de.link.closed) == ("busy", None)


def test_a_delta_with_too_many_slots_is_cut_off(make_world: Callable[..., World]) -> None:
    world = make_world(limits=Limits(delta_slots=4))
    nl = world.attached("NL")
    nl.publish("x")
    world.settle()
    assert nl.link.closed is None
    nl.publish("y", "z")
    world.settle()
    assert nl.link.closed == "too_large"


def test_an_audience_that_leaves_the_holder_out_lets_it_decide_nothing_for_itself(world: World) -> None:
    """A holder that is not in an item's audience cannot have itself told of the asker's record."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    sets = [check_pb2.AudienceSet(parties=[world.federation.id("FR")])]
    message = nl.check_message("x", audience_hash=audience_hash(b"s" * 16, sets))
    del message.audience_sets[:]
    message.audience_sets.extend(sets)
    nl.link.send(check=message)
    world.settle()
    assert de.link.closed == "protocol_violation"
    assert (nl.told, de.told) == ([], [])
