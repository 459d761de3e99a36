"""Spans and durations of HTTP requests, made and served: verb, route as it is written, status."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from concordat.telemetry.allowed import NO_ROW
from concordat.telemetry.metrics import duration, timed
from concordat.telemetry.spans import TRACEPARENT, failed, incoming_metadata, span, traceparent, tracer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    from opentelemetry.trace import Span

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

VERB: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
_CALLED: Final = duration("http.client.duration", "How long requests took to be answered.")
_SERVED: Final = duration("http.server.duration", "How long requests took to be served, streams of events included.")


class Request:
    """A request that this process makes: what it sends along, and what came of it."""

    def __init__(self, one: Span, labels: dict[str, str | int]) -> None:
        self._span = one
        self._labels = labels

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers with which the trace goes on; none where it is not exported."""
        parent = traceparent(self._span)
        return {TRACEPARENT: parent} if parent else {}

    def answered(self, status: int) -> None:
        """Note the status."""
        self._labels[STATUS] = status
        self._span.set_attribute(STATUS, status)


@contextmanager
def requesting(verb: str) -> Iterator[Request]:
    """Run the block as one request to a gateway, where the trace goes on.

    The span is current nowhere: a stream of events may be closed by another task than the one that began it.
    """
    labels: dict[str, str | int] = {VERB: verb}
    begun = tracer().start_span("http", kind=SpanKind.CLIENT, attributes=labels)
    try:
        with timed(_CALLED, labels):
            yield Request(begun, labels)
    except Exception as error:
        failed(begun, error)
        raise
    finally:
        begun.end()


class HttpSpans:
    """Wraps an app, outermost.

    Args:
        app: Of FastAPI or another framework that leaves its route in the scope.
        continues: Whether a caller's trace goes on here: at the gateway's API, where partners and the console call.
    """

    def __init__(self, app: Asgi, *, continues: bool = False) -> None:
        self._app = app
        self._continues = continues

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request in a span; what is no request passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        labels: dict[str, str | int] = {VERB: scope["method"]}

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                labels[STATUS] = message["status"]
            await send(message)

        with (
            span("http", kind=SpanKind.SERVER, parent=self._parent(scope)),
            timed(_SERVED, labels),
        ):
            try:
                await self._app(scope, receive, noted)
            finally:
                labels[ROUTE] = getattr(scope.get("route"), "path", NO_ROW)
                trace.get_current_span().set_attributes(labels)

    def _parent(self, scope: Message) -> Context:
        if not self._continues:
            return Context()
        wanted = TRACEPARENT.encode()
        return incoming_metadata((TRACEPARENT, value) for name, value in scope["headers"] if name == wanted)
