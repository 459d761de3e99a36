"""What a partner reads of its query: a result an item, coverage, and nothing that is not its own to know (3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.api.model import QueryResponse, Result, State
from concordat.errors import ConcordatError
from concordat.identity.manifest import Manifest, PartyClass
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import parse_header
from concordat.protocol.macs import HOLDER_TOLD, answer_mac
from concordat.wire.v1 import check_pb2, session_pb2
from tests.unit.gateway.partners import partner
from tests.unit.gateway.query_world import WorldHub, post, results
from tests.unit.gateway.world import secret, told_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Federation, Node, World


def states(response: QueryResponse) -> dict[str, State]:
    """Return each holder's state by short name."""
    return {one.party.rpartition("/")[2]: one.state for one in response.coverage}


def frames(node: Node) -> list[bytes]:
    """Return every frame that a node got, as bytes; edges' ids are drawn at random, so they say nothing."""
    found = []
    for frame in [frame for link in node.links for frame in link.seen]:
        plain = session_pb2.HubFrame.FromString(frame.SerializeToString())
        if plain.notice.HasField("told"):
            plain.notice.told.edge_id = b""
        found.append(plain.SerializeToString(deterministic=True))
    return found


def test_a_hit_a_miss_and_what_is_not_allowed(world: World) -> None:
    ijm = partner(world)
    de = world.attached("DE", "x", "z")
    message = ijm.message("x", "y", "z")
    response = post(world, ijm, message, namespaces=["e164", "email", "account"])
    assert results(response) == [Result.HIT, Result.NO_HIT, Result.NOT_ALLOWED]
    (hit,) = response.results[0].hits
    header = parse_header(message.header, message.signature)
    expected = answer_mac(secret("x"), header.hash, de.id, (ijm.values["x"], de.values["x"]), hit.decision)
    assert (hit.party, hit.reference, hit.answer_mac) == (de.id, de.values["x"], expected)
    assert hit.handle == world.ledger.handle(ijm.id, ijm.values["x"])
    assert response.request == header.fields.check_id.hex()
    assert response.certificate is not None
    certificate = check_pb2.Certificate(body=response.certificate.body, signature=response.certificate.signature)
    signed = accept_certificate(certificate, header=header, manifest=world.federation.manifest)
    assert {(one.holder, one.data_minute) for one in signed.holders} == {
        (one.party, one.data_minute) for one in response.coverage
    }
    assert states(response) == dict.fromkeys(("NL", "FR", "RO"), State.OFFLINE) | {"DE": State.COVERED}


def test_the_same_query_again_has_the_same_handle(world: World) -> None:
    ijm, ecpat = partner(world), partner(world, "ECPAT")
    world.attached("DE", "x")
    world.attached("NL", "x")
    first, again = (post(world, ijm, ijm.message("x")) for _ in range(2))
    assert first.results[0].hits != again.results[0].hits, "the MAC is bound to the header"
    handles = {hit.handle for one in (first, again) for hit in one.results[0].hits}
    assert len(handles) == 1
    assert handles.isdisjoint(hit.handle for hit in post(world, ecpat, ecpat.message("x")).results[0].hits)


def test_no_hit_is_said_of_covered_parties_only(world: World) -> None:
    """I6."""
    ijm = partner(world)
    assert results(post(world, ijm, ijm.message("x"))) == [Result.NOT_COVERED]
    de = world.attached("DE")
    assert results(post(world, ijm, ijm.message("x"))) == [Result.NO_HIT]
    de.link.mute_barrier = True
    late = post(world, ijm, ijm.message("x"))
    assert (results(late), states(late)["DE"]) == ([Result.NOT_COVERED], State.TIMED_OUT)


def test_without_an_allowed_item_nobody_is_asked_and_nothing_is_certified(world: World) -> None:
    ijm, hub = partner(world), WorldHub(world)
    world.attached("DE", "x")
    response = post(world, ijm, ijm.message("x", "y"), namespaces=["account", "no_such"], hub=hub)
    assert results(response) == [Result.NOT_ALLOWED] * 2
    assert (response.certificate, response.coverage, hub.asked) == (None, (), 0)


@pytest.mark.parametrize("purpose", ["detection", "prevention"])
def test_a_purpose_without_a_row_is_refused(world: World, purpose: str) -> None:
    ijm, hub = partner(world), WorldHub(world)
    with pytest.raises(ConcordatError) as refusal:
        post(world, ijm, ijm.message("x", purpose=purpose), hub=hub)
    assert (refusal.value.code, hub.asked) == ("refused", 0)


@pytest.mark.parametrize("namespaces", [["e164"], ["account"]])
def test_the_header_is_the_caller_s_own(world: World, namespaces: list[str]) -> None:
    ijm, ecpat, hub = partner(world), partner(world, "ECPAT"), WorldHub(world)
    with pytest.raises(ConcordatError) as refusal:
        post(world, ijm, ijm.message("x"), caller=ecpat, namespaces=namespaces, hub=hub)
    assert (refusal.value.code, hub.asked) == ("bad_identity", 0)
    forged = ijm.message("x")
    forged.signature = bytes(64)
    with pytest.raises(ConcordatError) as refusal:
        post(world, ijm, forged, namespaces=namespaces, hub=hub)
    assert (refusal.value.code, hub.asked) == ("bad_signature", 0)


def silent(world: World, *, holds: bool, decision: int) -> tuple[bytes, list[bytes]]:
    """Let a partner ask what a visible and perhaps a silent party hold; return what everybody but the latter sees."""
    nl, fr = world.attached("NL", "x"), world.attached("FR", "x", "y")
    nl.check("x")
    de = world.attached("DE")
    de.decision = decision
    de.publish("x" if holds else "nothing of theirs")
    de.publish("w" if holds else "nor this")
    world.advance(60)
    ijm, ecpat = partner(world), partner(world, "ECPAT")
    first = post(world, ijm, ijm.message("x", "w"))
    wrong = post(world, ijm, ijm.message("w"), namespaces=["email"])
    other = post(world, ecpat, ecpat.message("w"))
    again = post(world, ijm, ijm.message("x", "w"))
    nl.check("x")
    world.window()
    assert told_once(nl, fr)
    asked = [frame for link in de.links for frame in link.seen if frame.HasField("question")]
    assert bool(asked) == holds
    assert results(first) == [Result.HIT, Result.NO_HIT]
    seen = b"\n".join(one.model_dump_json().encode() for one in (first, wrong, other, again))
    return seen, [*frames(nl), *frames(fr), *(note.text.encode() for note in world.hubs[0].notes)]


@pytest.mark.parametrize("decision", [0, HOLDER_TOLD])
def test_a_silent_holder_changes_nothing_that_partners_or_other_parties_see(
    make_world: Callable[..., World], decision: int
) -> None:
    """I11: two worlds that differ by one silent holder, byte for byte and at equal times."""
    without = silent(make_world(), holds=False, decision=decision)
    assert silent(make_world(), holds=True, decision=decision) == without


def test_a_silent_decision_writes_nothing(world: World) -> None:
    """I11: no row of the ledger but the log's says that somebody asked."""
    de, ijm = world.attached("DE", "x"), partner(world)
    de.decision = 0
    post(world, ijm, ijm.message("x"))
    figures = world.ledger.figures()
    assert (figures["edges_live"], figures["notices"], figures["checks"]) == (0, 0, 1)


def answering(federation: Federation, *, partners: bool) -> Manifest:
    """Return the federation's manifest in which DE answers partners or not, with one hash for both.

    The hash is in headers, so in MACs and signatures, and would hide that nothing else differs.
    """
    manifest = federation.manifest
    classes = tuple(one for one in manifest.opt_in["DE"] if partners or one is not PartyClass.PARTNER)
    changed = manifest.model_copy(update={"opt_in": {**manifest.opt_in, "DE": classes}})
    changed.__dict__["hash"] = b"h" * 32
    return changed


def closed(world: World, *, holds: bool) -> tuple[QueryResponse, list[bytes], Node]:
    nl, fr = world.attached("NL", "x", "y"), world.attached("FR", "y")
    de = world.attached("DE", "x" if holds else "nothing of theirs", "y")
    ijm = partner(world)
    first = post(world, ijm, ijm.message("x", "z", "w"), namespaces=["e164", "email", "account"])
    nl.check("y")
    fr.check("y")
    world.window()
    assert told_once(nl, fr)
    assert told_once(nl, de)
    return first, [*frames(nl), *frames(fr), *(note.text.encode() for note in world.hubs[0].notes)], de


def test_a_node_that_did_not_opt_in_is_outside_and_nothing_else_changes(
    make_world: Callable[..., World], federation: Federation
) -> None:
    """I8: as a world in which it answers partners and holds nothing, but for that one state."""
    shut, others_shut, de = closed(make_world(manifest=answering(federation, partners=False)), holds=True)
    opened, others_open, _ = closed(make_world(manifest=answering(federation, partners=True)), holds=False)
    assert not [f for link in de.links for f in link.seen if f.HasField("question") and b"partner" in f.question.header]
    assert states(shut) == states(opened) | {"DE": State.OUTSIDE}
    assert states(opened)["DE"] is State.COVERED
    assert others_shut == others_open
    assert without_de(shut) == without_de(opened)
    assert results(shut) == [Result.HIT, Result.NO_HIT, Result.NOT_ALLOWED]


def without_de(response: QueryResponse) -> tuple[bytes, bytes]:
    """Return all of a response but what it says of DE, and the certificate's body likewise."""
    assert response.certificate is not None
    signed = check_pb2.CertificateBody.FromString(response.certificate.body)
    others = [one for one in signed.holders if not one.holder.endswith("/DE")]
    assert len(others) == len(signed.holders) - 1
    del signed.holders[:]
    signed.holders.extend(others)
    rest = tuple(one for one in response.coverage if not one.party.endswith("/DE"))
    plain = response.model_copy(update={"certificate": None, "coverage": rest})
    return plain.model_dump_json().encode(), signed.SerializeToString(deterministic=True)


def test_only_outside_and_absent_parties_make_a_query_not_covered(
    make_world: Callable[..., World], federation: Federation
) -> None:
    manifest = federation.manifest
    nobody = manifest.model_copy(update={"opt_in": dict.fromkeys(manifest.opt_in, (PartyClass.EU_STATE,))})
    world = make_world(manifest=nobody)
    world.attached("DE", "x")
    ijm = partner(world)
    response = post(world, ijm, ijm.message("x"))
    assert results(response) == [Result.NOT_COVERED]
    assert set(states(response).values()) == {State.OUTSIDE}
    assert response.certificate is not None


def test_every_state_of_a_certificate_has_a_word() -> None:
    names = [value.name for value in check_pb2.HolderState.DESCRIPTOR.values]
    assert {name.removeprefix("HOLDER_STATE_").lower() for name in names} - {"unspecified"} == set(State)
