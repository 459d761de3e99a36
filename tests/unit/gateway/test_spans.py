"""Spans at the hub: one a check, in the asker's trace, and the same with and without a silent holder (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.protocol.check import parse_header
from concordat.telemetry.spans import parse
from concordat.wire.v1 import check_pb2
from tests.unit.gateway.test_silent_holder import views
from tests.unit.telemetry.spans import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.unit.gateway.world import Node, World

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(scope="module")
def recording() -> InMemorySpanExporter:
    return recorded()


@pytest.fixture
def spans(recording: InMemorySpanExporter) -> InMemorySpanExporter:
    recording.clear()
    return recording


def shape(spans: InMemorySpanExporter) -> list[tuple[object, ...]]:
    """Return all of the finished spans but their random ids and their times."""
    found: list[tuple[object, ...]] = [
        (one.name, one.kind, dict(one.attributes or {}), one.status.status_code, list(one.events), list(one.links))
        for one in spans.get_finished_spans()
    ]
    spans.clear()
    return found


def ask(node: Node, *values: str, traceparent: str) -> bytes:
    """Ask with a traceparent; return the check's id."""
    message = node.check_message(*values)
    message.traceparent = traceparent
    node.link.send(check=message)
    return parse_header(message.header, message.signature).fields.check_id


def test_spans_are_equal_with_and_without_a_silent_holder(
    make_world: Callable[..., World], spans: InMemorySpanExporter
) -> None:
    views(make_world(), silent="nothing of theirs")
    without = shape(spans)
    _, world = views(make_world(), silent="x")
    asked = [frame for link in world.nodes[2].links for frame in link.seen if frame.HasField("question")]
    assert asked, "the silent holder was asked"
    assert shape(spans) == without
    assert [name for name, *_ in without] == ["check"] * 3


def test_a_check_goes_on_in_its_askers_trace_until_its_certificate(world: World, spans: InMemorySpanExporter) -> None:
    nl, de = world.attached("NL", "x"), world.attached("DE", "x")
    check_id = ask(nl, "x", traceparent=TRACEPARENT)
    world.settle()
    assert spans.get_finished_spans() == ()
    world.window()
    assert check_id in nl.certificates
    (found,) = spans.get_finished_spans()
    assert found.context is not None
    assert found.parent == parse(TRACEPARENT)
    assert f"{found.context.trace_id:032x}" == TRACE
    questions = [frame.question for link in de.links for frame in link.seen if frame.HasField("question")]
    assert questions, "the holder was asked"
    assert not any(part in one.SerializeToString() for one in questions for part in _forms())


def test_a_question_has_no_field_for_a_trace() -> None:
    """I11: what a gateway cannot say it cannot forward."""
    assert "traceparent" in check_pb2.Check.DESCRIPTOR.fields_by_name
    fields = {*check_pb2.Question.DESCRIPTOR.fields_by_name, *check_pb2.CheckHeader.DESCRIPTOR.fields_by_name}
    assert not [name for name in fields if "trace" in name]


@pytest.mark.parametrize("text", ["", "nonsense", f"{TRACEPARENT}0", TRACEPARENT.upper()])
def test_a_malformed_traceparent_begins_a_trace_and_changes_nothing_else(
    world: World, spans: InMemorySpanExporter, text: str
) -> None:
    nl = world.attached("NL", "x")
    check_id = ask(nl, "x", traceparent=text)
    world.window()
    assert check_id in nl.certificates
    (found,) = spans.get_finished_spans()
    assert found.parent is None


def test_a_check_that_is_refused_has_no_span(world: World, spans: InMemorySpanExporter) -> None:
    nl = world.attached("NL", "x")
    message = nl.check_message("x")
    message.only_holders.append("spiffe://test.example/node/ZZ")
    nl.link.send(check=message)
    world.window()
    assert spans.get_finished_spans() == ()


def _forms() -> list[bytes]:
    ids = (TRACE, SPAN)
    return [TRACEPARENT.encode(), *(one.encode() for one in ids), *(bytes.fromhex(one) for one in ids)]
