"""A request's span has the route as the program writes it, never what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from concordat.telemetry.allowed import SCOPE
from concordat.telemetry.http import HttpSpans, requesting
from concordat.telemetry.spans import parse
from tests.unit.telemetry.spans import recorded

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SECRET: Final = "447700900123"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT: Final = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def recording() -> InMemorySpanExporter:
    return recorded()


@pytest.fixture
def spans(recording: InMemorySpanExporter) -> InMemorySpanExporter:
    recording.clear()
    return recording


def only_ours(spans: InMemorySpanExporter) -> ReadableSpan:
    """Return our span; the framework makes spans too, which no exporter of ours hands on."""
    scopes = [(one.instrumentation_scope.name, one) for one in spans.get_finished_spans() if one.instrumentation_scope]
    (found,) = [one for scope, one in scopes if scope == SCOPE]
    return found


def app() -> FastAPI:
    made = FastAPI()

    @made.get("/v1/things/{thing}")
    async def thing(thing: str) -> str:
        if thing == "gone":
            raise HTTPException(404)
        if thing == "broken":
            raise KeyError(SECRET)
        return thing

    return made


def client(*, continues: bool = False) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(HttpSpans(app(), continues=continues), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hub.example")


@pytest.mark.parametrize(
    ("verb", "path", "route", "status"),
    [
        ("GET", f"/v1/things/{SECRET}?typed={SECRET}", "/v1/things/{thing}", 200),
        ("GET", "/v1/things/gone", "/v1/things/{thing}", 404),
        ("GET", f"/{SECRET}", "(no row)", 404),
        ("GET", "/v1/things/broken", "/v1/things/{thing}", 500),
    ],
)
async def test_a_request_is_a_span_of_its_route(
    spans: InMemorySpanExporter, verb: str, path: str, route: str, status: int
) -> None:
    async with client() as calls:
        assert (await calls.request(verb, path)).status_code == status
    found = only_ours(spans)
    attributes = dict(found.attributes or {})
    attributes.pop("concordat.code", None)
    assert attributes == {
        "http.request.method": verb,
        "http.route": route,
        "http.response.status_code": status,
    }
    assert SECRET not in found.to_json()


@pytest.mark.parametrize("continues", [True, False])
async def test_a_callers_trace_goes_on_where_the_app_says_so(spans: InMemorySpanExporter, continues: bool) -> None:
    async with client(continues=continues) as calls:
        await calls.get("/v1/things/x", headers={"traceparent": TRACEPARENT, "tracestate": "a=b", "baggage": "c=d"})
    found = only_ours(spans)
    assert found.context is not None
    assert (f"{found.context.trace_id:032x}" == TRACE) is continues
    assert len(found.context.trace_state) == 0


async def test_a_request_that_is_made_sends_its_trace_along(spans: InMemorySpanExporter) -> None:
    with requesting("POST") as request:
        request.answered(200)
    found = only_ours(spans)
    sent = parse(request.headers["traceparent"])
    assert sent is not None
    assert found.context is not None
    assert (sent.trace_id, sent.span_id) == (found.context.trace_id, found.context.span_id)
    assert dict(found.attributes or {}) == {"http.request.method": "POST", "http.response.status_code": 200}
    assert set(request.headers) == {"traceparent"}
