"""Spans, and the few ways in which a trace goes from one process to another.

    with telemetry.span("check", kind=SpanKind.CLIENT):
        message.traceparent = telemetry.traceparent()       # the asker, for the hub

What crosses is a W3C traceparent of version 00 and nothing else: no tracestate, no baggage. It goes to the gateway and
to custodians only. A holder begins a trace of its own (I11), and whatever cannot be read begins one too.
"""

from __future__ import annotations

import random
import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from concordat.errors import CATALOGUE, ConcordatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TRACEPARENT: Final = "traceparent"
METHOD: Final = "rpc.method"
ROLE: Final = "concordat.peer.role"
CODE: Final = "concordat.code"
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
# Ids are no secrets, and drawing them must not take from what keys are drawn from.
_random: Final = random.Random()  # noqa: S311 -- as said above


def tracer() -> trace.Tracer:
    """Return the tracer of all Concordat code."""
    return _tracer_of(trace.get_tracer_provider())


@lru_cache(maxsize=1)
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    # To make one takes as long as to route a check.
    return provider.get_tracer("concordat")


@contextmanager
def active(span: Span) -> Iterator[None]:
    """Make a span current without recording exceptions, whose texts may quote content."""
    with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span]:
    """Run the block in a span that ends with it; an error leaves its code, never its text.

    Args:
        name: One of `concordat.telemetry.allowed.SPANS`.
        kind: For the reader of the trace.
        parent: From `incoming`; the current span by default.
        attributes: Of `concordat.telemetry.allowed.ATTRIBUTES`.
    """
    begun = tracer().start_span(name, context=parent, kind=kind, attributes=attributes)
    try:
        with active(begun):
            yield begun
    except Exception as error:
        failed(begun, error)
        raise
    finally:
        begun.end()


def failed(one: Span, error: BaseException) -> None:
    """Say on a span that it failed, by the code alone."""
    one.set_attribute(CODE, public_code(error))
    one.set_status(Status(StatusCode.ERROR))


def public_code(error: BaseException) -> str:
    """Return the catalogue's code of an error; `internal` for what is not in the catalogue."""
    code = error.code if isinstance(error, ConcordatError) else "internal"
    return code if code in CATALOGUE else "internal"


@contextmanager
def unexported() -> Iterator[None]:
    """Give what happens in the block a trace id for its logs, and export nothing of it."""
    context = SpanContext(_random.getrandbits(128), _random.getrandbits(64), is_remote=False)
    with active(NonRecordingSpan(context)):
        yield


def note_peer_role(role: str) -> None:
    """Put the caller's role, never its name, on the current span."""
    trace.get_current_span().set_attribute(ROLE, role)


def traceparent(one: Span | None = None) -> str:
    """Return the traceparent of a span, the current one by default; empty where it is not exported."""
    context = (one or trace.get_current_span()).get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return ""
    return f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-01"


def incoming(text: str | bytes | None) -> Context:
    """Return the context in which a caller's trace goes on; one without a span where the text is no traceparent."""
    found = parse(text)
    return Context() if found is None else trace.set_span_in_context(NonRecordingSpan(found), Context())


def incoming_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """Return the context of a call's metadata; a traceparent that is there twice counts as none."""
    found = [value for key, value in metadata if key == TRACEPARENT]
    return incoming(found[0] if len(found) == 1 else None)


def parse(text: str | bytes | None) -> SpanContext | None:
    """Return what a traceparent says, or None where it is malformed or of another version."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    form = _FORM.fullmatch(text) if text else None
    if form is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in form.groups())
    sampled = TraceFlags(flags & TraceFlags.SAMPLED)
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled)
    return context if context.is_valid else None
