"""What a request needs beside a token: a proof for itself, once, of the token's own key, and the scope (RFC 9449 7)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import pytest
from joserfc.jwk import ECKey

from concordat.api.model import Scope
from concordat.base64url import decode
from gateway.api.access import Caller, caller, guarded_router
from tests.unit.api.api_world import ApiClient, app_of, http_of, identity_of, jwt

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from fastapi import FastAPI

    from concordat.clock import ManualClock
    from concordat.identity.home import Home
    from gateway.operations_store import OperationStore
    from tests.unit.api.api_world import RelayByHand

    Clients = Callable[[str], ApiClient]

PATH: Final = "/v1/operations/op1/report"


def refused(answer: httpx.Response, status: int, name: str, code: str = "bad_identity") -> None:
    body = answer.json()
    assert (answer.status_code, body["error"], body["code"]) == (status, name, code)
    assert f'error="{name}"' in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"


async def admitted(answer: httpx.Response) -> None:
    """Take what the route itself says to a stranger of the operation as a sign that the gate is passed."""
    assert answer.json()["code"] == "operation_unknown"


async def test_a_token_with_a_proof_is_let_in(ijm: ApiClient) -> None:
    await admitted(await ijm.send("GET", PATH))


async def test_without_credentials_there_is_a_challenge_and_no_error(http: httpx.AsyncClient) -> None:
    answer = await http.get(PATH)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'DPoP algs="ES256 Ed25519"'
    assert "error" not in answer.json()


async def test_a_proof_is_taken_once(ijm: ApiClient) -> None:
    proof = ijm.proof("GET", PATH, token=ijm.token)
    await admitted(await ijm.send("GET", PATH, proof=proof))
    refused(await ijm.send("GET", PATH, proof=proof), 401, "invalid_dpop_proof")


async def test_a_token_is_of_no_use_to_who_has_not_its_key(ijm: ApiClient, client: Clients) -> None:
    thief = client("partner/OSCE")
    await thief.log_in()
    refused(await thief.send("GET", PATH, token=ijm.token), 401, "invalid_dpop_proof")


BAD: Final[dict[str, Callable[[ApiClient], str]]] = {
    "for another method": lambda one: one.proof("POST", PATH, token=one.token),
    "for another path": lambda one: one.proof("GET", "/v1/operations/op2/report", token=one.token),
    "for another host": lambda one: one.proof("GET", PATH, token=one.token, htu=f"https://evil.example{PATH}"),
    "for no token": lambda one: one.proof("GET", PATH),
    "for another token": lambda one: one.proof("GET", PATH, token=one.token + "x"),
    "of another key": lambda one: one.proof("GET", PATH, token=one.token, key=ECKey.generate_key("P-256")),
    "too old": lambda one: one.proof("GET", PATH, token=one.token, iat=int(one.clock.now()) - 300),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_proof_that_is_not_for_this_request_is_refused(ijm: ApiClient, name: str) -> None:
    refused(await ijm.send("GET", PATH, proof=BAD[name](ijm)), 401, "invalid_dpop_proof")


async def test_two_proofs_are_refused(ijm: ApiClient) -> None:
    proofs = [("dpop", ijm.proof("GET", PATH, token=ijm.token)) for _ in range(2)]
    answer = await ijm.http.get(PATH, headers=[("authorization", f"DPoP {ijm.token}"), *proofs])
    refused(answer, 401, "invalid_dpop_proof")


async def test_the_host_header_has_no_say_in_what_a_proof_is_for(ijm: ApiClient) -> None:
    proof = ijm.proof("GET", PATH, token=ijm.token, htu=f"https://evil.example{PATH}")
    answer = await ijm.send("GET", PATH, proof=proof, headers={"host": "evil.example"})
    refused(answer, 401, "invalid_dpop_proof")


async def test_a_proof_needs_a_nonce_that_is_not_old(ijm: ApiClient, clock: ManualClock) -> None:
    nonce, ijm.nonce = ijm.nonce, None
    refused(await ijm.send("GET", PATH), 401, "use_dpop_nonce")
    ijm.nonce = nonce
    clock.advance(121)
    answer = await ijm.send("GET", PATH)
    refused(answer, 401, "use_dpop_nonce")
    ijm.nonce = answer.headers["dpop-nonce"]
    await admitted(await ijm.send("GET", PATH))


async def test_a_token_ends(ijm: ApiClient, clock: ManualClock) -> None:
    clock.advance(300)
    refused(await ijm.send("GET", PATH), 401, "invalid_token")


async def test_a_token_of_another_process_is_refused(
    ijm: ApiClient, home: Callable[[str], Home], clock: ManualClock, store: OperationStore, relay: RelayByHand
) -> None:
    async with http_of(app_of(home("gateway/g1"), clock, store, relay)) as restarted:
        ijm.http = restarted
        refused(await ijm.send("GET", PATH), 401, "invalid_token")


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", "DPoP  ,", "DPoPx"])
async def test_another_scheme_is_refused(ijm: ApiClient, scheme: str) -> None:
    proof = ijm.proof("GET", PATH, token=ijm.token)
    answer = await ijm.http.get(PATH, headers={"authorization": f"{scheme} {ijm.token}", "dpop": proof})
    refused(answer, 401, "invalid_token")


async def test_two_tokens_are_refused(ijm: ApiClient) -> None:
    token = ("authorization", f"DPoP {ijm.token}")
    answer = await ijm.http.get(PATH, headers=[token, token, ("dpop", ijm.proof("GET", PATH, token=ijm.token))])
    refused(answer, 401, "invalid_token")


async def test_a_token_that_another_signed_or_that_is_an_assertion_is_refused(ijm: ApiClient) -> None:
    claims = json.loads(decode(ijm.token.split(".")[1]))
    for forged in (
        jwt({"alg": "Ed25519", "typ": "at+jwt"}, claims, identity_of(ijm.home)),
        jwt({"alg": "HS256", "typ": "at+jwt"}, claims, ijm.home.signing_key.public.raw),
        ijm.assertion(),
        "x",
    ):
        refused(await ijm.send("GET", PATH, token=forged), 401, "invalid_token")


async def test_a_scope_that_was_not_asked_for_is_not_there(client: Clients) -> None:
    one = client("partner/IJM")
    one.nonce = (await one.ask_token()).headers["dpop-nonce"]
    one.token = (await one.ask_token(form={"scope": "query"})).json()["access_token"]
    refused(await one.send("GET", PATH), 403, "insufficient_scope", "refused")


@pytest.mark.parametrize(
    ("party", "method", "path"),
    [
        ("console/console", "POST", "/v1/evaluations"),
        ("console/console", "POST", "/v1/queries"),
        ("console/console", "GET", PATH),
        ("partner/IJM", "GET", "/v1/operator/state"),
        ("partner/IJM", "GET", "/v1/operator/events"),
    ],
)
async def test_i8_partners_and_console_have_no_way_into_each_others_routes(
    client: Clients, party: str, method: str, path: str
) -> None:
    one = client(party)
    await one.log_in()
    refused(await one.send(method, path), 403, "insufficient_scope", "refused")


async def test_a_body_is_not_read_before_its_sender_is_known(http: httpx.AsyncClient) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    answer = await http.post("/v1/queries", content=never(), headers={"content-length": "100"})
    assert answer.status_code == 401


async def test_a_full_cache_of_proofs_refuses(ijm: ApiClient, app: FastAPI) -> None:
    cache = app.state.issuer._proofs.of(str(ijm.home.identity))
    for number in range(cache._capacity - len(cache)):
        cache.take(f"filler {number}", until=ijm.clock.now() + 100, now=ijm.clock.now())
    answer = await ijm.send("GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    ijm.clock.advance(101)
    await admitted(await ijm.send("GET", PATH))


async def test_a_partner_has_its_part_of_requests_at_once(ijm: ApiClient, client: Clients, app: FastAPI) -> None:
    release, running = asyncio.Event(), 0
    router = guarded_router()

    @router.get("/v1/slow")
    async def slow(who: Annotated[Caller, caller(Scope.QUERY)]) -> str:
        nonlocal running
        running += 1
        await release.wait()
        return str(who.identity)

    app.include_router(router)
    tasks = [asyncio.create_task(ijm.send("GET", "/v1/slow")) for _ in range(16)]
    await _until(lambda: running == 16)
    answer = await ijm.send("GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    other = client("partner/OSCE")
    await other.log_in()
    await admitted(await other.send("GET", PATH))
    release.set()
    assert {one.status_code for one in await asyncio.gather(*tasks)} == {200}
    await admitted(await ijm.send("GET", PATH))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- what is waited for sets no event
            await asyncio.sleep(0.005)
