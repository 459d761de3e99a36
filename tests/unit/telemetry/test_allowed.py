"""Whatever a careless library puts on a span, only what is on the list leaves, each value in its form (I1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from concordat.telemetry.allowed import ATTRIBUTES, clean_attributes
from concordat.telemetry.otlp import CleanSpans, meter_provider, prometheus_reader

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

SECRET = "+44 7700 900123"
REMOTE = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("who", "secret-NL")]))


class Exported:
    """A provider whose spans go through the list into memory."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        resource = Resource({"service.name": "test"})
        self.provider = TracerProvider(resource=Resource({"host.name": SECRET}), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(CleanSpans(self._memory, resource)))

    def tracer(self, scope: str = "concordat") -> Tracer:
        """Return a tracer of some library."""
        return self.provider.get_tracer(scope, SECRET)

    def spans(self) -> list[ReadableSpan]:
        """Return what left."""
        return list(self._memory.get_finished_spans())


def test_a_careless_span_leaves_as_its_name_and_times() -> None:
    exported = Exported()
    parent = set_span_in_context(NonRecordingSpan(REMOTE))
    span = exported.tracer().start_span(
        "check",
        parent,
        kind=SpanKind.SERVER,
        attributes={"typed": SECRET, SECRET: 1, "rpc.method": SECRET, "http.route": f"/v1/{SECRET}"},
        links=[Link(REMOTE, {"typed": SECRET})],
    )
    span.add_event(SECRET, {"typed": SECRET})
    span.record_exception(ValueError(SECRET))
    span.set_status(Status(StatusCode.ERROR, SECRET))
    span.end()
    (found,) = exported.spans()
    assert (found.name, found.kind, found.status.status_code) == ("check", SpanKind.SERVER, StatusCode.ERROR)
    assert (dict(found.attributes or {}), list(found.events), list(found.links)) == ({}, [], [])
    assert found.status.description is None
    assert found.parent is not None
    assert (found.parent.trace_id, found.parent.span_id, len(found.parent.trace_state)) == (1, 2, 0)
    assert found.context is not None
    assert len(found.context.trace_state) == 0
    assert dict(found.resource.attributes) == {"service.name": "test"}
    assert SECRET not in found.to_json()
    assert "secret-NL" not in found.to_json()


def test_a_span_of_a_library_or_of_another_name_does_not_leave() -> None:
    exported = Exported()
    exported.tracer("httpx").start_span("check").end()
    exported.tracer().start_span(f"GET /v1?typed={SECRET}").end()
    exported.tracer().start_span("rpc").end()
    assert [found.name for found in exported.spans()] == ["rpc"]
    assert exported.spans()[0].instrumentation_scope is not None
    assert SECRET not in exported.spans()[0].to_json()


GOOD = {
    "rpc.method": ("/concordat.wire.v1.CustodianService/Evaluate", "/grpc.health.v1.Health/Check", "(no row)"),
    "concordat.peer.role": ("node", "partner"),
    "concordat.code": ("ok", "quota_exhausted"),
    "http.route": ("/v1/operations/{operation}/report", "/v1/queries", "/healthz", "/", "(no row)"),
    "http.request.method": ("GET", "POST"),
    "http.response.status_code": (200, 599),
}


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_each_attribute_takes_its_own_form_and_no_other(name: str) -> None:
    for value in GOOD[name]:
        assert clean_attributes({name: value}) == {name: value}
    others = {value for other, values in GOOD.items() if other != name for value in values} - set(GOOD[name])
    foreign = (SECRET, "a@b.example", "0" * 32, "/concordat.wire.v1.X/" + "A" * 41, "/v1/" + "0" * 41, 1 << 40, True)
    refused = {*others, *foreign} - {200, 599} - {"(no row)", "/", "/healthz", "/v1/queries"}
    assert {value for value in refused if clean_attributes({name: value})} <= {"/v1/operations/{operation}/report"}
    assert clean_attributes({name: [GOOD[name][0]]}) == {}


def test_what_a_library_counts_is_dropped_and_ours_loses_every_label_that_is_not_listed() -> None:
    reader, read = prometheus_reader()
    provider = meter_provider(Resource({}), [reader])
    library, ours = provider.get_meter("fastapi"), provider.get_meter("concordat")
    library.create_counter("http.server.requests").add(1, {"http.route": SECRET})
    library.create_histogram("http.server.duration").record(1, {"http.route": SECRET})
    library.create_observable_gauge("queue", [lambda _options: [Observation(1, {"http.route": SECRET})]])
    ours.create_counter("concordat.ticks").add(1, {"party": SECRET, "concordat.code": "ok"})
    text = read().decode()
    provider.shutdown()
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'concordat_ticks_total{concordat_code="ok"} 1.0'
    ]
    assert SECRET not in text
    assert "http_server" not in text
