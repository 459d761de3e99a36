"""The API as one FastAPI app: every route guarded, every error a problem, every answer out of caches."""

from operator import attrgetter
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel

from concordat import __version__
from concordat.identity.home import Home
from concordat.rpc.methods import scope_of_route
from gateway.api import evaluations, operator, problems, queries, reports, token_endpoint
from gateway.api.access import Gate, GuardedRoute, guarded_router
from gateway.api.context import ApiContext
from gateway.api.gate import PartnerGate
from gateway.api.limits import BODY_S, AtOnce
from gateway.api.openapi import document_of

_ROUTERS: Final = (token_endpoint.router, evaluations.router, queries.router, reports.router, operator.router)
# The framework's own spans and logs would hold what routes get; ours are in concordat.telemetry.
_NO_TELEMETRY: Final = TelemetryConfig(
    tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
)

_open = guarded_router()


class Health(BaseModel):
    """That the API answers, and nothing else."""

    status: Literal["ok"] = "ok"


@_open.get("/healthz", summary="Whether the API answers", tags=["health"])
async def healthz() -> Health:
    """Say the same to everyone, whatever the state of the hub."""
    return Health()


@_open.get("/v1/openapi.json", summary="This document", tags=["health"])
async def openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API."""
    found: dict[str, Any] = request.app.state.document
    return found


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
        generate_unique_id_function=attrgetter("name"),
    )
    app.state.context = context
    app.state.issuer = PartnerGate(context)
    app.state.gate = gate or app.state.issuer
    app.state.at_once = AtOnce()
    app.state.body_s = BODY_S
    app.state.authorities = authorities_of(context.home)
    problems.install(app)
    for router in (_open, *_ROUTERS):
        app.include_router(router)
    require_guarded(app)
    app.state.document = document_of(app)
    return app


def authorities_of(home: Home) -> frozenset[str]:
    """Return the HOST:PORT under which clients reach this gateway's API, as the manifest says; empty without any."""
    address = home.manifest.gateway_by_id(home.identity).api_address
    return frozenset({address.lower()} if address is not None else ())


def require_guarded(app: FastAPI) -> None:
    """Refuse an app with a route that asks no gate, or another one than the table of methods says (I8).

    Raises:
        ValueError: There is such a route, one without a row in the table of methods, or with another scope than its.
    """
    routes = [one.original_route for one in iter_route_contexts(app.routes)]
    guarded = [route for route in routes if isinstance(route, GuardedRoute)]
    if len(guarded) != len(routes):
        raise ValueError("a route of the API is made on a guarded_router")
    for route in guarded:
        if any(scope_of_route(verb, route.path) is not route.scope for verb in route.methods or ()):
            raise ValueError("a route has the scope that the table of methods names")
