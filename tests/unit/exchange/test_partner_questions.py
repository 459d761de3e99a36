"""A holder and a partner's question (3.9): it checks the partner's right itself, and its officer sees who looked."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from concordat.protocol.check import audience_hash
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac
from concordat.wire.v1 import check_pb2
from services.node.audit import answered_checks
from services.node.events import Told
from services.node.exchange.answerer import Answerer
from services.node.matches import as_dict, as_table
from services.node.store.rows import MatchRow
from services.node.store.values import WEAK
from tests.unit.exchange.hub_by_hand import HubByHand
from tests.unit.exchange.parties import SALT, AskerByHand, Item, secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import ManualClock
    from tests.unit.exchange.parties import Federation, Party

THEIRS = b"r" * 16
PHONE, NAME, GUESS = "+447700900123", "site\nsomebody", "a guess"
NOTHING = check_pb2.Answer(check_id=b"c" * 16)
MATCH: dict[str, Any] = {
    "handle": "M-AAAA-BBBB-CCCC",
    "grade": 1,
    "told_at_ms": 0,
    "asked": False,
    "namespace": "e164",
    "typed": PHONE,
    "kind": "phone",
    "file_name": "list.csv",
    "line": 2,
    "case_reference": "case 1",
    "operation": "",
    "edge_id": b"e" * 16,
    "own_reference": b"o" * 16,
    "file_id": 1,
}


@pytest.fixture
def partner(federation: Federation, clock: ManualClock) -> AskerByHand:
    return AskerByHand("IJM", federation, clock)


@pytest.fixture
def held(holder: Party) -> Party:
    holder.submit(PHONE)
    holder.submit(NAME, namespace="account")
    holder.submit(GUESS, grade=WEAK)
    holder.publish()
    return holder


def answer(holder: Party, question: check_pb2.Question) -> check_pb2.Answer:
    identity = holder.federation.identity(holder.name)
    return Answerer(identity.spiffe, identity.manifest, holder.store, clock=holder.clock).answer(question)


def asks(holder: Party) -> list[tuple[object, ...]]:
    """Return what the store keeps of asks, strong and weak."""
    with holder.store.read() as db:
        return [row for table in ("witness", "weak_coincidence") for row in db.execute(f"SELECT * FROM {table}")]


def test_a_partner_s_query_is_answered_as_a_look_once_check_is(held: Party, partner: AskerByHand) -> None:
    header = partner.header(1, look_once=True)
    found = answer(held, partner.question(header, [Item(PHONE, THEIRS)]))
    own, decision = held.reference(PHONE), ASKER_TOLD | HOLDER_TOLD
    assert (found.refused, found.references, found.decisions) == ("", own, bytes([decision]))
    assert found.answer_macs == answer_mac(secret(PHONE), header.hash, held.id, (THEIRS, own), decision)
    assert held.store.has_witness(own, partner.federation.id("IJM"), THEIRS)


@pytest.mark.parametrize("purpose", ["detection", "prevention", "thb"])
def test_a_purpose_without_a_row_is_refused(held: Party, partner: AskerByHand, purpose: str) -> None:
    """I8: also where a row names the purpose and no namespace."""
    header = partner.header(1, look_once=True, purpose=purpose)
    assert answer(held, partner.question(header, [Item(PHONE, THEIRS)])).refused == "refused"
    assert asks(held) == []


@pytest.mark.parametrize(("purpose", "value"), [("investigation", NAME), ("missing_person", PHONE)])
def test_a_namespace_that_the_partner_may_not_query_is_answered_by_nobody(
    held: Party, partner: AskerByHand, purpose: str, value: str
) -> None:
    """As one that nobody holds: a gateway that muted nothing learns no more than from 'no hit'."""
    header = partner.header(1, look_once=True, purpose=purpose)
    assert answer(held, partner.question(header, [Item(value, THEIRS)])) == NOTHING
    assert asks(held) == []


def test_a_partner_s_weak_item_leaves_nothing(held: Party, partner: AskerByHand) -> None:
    header = partner.header(1, look_once=True)
    weak = Item(GUESS, THEIRS, grade=check_pb2.GRADE_WEAK)
    assert answer(held, partner.question(header, [weak])) == NOTHING
    assert asks(held) == []


def test_a_partner_keeps_no_record_and_leaves_no_holder_out(held: Party, partner: AskerByHand) -> None:
    kept = partner.header(1)
    assert answer(held, partner.question(kept, [Item(PHONE, THEIRS)])).refused == "protocol_violation"
    sets = (check_pb2.AudienceSet(parties=[partner.federation.id("DE")]),)
    narrow = partner.header(1, look_once=True, audience_hash=audience_hash(SALT, sets))
    question = partner.question(narrow, [Item(PHONE, THEIRS)], audience_sets=sets)
    assert answer(held, question).refused == "protocol_violation"
    assert asks(held) == []


def test_a_holder_that_did_not_opt_in_refuses_partners(party: Callable[[str], Party], partner: AskerByHand) -> None:
    de = party("DE")
    de.submit(PHONE)
    de.publish()
    header = partner.header(1, look_once=True)
    assert answer(de, partner.question(header, [Item(PHONE, THEIRS)])).refused == "refused"


def test_a_console_asks_nothing_even_if_a_table_names_its_class(held: Party, partner: AskerByHand) -> None:
    manifest = held.federation.manifest
    console = next(one for one in manifest.parties if one.spiffe.role == "console")
    open_to_all = manifest.model_copy(update={"opt_in": {**manifest.opt_in, "NL": (console.party_class,)}})
    asker = AskerByHand("console", held.federation, held.clock)
    header = asker.header(1, look_once=True, manifest_hash=open_to_all.hash)
    identity = held.federation.identity("NL")
    node = Answerer(identity.spiffe, open_to_all, held.store, clock=held.clock)
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)])).refused == "refused"


def told_of(holder: Party, partner: AskerByHand, **fields: object) -> check_pb2.Told:
    content: dict[str, object] = {
        "edge_id": b"e" * 16,
        "handle": "M-AAAA-BBBB-CCCC",
        "own_reference": holder.reference(PHONE),
        "other": partner.federation.id("IJM"),
        "other_reference": THEIRS,
        "grade": check_pb2.GRADE_STRONG,
        "told_at_ms": int(holder.clock.now() * 1000),
        "check_id": b"c" * 16,
        "decision": 3,
        "look_once": True,
    }
    return check_pb2.Told(**(content | fields))  # type: ignore[arg-type]  # by name, for brevity


def test_an_officer_sees_that_a_partner_looked_once(held: Party, partner: AskerByHand) -> None:
    hub = HubByHand(held)
    hub.attach()
    question = partner.question(partner.header(1, look_once=True), [Item(PHONE, THEIRS)])
    hub.give(question=question)
    assert hub.refusals(hub.tell(told_of(held, partner))) == []
    assert [event.other for event in held.events if isinstance(event, Told)] == [partner.federation.id("IJM")]
    match = MatchRow(**(MATCH | {"other": partner.federation.id("IJM"), "look_once": True}))
    screen = io.StringIO()
    Console(file=screen, width=120).print(as_table([match]))
    assert "IJM (partner)" in screen.getvalue()
    assert "looked once" in screen.getvalue()
    assert as_dict(match)["other_looks_once"] is True
    with held.store.read() as db:
        (seen,) = answered_checks(db)
    assert (seen.asker, seen.looked_once, seen.shown) == (partner.federation.id("IJM"), True, 1)


def test_a_hub_cannot_invent_that_a_partner_asked(held: Party, partner: AskerByHand) -> None:
    """The edge is refused, and nothing is asked again: a partner holds nothing that a node could ask for."""
    hub = HubByHand(held)
    hub.attach()
    assert hub.refusals(hub.tell(told_of(held, partner))) == [("IJM", "never_asked")]
    assert hub.refusals(hub.tell(told_of(held, partner, edge_id=b"f" * 16, asked=True))) == [
        ("IJM", "wrong_answer_mac")
    ]
    assert not [event for event in held.events if isinstance(event, Told)]
    assert {holder for _, holder in held.pending()} == {"DE", "FR"}


def test_a_void_edge_with_a_partner_wakes_nobody(held: Party, partner: AskerByHand) -> None:
    hub = HubByHand(held)
    hub.attach()
    hub.give(question=partner.question(partner.header(1, look_once=True), [Item(PHONE, THEIRS)]))
    hub.tell(told_of(held, partner))
    hub.void(b"e" * 16)
    assert {holder for _, holder in held.pending()} == {"DE", "FR"}
    assert [row.state for row in held.store.all_told()] == ["voided"]
