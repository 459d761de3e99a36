"""Spans and durations of HTTP requests, as an ASGI middleware: verb, route as it is written, status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from concordat.telemetry.allowed import NO_ROW
from concordat.telemetry.metrics import duration, timed
from concordat.telemetry.spans import TRACEPARENT, incoming_metadata, span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

VERB: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
_SERVED: Final = duration("http.server.duration", "How long requests took to be served, streams of events included.")


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
