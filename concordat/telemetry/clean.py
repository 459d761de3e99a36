"""Copies of spans that hold what may leave: events, links, tracestate and the texts of statuses are dropped unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status

from concordat.telemetry.allowed import SCOPE, SPANS, clean_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.resources import Resource


def clean_spans(spans: Iterable[ReadableSpan], resource: Resource) -> list[ReadableSpan]:
    """Return copies of the spans that may leave, with what may leave of each."""
    return [_clean(one, resource) for one in spans if _ours(one)]


def _ours(one: ReadableSpan) -> bool:
    scope = one.instrumentation_scope
    return scope is not None and scope.name == SCOPE and one.name in SPANS and one.context is not None


def _clean(one: ReadableSpan, resource: Resource) -> ReadableSpan:
    return ReadableSpan(
        name=one.name,
        context=_bare(one.context),
        parent=_bare(one.parent),
        resource=resource,
        attributes=clean_attributes(one.attributes or {}),
        kind=one.kind,
        status=Status(one.status.status_code),
        start_time=one.start_time,
        end_time=one.end_time,
        instrumentation_scope=one.instrumentation_scope,
    )


def _bare(context: SpanContext | None) -> SpanContext | None:
    if context is None:
        return None
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)
