"""Spans and durations of gRPC calls, at both ends alike: method, role of the peer, code."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind

from concordat.telemetry.allowed import OK
from concordat.telemetry.metrics import duration, timed
from concordat.telemetry.spans import CODE, METHOD, ROLE, incoming_metadata, public_code, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.metrics import Histogram

_SERVED: Final = duration("rpc.server.duration", "How long unary calls took to be served.")
_CALLED: Final = duration("rpc.client.duration", "How long unary calls took to be answered.")


@contextmanager
def serving(method: str, metadata: Iterable[tuple[str, str | bytes]], *, unary: bool) -> Iterator[None]:
    """Run the block as the service of a call; the caller's trace goes on in it where the call is unary.

    A session's trace is its server's own: what comes in it comes with a trace of its own, frame by frame.
    """
    parent = incoming_metadata(metadata if unary else ())
    with (
        span("rpc", kind=SpanKind.SERVER, parent=parent, attributes={METHOD: method}),
        _measured(_SERVED, method) if unary else nullcontext(),
    ):
        yield


@contextmanager
def calling(method: str, role: str | None) -> Iterator[None]:
    """Run the block as one unary call to a peer of a role."""
    attributes = {METHOD: method} if role is None else {METHOD: method, ROLE: role}
    with span("rpc", kind=SpanKind.CLIENT, attributes=attributes), _measured(_CALLED, method):
        yield


@contextmanager
def _measured(histogram: Histogram, method: str) -> Iterator[None]:
    with timed(histogram, {METHOD: method}) as labels:
        try:
            yield
        except Exception as error:
            labels[CODE] = public_code(error)
            raise
        labels[CODE] = OK
