"""A barrier is answered after all answers of its tick, and its sequence is true for each of them (3.4 step 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.wire.v1 import session_pb2
from services.node.exchange import ticks
from tests.unit.exchange.hub_by_hand import HubByHand
from tests.unit.exchange.parties import AskerByHand, Item, Party

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import ManualClock

PHONE, OTHER = "+447700900001", "+447700900002"


@pytest.fixture
def hub(party: Callable[[str], Party]) -> HubByHand:
    hub = HubByHand(party("NL"))
    hub.attach()
    return hub


def frames_of(hub: HubByHand, *content: dict[str, object]) -> list[session_pb2.NodeFrame]:
    frames = [session_pb2.HubFrame(**one) for one in content]  # type: ignore[arg-type]  # one of the oneof's fields
    return hub.party.core.step(frames, work=False)


def barrier(tick: int) -> dict[str, object]:
    return {"barrier": session_pb2.Barrier(tick=tick)}


def test_the_reply_follows_the_answers_and_names_the_index(hub: HubByHand, asker: AskerByHand) -> None:
    hub.party.submit(PHONE)
    hub.party.publish()
    question = asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])
    answer, reply = frames_of(hub, {"question": question}, barrier(1))
    assert answer.answer.references == hub.party.reference(PHONE)
    assert reply.barrier_reply == session_pb2.BarrierReply(tick=1, index_sequence=1, all_published=True)


def test_what_is_not_published_yet_is_said(hub: HubByHand) -> None:
    hub.party.submit(PHONE)
    (reply,) = frames_of(hub, barrier(1))
    assert reply.barrier_reply == session_pb2.BarrierReply(tick=1, index_sequence=0, all_published=False)


def test_an_index_that_grew_since_a_question_is_looked_up_again_before_the_reply(
    hub: HubByHand, asker: AskerByHand
) -> None:
    """Else the reply would say 'from sequence 1' of an answer that came from sequence 0, and a match would be lost."""
    question = asker.question(asker.header(2), [Item(PHONE, b"t" * 16), Item(OTHER, b"u" * 16)])
    (early,) = frames_of(hub, {"question": question})
    assert not early.answer.references
    hub.party.submit(PHONE)
    hub.party.publish()
    late, reply = frames_of(hub, barrier(1))
    assert late.answer.positions == (0).to_bytes(4, "little")
    assert late.answer.references == hub.party.reference(PHONE)
    assert reply.barrier_reply.index_sequence == 1


def test_a_hit_that_was_answered_is_not_answered_again_at_the_barrier(hub: HubByHand, asker: AskerByHand) -> None:
    hub.party.submit(PHONE)
    hub.party.publish()
    frames_of(hub, {"question": asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])})
    hub.party.submit(OTHER)
    hub.party.publish()
    (reply,) = frames_of(hub, barrier(1))
    assert reply.barrier_reply.index_sequence == 2


def test_a_barrier_leaves_the_questions_of_later_ticks_alone(hub: HubByHand, asker: AskerByHand) -> None:
    question = asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])
    question.tick = 2
    frames_of(hub, {"question": question})
    hub.party.submit(PHONE)
    hub.party.publish()
    assert len(frames_of(hub, barrier(1))) == 1
    assert len(frames_of(hub, barrier(2))) == 2


def test_too_many_questions_to_look_up_again_make_the_reply_name_the_lower_sequence(
    hub: HubByHand, asker: AskerByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "MAX_OPEN_QUESTIONS", 0)
    frames_of(hub, {"question": asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])})
    hub.party.submit(PHONE)
    hub.party.publish()
    (reply,) = frames_of(hub, barrier(1))
    assert reply.barrier_reply.index_sequence == 0


def test_a_question_that_cannot_be_looked_up_again_makes_the_reply_name_the_older_index(
    hub: HubByHand, asker: AskerByHand, clock: ManualClock
) -> None:
    """I6: else the holder would be covered for what came since, and nobody would ever look it up."""
    frames_of(hub, {"question": asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])})
    hub.party.submit(PHONE)
    hub.party.publish()
    clock.advance(60)
    (reply,) = frames_of(hub, barrier(1))
    assert reply.barrier_reply.index_sequence == 0


def test_a_refused_question_is_answered_as_refused_and_the_barrier_all_the_same(
    hub: HubByHand, asker: AskerByHand
) -> None:
    question = asker.question(asker.header(1, epoch=9), [Item(PHONE, b"t" * 16)])
    answer, reply = frames_of(hub, {"question": question}, barrier(1))
    assert answer.answer.refused == "stale_epoch"
    assert reply.HasField("barrier_reply")


def test_what_a_failed_step_asserted_is_not_answered_from_memory(hub: HubByHand, asker: AskerByHand) -> None:
    """The witness was taken back with the step; the answer after it must store it again."""
    node, question = hub.party, asker.question(asker.header(1), [Item(PHONE, b"t" * 16)])
    node.submit(PHONE)
    node.publish()
    broken = session_pb2.HubFrame(question=question)
    node.core._receivers["barrier"] = _raise_os_error
    with pytest.raises(OSError, match="disk"):
        node.core.step([broken, session_pb2.HubFrame(barrier=session_pb2.Barrier(tick=1))], work=False)
    german = node.federation.id("DE")
    assert not node.store.has_witness(node.reference(PHONE), german, b"t" * 16)
    (answer,) = node.core.step([broken], work=False)
    assert answer.answer.references
    assert node.store.has_witness(node.reference(PHONE), german, b"t" * 16)


def _raise_os_error(_frame: session_pb2.HubFrame) -> list[session_pb2.NodeFrame]:
    raise OSError("disk")
