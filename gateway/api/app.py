"""The API as one FastAPI app: every route guarded, every error a problem, every answer out of caches."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.telemetry import TelemetryConfig

from concordat import __version__
from gateway.api import problems
from gateway.api.access import GuardedRoute, guarded_router
from gateway.api.gate import PartnerGate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from gateway.api.access import Gate
    from gateway.api.context import ApiContext

    Asgi = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]

_ROUTERS: Final = ("gateway.api.queries", "gateway.api.operator")
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
)
# The framework's own spans and logs would hold what routes get; ours are in concordat.telemetry.
_NO_TELEMETRY: Final = TelemetryConfig(
    tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
)

_open = guarded_router()


@_open.get("/healthz", summary="Whether the API answers", tags=["health"])
async def healthz() -> dict[str, str]:
    """Say the same to everyone, whatever the state of the hub."""
    return {"status": "ok"}


def build_app(context: ApiContext, *, gate: Gate | None = None) -> FastAPI:
    """Make the app of a gateway.

    Args:
        context: What its routes work with.
        gate: Who decides about access; the federation's manifest by default.

    Raises:
        ValueError: A route came in without a scope.
    """
    app = FastAPI(
        title="Concordat partner API",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        redirect_slashes=False,
    )
    app.state.context = context
    app.state.gate = gate or PartnerGate(context)
    problems.install(app)
    app.include_router(_open)
    for name in _ROUTERS:
        if importlib.util.find_spec(name) is not None:
            app.include_router(importlib.import_module(name).router)
    app.add_middleware(_Headers)
    require_guarded(app)
    return app


def require_guarded(app: FastAPI) -> None:
    """Refuse an app with a route that asks no gate.

    Raises:
        ValueError: There is such a route.
    """
    if not all(isinstance(one.original_route, GuardedRoute) for one in iter_route_contexts(app.routes)):
        raise ValueError("a route of the API is made on a guarded_router")


class _Headers:
    """Puts the headers that every answer has on every answer."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, headed)
