"""Questions and barriers: a barrier is answered after all answers of its tick, from one index (3.4 step 5).

The index may grow between a question and its barrier. The questions of the tick are then looked up again, and new hits
leave before the barrier's reply, so that the reply's sequence is true for every answer. Where questions are too many to
be looked up again, the reply names the lower sequence from which they were answered.

A tick's questions are one trace of this node's own: the asker's is not in them, and no other party sees it (I11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, SpanKind

from concordat import telemetry
from concordat.wire.v1 import check_pb2, session_pb2

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from services.node.exchange.answerer import Answerer
    from services.node.store.store import Store

MAX_OPEN_QUESTIONS: Final = 10_000
# A gateway that sends no barriers must not make this node keep spans without end.
MAX_OPEN_TICKS: Final = 64


class _Open(NamedTuple):
    tick: int
    sequence: int
    question: check_pb2.Question
    hits: frozenset[bytes]


class Ticks:
    """Answers questions and barriers in the order in which they came."""

    def __init__(self, answerer: Answerer, store: Store, *, own: str = "") -> None:
        self._own = own
        self._spans: dict[int, Span] = {}
        self._answerer = answerer
        self._store = store
        self._open: list[_Open] = []
        self._floors: dict[int, int] = {}

    def detach(self) -> None:
        """Forget the session's open ticks."""
        self._open.clear()
        self._floors.clear()
        self._end_spans()

    def question(self, question: check_pb2.Question) -> check_pb2.Answer:
        """Answer a question, and keep it until its tick ends.

        Raises:
            ProtocolError: The header cannot be read.
        """
        with telemetry.active(self._span(question)):
            return self._answer(question)

    def _answer(self, question: check_pb2.Question) -> check_pb2.Answer:
        # Read before the look-up: an index that grows in between is then looked up once too often, never too seldom.
        sequence = self._store.sequence()
        answer = self._answerer.answer(question)
        if answer.refused:
            # The gateway covers nobody that refused a question of the tick; the barrier is answered all the same.
            return answer
        if len(self._open) >= MAX_OPEN_QUESTIONS:
            self._floors.setdefault(question.tick, sequence)
        else:
            self._open.append(_Open(question.tick, sequence, question, _positions(answer)))
        return answer

    def barrier(self, barrier: session_pb2.Barrier) -> list[session_pb2.NodeFrame]:
        """Return late hits of the tick, and then the reply."""
        sequence = self._store.sequence()
        all_published = self._store.all_published()
        frames: list[session_pb2.NodeFrame] = []
        unread: list[int] = []
        for one in self._open:
            if one.tick <= barrier.tick and one.sequence < sequence:
                again = self._answerer.answer(one.question)
                if again.refused:
                    # Nobody may take what came since for looked up (I6).
                    unread.append(one.sequence)
                answer = _only_new(again, one.hits)
                if answer is not None:
                    frames.append(session_pb2.NodeFrame(answer=answer))
        self._open = [one for one in self._open if one.tick > barrier.tick]
        floors = [self._floors.pop(tick) for tick in list(self._floors) if tick <= barrier.tick]
        reply = session_pb2.BarrierReply(
            tick=barrier.tick, index_sequence=min([sequence, *floors, *unread]), all_published=all_published
        )
        self._end_spans(barrier.tick)
        return [*frames, session_pb2.NodeFrame(barrier_reply=reply)]

    def _span(self, question: check_pb2.Question) -> Span:
        """Return the span of the question's tick; none for a question of which this node may keep no trace (3.4)."""
        if not _is_for(question, self._own):
            return INVALID_SPAN
        found = self._spans.get(question.tick)
        if found is None and len(self._spans) < MAX_OPEN_TICKS:
            found = telemetry.tracer().start_span("questions", context=Context(), kind=SpanKind.SERVER)
            self._spans[question.tick] = found
        return found or INVALID_SPAN

    def _end_spans(self, until: int | None = None) -> None:
        for tick in [tick for tick in self._spans if until is None or tick <= until]:
            self._spans.pop(tick).end()


def _is_for(question: check_pb2.Question, own: str) -> bool:
    """Tell whether the audience of one item at least has this node in it."""
    sets = question.audience_sets
    used = set(question.items.audiences) or {0}
    return any(sets[at].everyone or own in sets[at].parties for at in used if at < len(sets))


def _positions(answer: check_pb2.Answer) -> frozenset[bytes]:
    return frozenset(answer.positions[at : at + 4] for at in range(0, len(answer.positions), 4))


def _only_new(answer: check_pb2.Answer, known: frozenset[bytes]) -> check_pb2.Answer | None:
    """Return an answer with the hits whose positions are not known yet, or None where there are none."""
    number = len(answer.decisions)
    new = [at for at in range(number) if answer.positions[at * 4 : at * 4 + 4] not in known]
    if not new or answer.refused:
        return None

    def chosen(packed: bytes, width: int) -> bytes:
        return b"".join([packed[at * width : (at + 1) * width] for at in new])

    return check_pb2.Answer(
        check_id=answer.check_id,
        positions=chosen(answer.positions, 4),
        references=chosen(answer.references, 16),
        decisions=chosen(answer.decisions, 1),
        answer_macs=chosen(answer.answer_macs, 32),
        namespaces=chosen(answer.namespaces, 1),
    )
