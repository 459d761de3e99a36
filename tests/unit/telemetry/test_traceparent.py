"""What crosses between processes is a traceparent of version 00, and whatever is none begins a trace of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import Decision

from concordat import telemetry
from concordat.identity.names import Role
from concordat.rpc.client import call
from concordat.telemetry import otlp
from concordat.telemetry.nothing import Nothing
from concordat.telemetry.spans import incoming_metadata, parse
from tests.unit.rpc.echo import UNARY, Echo, dialled, serving
from tests.unit.telemetry.spans import recorded

if TYPE_CHECKING:
    from tests.unit.rpc.conftest import Parties

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_traceparent_goes_on() -> None:
    found = parse(GOOD)
    assert found is not None
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)
    assert (found.is_remote, found.trace_flags.sampled, len(found.trace_state)) == (True, True, 0)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        b"\xff",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",
        f"01-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        GOOD.replace("4", "٤"),
        GOOD * 1000,
    ],
)
def test_what_is_malformed_is_ignored(text: str | bytes | None) -> None:
    assert parse(text) is None
    assert not trace.get_current_span(telemetry.incoming(text)).get_span_context().is_valid


def test_two_traceparents_are_none_and_nothing_else_is_read() -> None:
    both = [("traceparent", GOOD), ("traceparent", GOOD)]
    assert not trace.get_current_span(incoming_metadata(both)).get_span_context().is_valid
    one = [("traceparent", GOOD), ("tracestate", "a=b"), ("baggage", "who=NL")]
    found = incoming_metadata(one)
    assert trace.get_current_span(found).get_span_context().trace_state == {}
    assert baggage.get_all(found) == {}


def test_a_span_that_is_not_exported_is_not_passed_on() -> None:
    provider = otlp.tracer_provider(Resource({}), None, ratio=1)
    silent = provider.get_tracer("concordat").start_span("check")
    assert silent.get_span_context().is_valid
    assert telemetry.traceparent(silent) == ""


@pytest.mark.parametrize(("flags", "ratio", "sampled"), [("01", 1.0, True), ("01", 0.0, False), ("00", 1.0, False)])
def test_who_calls_does_not_decide_what_is_exported(flags: str, ratio: float, sampled: bool) -> None:
    """A caller may leave a trace out; it cannot bring one in over this process's own part."""
    parent = telemetry.incoming(f"00-{TRACE}-{SPAN}-{flags}")
    found = otlp.sampler(ratio).should_sample(parent, int(TRACE, 16), "rpc")
    assert (found.decision is Decision.RECORD_AND_SAMPLE) is sampled


async def test_a_calls_trace_goes_on_at_custodian_and_gateway_only(parties: Parties, echo: Echo) -> None:
    """I11: where a peer's role does not say that the trace may go on, it does not."""
    spans = recorded()
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        for role in (Role.CUSTODIAN, Role.GATEWAY, Role.NODE, Role.PARTNER, None):
            spans.clear()
            token = context.attach(baggage.set_baggage("who", "NL"))
            await call(calls.unary, b"0:ok", party="custodian 1", role=role, timeout_s=10)
            context.detach(token)
            served, called = spans.get_finished_spans()
            assert (served.kind.name, called.kind.name) == ("SERVER", "CLIENT")
            assert (served.attributes or {})["rpc.method"] == (called.attributes or {})["rpc.method"] == UNARY
            assert served.context is not None
            assert called.context is not None
            goes_on = role in (Role.CUSTODIAN, Role.GATEWAY)
            assert (served.context.trace_id == called.context.trace_id) is goes_on
            assert (served.parent is not None) is goes_on


async def test_a_callers_trace_does_not_go_on_in_a_stream(parties: Parties, echo: Echo) -> None:
    """A session lasts for days and carries what many asked; its span is the server's own."""
    spans = recorded()
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        sent = (("traceparent", GOOD),)
        assert [one async for one in calls.down(b"0:ok", metadata=sent)] == [b"ok"]
        await calls.unary(b"0:ok", metadata=sent)
    found = [one.parent and f"{one.parent.trace_id:032x}" for one in spans.get_finished_spans()]
    assert found == [None, TRACE]


def test_a_library_that_attaches_what_it_extracts_has_a_context() -> None:
    """FastAPI does; a composite of no propagators gives it none, and every request would fail."""
    extracted = Nothing().extract({"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    assert extracted == context.get_current()
    carrier: dict[str, str] = {}
    Nothing().inject(carrier)
    assert carrier == {}
