"""Who may call which route: no route without a scope, and no body read before its caller has one (I8).

    router = guarded_router("/v1")

    @router.post("/queries")
    async def query(who: Annotated[Caller, caller(Scope.QUERY)], context: Context, body: QueryRequest) -> QueryResponse:

A `guarded_router` takes a route only with exactly one `caller(...)` among its parameters, or when it is named in
`OPEN`. The gate is asked with the request's head before its body is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import APIRouter, Request, Security
from fastapi.openapi.models import HTTPBase
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from typing_extensions import override

from concordat.rpc.methods import open_routes
from gateway.api import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from fastapi import Response
    from fastapi.dependencies.models import Dependant

    from concordat.api.model import Scope
    from concordat.identity.manifest import Party
    from concordat.identity.names import SpiffeId

NONCE_HEADER: Final = "DPoP-Nonce"
OPEN: Final = open_routes()
"""Method and path of the routes that need no access token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The party that made a request, authenticated and in the manifest in force."""

    party: Party
    until: float = 0.0
    """Unix time at which its access token ends; a stream ends then."""

    @property
    def identity(self) -> SpiffeId:
        """Return its name."""
        return self.party.spiffe


class Gate(Protocol):
    """What decides whether a request may pass."""

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """Return who calls.

        Raises:
            ApiError: No valid access token with a proof for this very request, or not one with the scope.
        """
        ...


class _Guard(SecurityBase):
    """The dependency that stands for a scope; what it returns, the route has found before the body was read."""

    def __init__(self, scope: Scope) -> None:
        self.scope: Final = scope
        self.model = HTTPBase(scheme="DPoP", description="Access token bound to a DPoP key (RFC 9449), from /v1/token.")
        self.scheme_name = "dpop"

    async def __call__(self, request: Request) -> Caller:
        found: Caller = request.state.caller
        return found


def caller(scope: Scope) -> Any:
    """Return the dependency that gives a route its authenticated caller, who has `scope`."""
    return Security(_Guard(scope), scopes=[scope.value])


class GuardedRoute(APIRoute):
    """A route that asks the gate first; without a scope it can be made only where `OPEN` names it."""

    @property
    def scope(self) -> Scope | None:
        """Return the scope that the gate is asked for; None for an open route."""
        return next((guard.scope for guard in _guards(self.dependant)), None)

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        scopes = [guard.scope for guard in _guards(self.dependant)]
        if not scopes and {(method, self.path) for method in self.methods or ()} <= OPEN:
            return handle
        if len(scopes) != 1:
            raise ValueError("a route names exactly one scope")

        async def guarded(request: Request) -> Response:
            state = request.app.state
            who: Caller = await state.gate.admit(request, scopes[0])
            request.state.caller = who
            with state.at_once.one_of(str(who.identity)):
                await limits.read_body(request, within_s=state.body_s)
                response = await handle(request)
            if hasattr(request.state, "dpop_nonce"):
                # RFC 9449 8.2: so that a client seldom needs to ask twice.
                response.headers[NONCE_HEADER] = request.state.dpop_nonce
            return response

        return guarded


def guarded_router() -> APIRouter:
    """Return a router on which every route has a scope; its routes write their paths in full."""
    return APIRouter(route_class=GuardedRoute)


def _guards(dependant: Dependant) -> Iterator[_Guard]:
    for one in dependant.dependencies:
        if isinstance(one.call, _Guard):
            yield one.call
        yield from _guards(one)
