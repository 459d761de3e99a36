"""A node's traces: what it asks goes on at the gateway, what it is asked is a trace of its own and no more (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from typing_extensions import override

from concordat.clock import ManualClock
from concordat.protocol.check import audience_hash
from concordat.telemetry.spans import parse
from concordat.wire.v1 import check_pb2, session_pb2
from services.node.exchange.answerer import Answerer
from services.node.exchange.ticks import MAX_OPEN_TICKS, Ticks
from services.node.traces import LASTS_S, MOST, CaseTraces
from tests.unit.exchange.hub_by_hand import COVERED, HubByHand
from tests.unit.exchange.parties import SALT, AskerByHand, Item, Party
from tests.unit.telemetry.spans import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PHONE, OTHER = "+447700900001", "+447700900002"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def recording() -> InMemorySpanExporter:
    return recorded()


@pytest.fixture
def spans(recording: InMemorySpanExporter) -> InMemorySpanExporter:
    recording.clear()
    return recording


@pytest.fixture
def hub(party: Callable[[str], Party]) -> HubByHand:
    hub = HubByHand(party("NL"))
    hub.attach()
    return hub


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (found,) = spans.get_finished_spans()
    return found


def ask(hub: HubByHand, asker: AskerByHand, *, check_id: bytes = b"c" * 16, tick: int = 1, told: str = "NL") -> None:
    """Ask the node, as a party that lets somebody be told of its record."""
    sets = (check_pb2.AudienceSet(parties=[hub.federation.id(told)]),)
    header = asker.header(1, check_id=check_id, audience_hash=audience_hash(SALT, sets))
    question = asker.question(header, [Item(PHONE, b"t" * 16)], audience_sets=sets)
    question.tick = tick
    hub.give(question=question)


def end(hub: HubByHand, tick: int = 1) -> None:
    hub.give(barrier=session_pb2.Barrier(tick=tick))


def test_the_questions_of_a_tick_are_one_span_without_content(
    hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter
) -> None:
    hub.party.submit(PHONE)
    # Whatever trace the session's thread may be in, it is not the one of the questions.
    with trace.use_span(trace.NonRecordingSpan(parse(TRACEPARENT) or trace.INVALID_SPAN_CONTEXT)):
        ask(hub, asker)
        ask(hub, asker, check_id=b"d" * 16)
        assert spans.get_finished_spans() == ()
        end(hub)
    found = only(spans)
    assert (found.name, found.parent, dict(found.attributes or {}), list(found.links)) == ("questions", None, {}, [])


def test_each_tick_has_a_trace_of_its_own(hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter) -> None:
    for tick in (1, 2):
        ask(hub, asker, check_id=bytes([tick]) * 16, tick=tick)
        end(hub, tick)
    ids = [one.context.trace_id for one in spans.get_finished_spans() if one.context is not None]
    assert len(set(ids)) == 2


def test_a_question_whose_audience_leaves_this_node_out_leaves_no_trace(
    hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter
) -> None:
    """DESIGN 3.4: such a question is answered in memory and leaves nothing on this node's disk, log or page."""
    hub.party.submit(PHONE)
    ask(hub, asker, told="FR")
    end(hub)
    assert spans.get_finished_spans() == ()
    ask(hub, asker, check_id=b"d" * 16, tick=2)
    end(hub, 2)
    assert only(spans).name == "questions"


def test_a_tick_without_questions_has_no_span(hub: HubByHand, spans: InMemorySpanExporter) -> None:
    end(hub)
    assert spans.get_finished_spans() == ()


def test_an_audience_that_does_not_exist_is_no_reason_to_fail(
    hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter
) -> None:
    question = asker.question(asker.header(1), [Item(PHONE, b"t" * 16, audience=7)], audience_sets=())
    (answer,) = hub.give(question=question)
    assert answer.answer.refused
    end(hub)
    assert spans.get_finished_spans() == ()


def test_a_gateway_without_barriers_does_not_fill_memory_with_spans(
    hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter
) -> None:
    for tick in range(1, MAX_OPEN_TICKS + 20):
        ask(hub, asker, check_id=tick.to_bytes(16, "big"), tick=tick)
    hub.party.core.detach()
    assert len(spans.get_finished_spans()) == MAX_OPEN_TICKS


class Watched(Answerer):
    """Says in which span it answered."""

    span: trace.Span = trace.INVALID_SPAN

    @override
    def answer(self, question: check_pb2.Question) -> check_pb2.Answer:
        self.span = trace.get_current_span()
        return super().answer(question)


def test_what_happens_for_a_question_has_its_trace(
    hub: HubByHand, asker: AskerByHand, spans: InMemorySpanExporter
) -> None:
    """So have the lines that are logged meanwhile."""
    party = hub.party
    identity = party.federation.identity(party.name)
    watched = Watched(identity.spiffe, identity.manifest, party.store, clock=party.clock)
    ticks = Ticks(watched, party.store, own=party.id)
    ticks.question(asker.question(asker.header(1), [Item(PHONE, b"t" * 16)]))
    ticks.barrier(session_pb2.Barrier(tick=1))
    assert watched.span.get_span_context() == only(spans).context
    assert watched.span.get_span_context().is_valid


def test_a_check_carries_its_trace_and_ends_with_its_certificate(hub: HubByHand, spans: InMemorySpanExporter) -> None:
    hub.party.submit(PHONE)
    (check,) = hub.work()
    assert spans.get_finished_spans() == ()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    found = only(spans)
    assert (found.name, found.kind.name, dict(found.attributes or {})) == ("check", "CLIENT", {})
    context = parse(check.traceparent)
    assert context is not None
    assert found.context is not None
    assert (context.trace_id, context.span_id) == (found.context.trace_id, found.context.span_id)


def test_a_check_that_was_refused_or_lost_ends_with_its_code(hub: HubByHand, spans: InMemorySpanExporter) -> None:
    hub.party.submit(PHONE)
    (check,) = hub.work()
    check_id = check_pb2.CheckHeader.FromString(check.header).check_id
    hub.give(check_refused=check_pb2.CheckRefused(check_id=check_id, code="+44 7700 900123"))
    assert dict(only(spans).attributes or {}) == {"concordat.code": "internal"}
    spans.clear()
    hub.party.submit(OTHER)
    hub.work()
    hub.party.core.detach()
    assert dict(only(spans).attributes or {}) == {"concordat.code": "unavailable"}


def test_the_trace_of_a_case_is_kept_for_a_while_and_for_few() -> None:
    clock = ManualClock(1_800_000_000.0)
    traces = CaseTraces(clock)
    assert traces.of(1) == ""
    traces.keep(1, TRACEPARENT)
    clock.advance(LASTS_S)
    assert traces.of(1) == TRACEPARENT
    clock.advance(1)
    assert traces.of(1) == ""
    for case_id in range(MOST + 1):
        traces.keep(case_id, TRACEPARENT)
    assert [case_id for case_id in range(MOST + 1) if not traces.of(case_id)] == [0]
