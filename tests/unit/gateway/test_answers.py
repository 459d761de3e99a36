"""Answers, edges and refusals at the hub (3.4 (2) to (4))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.protocol.certificate import NEVER_ASKED
from concordat.wire.v1 import check_pb2, session_pb2
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from tests.unit.gateway.world import Link, Node, World


def edges(world: World) -> tuple[int, int]:
    """Return the numbers of live and void edges."""
    figures = world.ledger.figures()
    return figures["edges_live"], figures["edges_void"]


def answers_of(link: Link) -> list[check_pb2.Question]:
    return [frame.question for frame in link.seen if frame.HasField("question")]


def forged(check_id: bytes, position: int = 0, **changed: Any) -> check_pb2.Answer:
    """Return an answer with one hit, as a party that only guesses would send it."""
    content: dict[str, Any] = {
        "check_id": check_id,
        "positions": position.to_bytes(4, "little"),
        "references": b"r" * 16,
        "decisions": bytes([3]),
        "answer_macs": b"m" * 32,
        "namespaces": bytes([1]),
    }
    return check_pb2.Answer(**(content | changed))


def test_both_asking_at_once_are_told_once(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    de.check("x")
    world.window()
    assert told_once(nl, de)
    assert edges(world) == (1, 0)


def test_asking_again_and_again_tells_nobody_anew(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    for _ in range(3):
        nl.check("x")
        de.check("x", "y")
        world.window()
    assert told_once(nl, de)


def test_a_wrong_answer_mac_voids_the_edge_names_the_party_and_frees_the_key(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.bad_mac = True
    nl.check("x")
    world.window()
    assert (nl.told, len(nl.refused), de.voided) == ([], 1, nl.refused)
    assert edges(world) == (0, 1)
    named = [note for note in world.hubs[0].notes if "refused by" in note.text]
    assert [note.party for note in named] == [de.id]
    assert "wrong_answer_mac" in named[0].text
    # Its key is free: an honest answer tells both.
    de.bad_mac = False
    nl.check("x")
    world.window()
    assert sum(nl.times_told(de).values()) == 1
    assert edges(world) == (1, 1)


def test_a_holder_that_was_never_asked_voids_the_edge(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.settle()
    de.refuse(de.link, de.told[0], NEVER_ASKED)
    world.settle()
    assert nl.voided == [nl.told[0].edge_id]


def test_nobody_voids_an_edge_of_others(world: World) -> None:
    de, nl, fr = world.attached("DE", "x"), world.attached("NL", "x"), world.attached("FR")
    nl.check("x")
    world.settle()
    fr.refuse(fr.link, nl.told[0], NEVER_ASKED)
    world.settle()
    assert (edges(world), nl.voided, de.voided) == ((1, 0), [], [])


def test_a_refusal_signed_by_another_ends_the_session(world: World) -> None:
    nl, fr = world.attached("NL", "x"), world.attached("FR")
    world.attached("DE", "x")
    nl.check("x")
    world.settle()
    nl.refuse(fr.link, nl.told[0], NEVER_ASKED)
    world.settle()
    assert fr.link.closed == "bad_identity"
    assert edges(world) == (1, 0)


def test_an_answer_to_what_was_not_asked_opens_nothing(world: World) -> None:
    """A party whose plane never said 'maybe' cannot answer, whatever it saw."""
    de, nl, fr = world.attached("DE"), world.attached("NL", "x"), world.attached("FR", "x")
    check_id = nl.check("x")
    world.settle()
    de.link.send(answer=forged(check_id))
    world.settle()
    assert de.link.closed == "protocol_violation"
    assert nl.times_told(de) == {}
    assert told_once(nl, fr)


@pytest.mark.parametrize(
    "changed",
    [
        {"positions": (7).to_bytes(4, "little")},
        {"positions": b"odd"},
        {"references": b"r" * 17},
        {"references": b"r" * 32},
        {"decisions": b""},
        {"decisions": bytes([4])},
        {"answer_macs": b"m"},
        {"namespaces": bytes([0])},
        {"namespaces": bytes([99])},
    ],
    ids=str,
)
def test_an_answer_whose_columns_do_not_fit_ends_the_session(world: World, changed: dict[str, Any]) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.link.deaf = True
    check_id = nl.check("x")
    world.settle()
    de.link.send(answer=forged(check_id, **changed))
    world.settle()
    assert de.link.closed == "protocol_violation"
    assert edges(world) == (0, 0)


def test_a_weak_item_that_its_holder_confirmed_is_told_with_its_grade(world: World) -> None:
    """The hub cannot read group tags: what a second coincidence confirms is for the holder to judge."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    message = nl.check_message("x")
    message.items.grades = bytes([check_pb2.GRADE_WEAK])
    nl.link.send(check=message)
    world.settle()
    assert len(answers_of(de.link)) == 1
    assert told_once(nl, de)
    assert {one.grade for one in (*nl.told, *de.told)} == {check_pb2.GRADE_WEAK}


def test_an_item_is_answered_once_in_a_check(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    check_id = nl.check("x")
    world.settle()
    de.link.send(answer=forged(check_id))
    world.settle()
    assert told_once(nl, de)
    assert world.ledger.live_edges([((nl.id, nl.values["x"]), (de.id, de.values["x"]))])[0] is not None


def test_an_answer_after_the_certificate_is_ignored_and_the_holder_was_timed_out(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.link.deaf = True
    check_id = nl.check("x")
    world.window()
    assert nl.states(check_id)["DE"] == "timed_out"
    de.link.deaf = False
    world.settle()
    de.link.send(answer=forged(check_id))
    world.settle()
    assert (edges(world), de.link.closed) == ((0, 0), None)
    again = nl.check("x", only=["DE"])
    world.window()
    assert nl.states(again) == {"DE": "covered"}
    assert told_once(nl, de)


def test_an_answer_after_the_barrier_reply_takes_the_coverage_back(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.link.deaf = True
    check_id = nl.check("x")
    world.advance(0.25)
    barrier = next(frame.barrier for _, frame in de.link.inbox if frame.HasField("barrier"))
    reply = session_pb2.BarrierReply(tick=barrier.tick, index_sequence=barrier.required_sequence)
    de.link.send(barrier_reply=reply)
    de.link.send(answer=forged(check_id))
    world.advance(0.5)
    assert nl.states(check_id)["DE"] == "timed_out"


def test_a_holder_that_refuses_a_question_has_covered_nothing(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    other = world.attached("FR")
    check_id, theirs = nl.check("x"), other.check("y")
    de.link.send(answer=check_pb2.Answer(check_id=check_id, refused="stale_manifest"))
    world.window()
    assert nl.states(check_id)["DE"] == "timed_out"
    # The state is of the tick: equal for all askers.
    assert other.states(theirs)["DE"] == "timed_out"


def test_an_index_behind_the_ledger_does_not_cover(world: World) -> None:
    de, nl = world.attached("DE"), world.attached("NL", "x")
    de.publish("x")
    world.settle()
    de.index_sequence = 0
    check_id = nl.check("x")
    world.window()
    assert nl.states(check_id)["DE"] == "timed_out"


def test_without_a_ledger_nobody_is_covered(world: World) -> None:
    nl = world.attached("NL", "x")
    world.attached("DE", "x")
    world.hubs[0].ledger_up = False
    check_id = nl.check("x")
    world.window()
    assert set(nl.states(check_id).values()) == {"timed_out"}
    assert nl.told == []


def test_without_the_ledger_s_sequences_nobody_is_covered(world: World) -> None:
    nl = world.attached("NL", "x")
    world.attached("DE")
    world.hubs[0].hold_reads = True
    check_id = nl.check("x")
    world.window()
    assert set(nl.states(check_id).values()) == {"timed_out"}


def test_a_publish_that_is_not_durable_is_not_acknowledged(world: World) -> None:
    de = world.attached("DE")
    world.hubs[0].ledger_up = False
    de.publish("x")
    world.settle()
    assert "published" not in de.link.kinds()
    assert de.link.closed == "unavailable"


def test_a_restored_holder_with_a_new_reference_is_told_and_nobody_else(world: World) -> None:
    """C9: a new reference of a party that is there already replaces the old one."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.window()
    old = de.values.pop("x")
    de.publish("x")
    de.check("x")
    world.window()
    assert sum(nl.times_told(de).values()) == 1
    assert de.times_told(nl) == {old: 1, de.values["x"]: 1}
    assert edges(world) == (1, 0)


def test_matches_of_three_are_told_pair_by_pair(world: World) -> None:
    """C14: when two matches become one, nobody hears twice."""
    nodes = [world.attached(name) for name in ("NL", "DE", "FR", "RO")]
    for node in nodes:
        node.publish("x")
        world.settle()
        node.check("x")
        world.settle()
    world.window()
    pairs: list[tuple[Node, Node]] = [(one, two) for one in nodes for two in nodes if one.name < two.name]
    assert all(told_once(one, two) for one, two in pairs)
    assert edges(world) == (6, 0)


def test_look_once_is_marked_for_the_holder(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL")
    nl.keep("x")
    nl.check("x", look_once=True)
    world.window()
    assert [told.look_once for told in de.told] == [True]


def test_only_the_side_that_the_decision_names_is_told(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.decision = 1
    nl.check("x")
    world.window()
    assert (len(nl.told), len(de.told)) == (1, 0)
    # The holder may be told later, when the asker's policy lets it.
    de.decision = 3
    nl.check("x")
    world.window()
    assert told_once(nl, de)
    assert edges(world) == (1, 0)
