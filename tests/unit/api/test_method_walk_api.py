"""I8, deny by default: every route of the API by every class of caller.

What comes out is compared with the table as docs/protocol.md prints it. Each class comes with the best token that it
could have: one of the gateway's own making, under its own key, that claims every scope there is. The rows' conditions
are broken in test_token_endpoint, test_evaluations, test_reports and tests/unit/gateway/test_query_results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from concordat.api.model import Scope
from concordat.identity.names import Role, SpiffeId
from concordat.rpc.methods import METHODS, Condition
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.app import require_guarded
from tests.unit.rpc.methods_of_the_wire import in_the_page

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from gateway.api.gate import PartnerGate
    from tests.unit.api.api_world import ApiClient

STRANGER: Final = "stranger"
NOBODY: Final = "nobody"
FOLDERS: Final = {
    Role.NODE: "node/NL",
    Role.CUSTODIAN: "custodian/c1",
    Role.GATEWAY: "gateway/g1",
    Role.PARTNER: "partner/IJM",
    Role.CONSOLE: "console/console",
    STRANGER: "partner/IJM",
}
# Answered before anybody is asked who he is.
OPEN: Final = {"GET /healthz", "GET /v1/openapi.json"}
TOKEN: Final = "POST /v1/token"


def _routes(app: FastAPI) -> list[str]:
    found = [one.original_route for one in iter_route_contexts(app.routes)]
    return sorted(f"{verb} {cast('Any', route).path}" for route in found for verb in cast("Any", route).methods)


async def _token_of(client: ApiClient, app: FastAPI, who: str) -> str:
    gate: PartnerGate = app.state.issuer
    name = client.home.identity
    if who == STRANGER:
        name = SpiffeId(name.federation, Role.PARTNER, STRANGER)
    client.nonce = gate.nonces.current()
    return gate.tokens.issue(name, tuple(Scope), key_hash=client.key.thumbprint())


async def _reached(route: str, who: str, client: ApiClient, app: FastAPI) -> bool:
    """Tell whether a caller comes past the gate; what the route says to an empty body does not matter here."""
    verb, path = route.split(" ")
    path = path.replace("{operation}", "op1")
    if who == NOBODY:
        answer = await client.http.request(verb, path)
    elif route == TOKEN:
        answer = await _token_asked(client, who)
    else:
        answer = await client.send(
            verb, path, token=await _token_of(client, app, who), json={} if verb == "POST" else None
        )
    return not _refused_at_the_gate(answer)


async def _token_asked(client: ApiClient, who: str) -> httpx.Response:
    stranger = str(SpiffeId(client.home.identity.federation, Role.PARTNER, STRANGER))
    assertion = client.assertion(iss=stranger, sub=stranger) if who == STRANGER else client.assertion()
    return await client.ask_token(form={"client_assertion": assertion})


def _refused_at_the_gate(answer: httpx.Response) -> bool:
    if not answer.headers["content-type"].startswith("application/problem+json"):
        return False
    error = answer.json().get("error")
    return answer.status_code == 401 or error in ("insufficient_scope", "unauthorized_client")


async def test_i8_every_route_lets_in_whom_the_page_names_and_refuses_all_others(
    app: FastAPI, client: Callable[[str], ApiClient]
) -> None:
    said = {name: roles for (server, name), roles in in_the_page().items() if " " in name and server == Role.GATEWAY}
    assert _routes(app) == sorted(said)
    found, expected = {}, {}
    for who in (*FOLDERS, NOBODY):
        caller_ = client(FOLDERS.get(who, "partner/IJM"))
        caller_.nonce = app.state.issuer.nonces.current()
        for route, roles in said.items():
            found[route, who] = await _reached(route, who, caller_, app)
            expected[route, who] = route in OPEN or who in roles
    expected[TOKEN, NOBODY] = True  # it is told what its form lacks
    assert found == expected
    assert set(found.values()) == {True, False}


@pytest.mark.parametrize("path", ["/v1/later", "/v1/operations/{operation}/report"])
def test_i8_an_app_with_a_route_that_the_table_does_not_name_so_is_not_built(path: str) -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), guarded_router()

    @router.get(path)
    async def later(who: Annotated[Caller, caller(Scope.QUERY)]) -> None: ...

    app.include_router(router)
    with pytest.raises(ValueError, match="table of methods"):
        require_guarded(app)


def test_only_the_operators_pages_have_no_condition() -> None:
    free = {one.name for one in METHODS if not one.is_grpc and Condition.NONE in one.may.values()}
    assert free == {"GET /v1/operator/state", "GET /v1/operator/events"}
