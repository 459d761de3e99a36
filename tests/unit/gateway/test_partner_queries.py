"""A partner's query from question to certificate (3.9), over the exchange without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConcordatError
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import audience_hash, parse_header
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD
from concordat.wire.v1 import check_pb2
from gateway.ledger import Tombstone
from gateway.query import SpentQueries
from gateway.rules import Limits
from tests.unit.gateway.partners import ACCOUNT, E164, EMAIL, coverage, partner
from tests.unit.gateway.test_tokens_forgotten import holds
from tests.unit.gateway.world import Node, secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import World


def rows(world: World, table: str) -> list[Any]:
    """Return all rows of one of the ledger's tables."""
    with world.ledger._engine.connect() as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table}"))


def questions(node: Node) -> list[check_pb2.Question]:
    """Return what a node was asked."""
    return [frame.question for link in node.links for frame in link.seen if frame.HasField("question")]


def test_a_hit_is_proven_by_its_holder_and_both_are_told(world: World) -> None:
    de, ijm = world.attached("DE", "x", "y"), partner(world)
    nl = world.attached("NL", "z")
    outcome = ijm.query(world, "x", "nobody's", "z")
    assert ijm.verified(outcome) == [("x", "DE"), ("z", "NL")]
    assert coverage(outcome) == {"NL": "covered", "DE": "covered", "FR": "offline", "RO": "offline"}
    header = next(iter(ijm.sent.values())).header
    accept_certificate(outcome.certificate, header=header, manifest=world.federation.manifest)
    for holder in (de, nl):
        assert [(one.other, one.asked, one.look_once) for one in holder.told] == [(ijm.id, False, True)]


def test_a_repeated_query_is_answered_again_and_tells_nobody_again(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    first = ijm.query(world, "x")
    written = [rows(world, table) for table in ("edge", "told", "notice")]
    for _ in range(3):
        again = ijm.query(world, "x")
        assert ijm.verified(again) == [("x", "DE")]
        assert [one.reference for one in again.hits] == [one.reference for one in first.hits]
    assert len(de.told) == 1
    assert [rows(world, table) for table in ("edge", "told", "notice")] == written


@pytest.mark.parametrize("call", [lambda number: bytes([number]) * 16, lambda _: b"one for all.....", None])
def test_what_a_partner_calls_its_values_changes_no_row(world: World, call: Callable[[int], bytes] | None) -> None:
    """New references in each query, one for all values, or the holder's own: told once each, and nothing is merged."""
    de, ijm = world.attached("DE", "x", "y"), partner(world)
    nl = world.attached("NL", "x")
    written = []
    for number in range(3):
        ijm.values = dict.fromkeys("xy", call(number)) if call else dict(de.values)
        assert ijm.verified(ijm.query(world, "x", "y")) == [("x", "DE"), ("x", "NL"), ("y", "DE")]
        written.append([rows(world, table) for table in ("edge", "told", "notice")])
    assert written[1:] == written[:-1]
    assert [len(one) for one in written[0]] == [3, 6, 3]
    assert sorted(one.own_reference for one in de.told) == sorted(de.values.values())
    assert {one.other_reference for one in de.told} <= {call(0)} if call else set(de.values.values())
    # What nodes know of each other is as if nobody had asked.
    de.check("x")
    world.window()
    assert de.times_told(nl) == {de.values["x"]: 1}
    assert nl.times_told(de) == {nl.values["x"]: 1}


def test_nothing_waits_for_a_partner_that_takes_no_notices(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    ijm.query(world, "x")
    # A restored holder knows of no ask: the edge is void, and its other side has no list either.
    de.refuse(de.link, de.told[0], "never_asked")
    world.settle()
    assert world.ledger.notices_above(ijm.id, 0, limit=10) == []
    assert ijm.verified(ijm.query(world, "x")) == [("x", "DE")]
    assert len(de.told) == 2


def test_a_token_that_was_only_seen_is_no_hit_and_tells_nobody(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    ijm.secret_of = lambda value: secret(f"not {value}")
    outcome = ijm.query(world, "x")
    assert questions(de), "the holder was asked"
    assert (outcome.hits, de.told, rows(world, "edge")) == ((), [], [])
    assert coverage(outcome)["DE"] == "covered"


def test_muted_items_are_sent_to_nobody_and_answered_by_nobody(world: World) -> None:
    de, ijm = world.attached("DE", "x", "y"), partner(world)
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x", "y"), muted=frozenset({0}))
    world.window()
    assert [question.positions for question in questions(de)] == [(1).to_bytes(4, "little")]
    assert [hit.position for hit in hub.outcomes[number].hits] == [1]
    # A holder that answers it all the same breaks the protocol.
    message = ijm.message("x", "y")
    number = ijm.ask(hub, message, muted=frozenset({0}))
    world.settle()
    check_id = check_pb2.CheckHeader.FromString(message.header).check_id
    answer = check_pb2.Answer(
        check_id=check_id,
        positions=bytes(4),
        references=de.values["x"],
        decisions=b"\x03",
        answer_macs=bytes(32),
        namespaces=bytes([E164]),
    )
    de.link.send(answer=answer)
    world.window()
    assert [hit.position for hit in hub.outcomes[number].hits] == [1]
    assert de.link.closed == "protocol_violation"


def test_what_no_row_allows_is_sent_to_nobody_whatever_the_caller_of_the_core_says(world: World) -> None:
    de, ijm = world.attached("DE", "x", "y"), partner(world)
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x", "y"), namespaces=bytes([ACCOUNT, E164]))
    other = ijm.ask(hub, ijm.message("x", "y"), namespaces=bytes([0, 200]))
    world.window()
    assert [question.positions for question in questions(de)] == [(1).to_bytes(4, "little")]
    assert [hit.position for hit in hub.outcomes[number].hits] == [1]
    assert hub.outcomes[other].hits == ()


def test_a_value_of_another_namespace_than_declared_is_no_hit_and_is_noted(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x"), namespaces=bytes([EMAIL]))
    world.window()
    assert (hub.outcomes[number].hits, de.told, rows(world, "edge")) == ((), [], [])
    assert [note.party for note in hub.notes if "namespace" in note.text] == [ijm.id]
    assert coverage(hub.outcomes[number])["DE"] == "covered"


@pytest.mark.parametrize("decision", [0, HOLDER_TOLD])
def test_a_silent_holder_is_in_no_note(world: World, decision: int) -> None:
    """I11: not even where the partner declared another namespace."""
    de, ijm = world.attached("DE", "x"), partner(world)
    de.decision = decision
    ijm.ask(world.hubs[0], ijm.message("x"), namespaces=bytes([EMAIL]))
    world.window()
    assert [note for note in world.hubs[0].notes if "namespace" in note.text] == []


def test_without_durable_edges_there_is_no_hit_and_nobody_is_covered(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    hub = world.hubs[0]
    hub.ledger_up = False
    outcome = ijm.query(world, "x")
    assert questions(de)
    assert outcome.hits == ()
    assert set(coverage(outcome).values()) == {"timed_out"}
    hub.ledger_up = True
    assert ijm.verified(ijm.query(world, "x")) == [("x", "DE")]


def test_a_write_that_is_late_is_no_hit_either(world: World) -> None:
    ijm = partner(world)
    world.attached("DE", "x")
    world.hubs[0].hold_writes = True
    outcome = ijm.query(world, "x")
    assert outcome.hits == ()
    assert set(coverage(outcome).values()) == {"timed_out"}


def test_a_value_that_its_holder_has_withdrawn_is_no_hit(world: World) -> None:
    """C12: no edge opens with a dead reference, so nobody may hear of one."""
    de, nl, ijm = world.attached("DE", "x"), world.attached("NL", "x"), partner(world)
    world.ledger.write([Tombstone(de.id, de.values["x"])])
    outcome = ijm.query(world, "x")
    assert ijm.verified(outcome) == [("x", "NL")]
    assert (len(nl.told), de.told) == (1, [])


def test_a_value_that_its_holder_withdraws_before_the_certificate_is_no_hit(world: World) -> None:
    """3.8: also where the edge was opened before, and from then on."""
    de, nl, ijm = world.attached("DE", "x"), world.attached("NL", "x"), partner(world)
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x"))
    world.settle()
    assert (len(nl.told), len(de.told)) == (1, 1)
    de.withdraw("x")
    world.window()
    assert ijm.verified(hub.outcomes[number]) == [("x", "NL")]
    assert coverage(hub.outcomes[number])["DE"] == "covered"
    assert ijm.verified(ijm.query(world, "x")) == [("x", "NL")]
    assert (de.receipts, nl.withdrawn) == ([], []), "a partner has no list, and gives no receipt"


def test_a_holder_that_disowns_its_answer_is_no_hit_and_not_covered(world: World) -> None:
    """It was restored since, and knows of no ask; it is timed out for all askers of that tick alike."""
    de, nl, ijm = world.attached("DE", "x"), world.attached("NL", "x", "y"), partner(world)
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x", "y"))
    check_id = nl.check("z")
    world.settle()
    de.refuse(de.link, de.told[0], "never_asked")
    world.window()
    outcome = hub.outcomes[number]
    assert ijm.verified(outcome) == [("x", "NL"), ("y", "NL")]
    assert coverage(outcome) == {"NL": "covered", "DE": "timed_out", "FR": "offline", "RO": "offline"}
    assert nl.states(check_id)["DE"] == "timed_out"
    assert ijm.verified(ijm.query(world, "x")) == [("x", "DE"), ("x", "NL")]


def test_a_silent_holder_that_disowns_an_edge_changes_nothing(world: World) -> None:
    """I11."""
    de, ijm = world.attached("DE", "x"), partner(world)
    de.decision = HOLDER_TOLD
    hub = world.hubs[0]
    number = ijm.ask(hub, ijm.message("x"))
    world.settle()
    de.refuse(de.link, de.told[0], "never_asked")
    world.window()
    assert coverage(hub.outcomes[number])["DE"] == "covered"


def test_who_did_not_answer_in_time_is_not_covered(world: World) -> None:
    """I6."""
    de, ijm = world.attached("DE", "x"), partner(world)
    world.attached("NL")
    de.link.deaf = True
    outcome = ijm.query(world, "x")
    assert outcome.hits == ()
    assert coverage(outcome)["DE"] == "timed_out"
    assert coverage(outcome)["NL"] == "covered"


def test_tokens_are_gone_with_the_certificate(world: World) -> None:
    """I2: also where nobody waits for the outcome any more."""
    ijm = partner(world)
    world.attached("DE", "x")
    ijm.ask(world.hubs[0], ijm.message("x"))
    assert holds(world, "x"), "the search finds what is there"
    world.window()
    assert world.hubs[0].exchange.in_flight == 0
    assert not holds(world, "x")


def test_a_query_is_logged_with_its_reason_and_without_what_was_asked(world: World) -> None:
    """I5."""
    ijm = partner(world)
    ijm.query(world, "x")
    ((asker, _, purpose, operation, reason, count, _),) = rows(world, "check_log")
    assert (asker, purpose, operation, reason, count) == (ijm.id, "investigation", "", b"j" * 32, 1)


NARROW = [check_pb2.AudienceSet(parties=["spiffe://test.example/node/NL"])]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"purpose": "detection"}, "refused"),
        ({"purpose": "prevention"}, "refused"),
        ({"purpose": ""}, "justification_missing"),
        ({"justification_hash": b""}, "justification_missing"),
        ({"look_once": False}, "protocol_violation"),
        ({"count": 2}, "protocol_violation"),
        ({"epoch": 7}, "stale_epoch"),
        ({"manifest_hash": bytes(32)}, "stale_manifest"),
        ({"federation": "other.example"}, "refused"),
        ({"asker": "spiffe://test.example/partner/ECPAT"}, "bad_identity"),
        ({"asker": "spiffe://test.example/node/NL"}, "bad_identity"),
        ({"expires_at_ms": 1_800_000_030_000}, "expired"),
        ({"issued_at_ms": 1_800_000_090_000}, "expired"),
        ({"audience_hash": audience_hash(b"s" * 16, NARROW)}, "protocol_violation"),
    ],
)
def test_a_header_that_a_partner_may_not_sign_is_refused_before_anybody_is_asked(
    world: World, fields: dict[str, object], code: str
) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(world.hubs[0], ijm.message("x", **fields))
    assert refusal.value.code == code
    world.window()
    assert (questions(de), rows(world, "check_log"), world.hubs[0].outcomes) == ([], [], {})
    assert not holds(world, "x")


def changed(message: check_pb2.Check, **content: Any) -> check_pb2.Check:
    """Return a message with other unsigned content."""
    other = check_pb2.Check.FromString(message.SerializeToString())
    for name, value in content.items():
        if name == "grades":
            other.items.grades = value
        elif name == "audience_sets":
            del other.audience_sets[:]
            other.audience_sets.extend(value)
        else:
            getattr(other, name).extend(value)
    return other


def test_a_query_is_of_strong_items_of_everybody(world: World) -> None:
    ijm = partner(world)
    hub, nl = world.hubs[0], world.federation.id("NL")
    narrow = ijm.message("x", audience_hash=audience_hash(b"s" * 16, NARROW))
    for message in (
        changed(ijm.message("x"), grades=bytes([check_pb2.GRADE_WEAK])),
        changed(ijm.message("x"), only_holders=[nl]),
        changed(narrow, audience_sets=NARROW),
    ):
        with pytest.raises(ConcordatError) as refusal:
            ijm.ask(hub, message)
        assert refusal.value.code == "protocol_violation"


def test_a_query_has_at_most_a_thousand_items(world: World) -> None:
    ijm = partner(world)
    values = [str(number) for number in range(1001)]
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(world.hubs[0], ijm.message(*values))
    assert refusal.value.code == "too_large"
    ijm.ask(world.hubs[0], ijm.message(*values[1:]))


def test_a_node_does_not_query_and_a_partner_has_no_session(world: World) -> None:
    """I8."""
    nl, ijm = world.attached("NL", "x"), partner(world)
    message = nl.check_message("x", look_once=True, purpose="investigation")
    with pytest.raises(ConcordatError) as refusal:
        world.hubs[0].exchange.query(nl.id, message, namespaces=bytes([E164]), muted=frozenset())
    assert refusal.value.code == "refused"
    with pytest.raises(ConcordatError) as closed:
        ijm.dial(world.hubs[0])
    assert closed.value.code == "bad_identity"


def test_another_partner_s_query_is_refused(world: World) -> None:
    """Recorded and presented as one's own, or put under one's own header."""
    ijm, ecpat = partner(world), partner(world, "ECPAT")
    de = world.attached("DE", "x")
    hub, recorded = world.hubs[0], ijm.message("x")
    with pytest.raises(ConcordatError) as refusal:
        ecpat.ask(hub, recorded)
    assert refusal.value.code == "bad_identity"
    mine = ecpat.message("x")
    mine.items.CopyFrom(recorded.items)
    number = ecpat.ask(hub, mine)
    world.window()
    assert (hub.outcomes[number].hits, de.told) == ((), [])


def test_a_query_is_asked_once(world: World) -> None:
    """A holder would answer nothing to other items under its header."""
    ijm, hub = partner(world), world.hubs[0]
    de = world.attached("DE", "x", "y")
    message = ijm.message("x")
    ijm.ask(hub, message)
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(hub, message)
    assert refusal.value.code == "request_reused"
    world.window()
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(hub, message)
    assert refusal.value.code == "request_reused"
    assert len(questions(de)) == 1
    world.advance(600)
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(hub, message)
    assert refusal.value.code == "expired"


def test_what_is_spent_is_forgotten_with_its_header(world: World) -> None:
    ijm = partner(world)
    spent, clock = SpentQueries(max_items_of_asker=2000), world.clock
    for _ in range(3):
        message = ijm.message("x")
        header = parse_header(message.header, message.signature)
        spent.admit(header, now=clock.now())
        assert len(spent) == 1
        clock.advance(600)


def test_a_check_id_is_in_use_once_whoever_uses_it(world: World) -> None:
    ijm, hub = partner(world), world.hubs[0]
    nl = world.attached("NL", "x")
    check_id = nl.check("x")
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(hub, ijm.message("x", check_id=check_id))
    assert refusal.value.code == "request_reused"
    message = ijm.message("x")
    ijm.ask(hub, message)
    nl.check("x", check_id=check_pb2.CheckHeader.FromString(message.header).check_id)
    world.settle()
    assert [frame.check_refused.code for frame in nl.link.seen if frame.HasField("check_refused")] == ["request_reused"]


@pytest.mark.parametrize("limits", [Limits(checks_in_flight=2), Limits(query_items_alive=2000)])
def test_a_partner_has_a_bounded_number_of_queries(make_world: Callable[..., World], limits: Limits) -> None:
    world = make_world(limits=limits)
    ijm, ecpat, hub = partner(world), partner(world, "ECPAT"), world.hubs[0]
    values = [str(number) for number in range(900)]
    for _ in range(2):
        ijm.ask(hub, ijm.message(*values))
    with pytest.raises(ConcordatError) as refusal:
        ijm.ask(hub, ijm.message(*values))
    assert refusal.value.code == "busy"
    ecpat.ask(hub, ecpat.message(*values))
    # Holders remember them until their own clocks say that the headers have expired.
    world.advance(661)
    ijm.ask(hub, ijm.message(*values))


def test_the_asker_may_know_and_the_holder_need_not(world: World) -> None:
    de, ijm = world.attached("DE", "x"), partner(world)
    de.decision = ASKER_TOLD
    assert ijm.verified(ijm.query(world, "x")) == [("x", "DE")]
    assert de.told == []
