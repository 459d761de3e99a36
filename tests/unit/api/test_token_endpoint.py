"""POST /v1/token: who gets a token (RFC 7523, 9449), and that all others are refused, most of them alike (I8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from joserfc.jwk import ECKey, OKPKey

from concordat.base64url import decode, encode
from tests.unit.api.api_world import ApiClient, identity_of, jwt, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from concordat.clock import ManualClock

    Clients = Callable[[str], ApiClient]

PARTNER: Final = {"evaluate", "query", "report"}


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decode(token.split(".")[1]))
    return found


def name_of(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, body["error"], body["code"]


async def ready(client: ApiClient) -> ApiClient:
    """Let a client have a nonce."""
    client.nonce = (await client.ask_token()).headers["DPoP-Nonce"]
    return client


@pytest.mark.parametrize(("party", "scopes"), [("partner/IJM", PARTNER), ("console/console", {"operator"})])
async def test_a_role_gets_its_scopes_for_five_minutes(client: Clients, party: str, scopes: set[str]) -> None:
    one = await ready(client(party))
    answer = await one.ask_token()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], set(body["scope"].split())) == ("DPoP", 300, scopes)
    claims = claims_of(body["access_token"])
    assert claims["cnf"] == {"jkt": one.key.thumbprint()}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (str(one.home.identity), 300)
    assert answer.headers["cache-control"] == "no-store"


async def test_fewer_scopes_are_given_where_fewer_are_asked_for(client: Clients) -> None:
    answer = await (await ready(client("partner/IJM"))).ask_token(form={"scope": "report"})
    assert answer.json()["scope"] == "report"


@pytest.mark.parametrize("scope", ["operator", "report operator", "", "everything", "query  report"])
async def test_a_scope_that_the_role_has_not_is_refused(client: Clients, scope: str) -> None:
    answer = await (await ready(client("partner/IJM"))).ask_token(form={"scope": scope})
    assert name_of(answer) == (400, "invalid_scope", "refused")


async def test_the_first_request_is_told_a_nonce_and_uses_up_nothing(client: Clients) -> None:
    one = client("partner/IJM")
    assertion = one.assertion()
    first = await one.ask_token(form={"client_assertion": assertion})
    assert name_of(first) == (400, "use_dpop_nonce", "bad_identity")
    one.nonce = first.headers["DPoP-Nonce"]
    assert (await one.ask_token(form={"client_assertion": assertion})).status_code == 200


async def test_an_old_nonce_is_told_the_new_one(client: Clients, clock: ManualClock) -> None:
    one = await ready(client("partner/IJM"))
    clock.advance(121)
    answer = await one.ask_token()
    assert name_of(answer) == (400, "use_dpop_nonce", "bad_identity")
    assert answer.headers["DPoP-Nonce"] != one.nonce


async def test_an_assertion_is_used_once(client: Clients) -> None:
    one = await ready(client("partner/IJM"))
    assertion = one.assertion()
    assert (await one.ask_token(form={"client_assertion": assertion})).status_code == 200
    assert name_of(await one.ask_token(form={"client_assertion": assertion})) == (401, "invalid_client", "bad_identity")


async def test_an_assertion_is_used_once_until_it_has_expired(client: Clients, clock: ManualClock) -> None:
    one = await ready(client("partner/IJM"))
    assertion = one.assertion()
    assert (await one.ask_token(form={"client_assertion": assertion})).status_code == 200
    for _ in range(4):
        clock.advance(50)
        await ready(one)
        assert name_of(await one.ask_token(form={"client_assertion": assertion}))[1] == "invalid_client"


async def test_a_proof_is_used_once(client: Clients) -> None:
    one = await ready(client("partner/IJM"))
    proof = one.proof("POST", "/v1/token")
    assert (await one.ask_token(proof=proof)).status_code == 200
    assert name_of(await one.ask_token(proof=proof)) == (400, "invalid_dpop_proof", "bad_identity")


@pytest.mark.parametrize("algorithm", ["Ed25519", "EdDSA"])
async def test_both_names_of_the_algorithm_are_taken(client: Clients, algorithm: str) -> None:
    one = await ready(client("partner/IJM"))
    answer = await one.ask_token(form={"client_assertion": one.assertion(header={"alg": algorithm})})
    assert answer.status_code == 200


@pytest.mark.parametrize("party", ["node/NL", "custodian/c1", "gateway/g1"])
async def test_whoever_has_grpc_gets_no_token(client: Clients, party: str) -> None:
    answer = await (await ready(client(party))).ask_token()
    assert name_of(answer) == (400, "unauthorized_client", "refused")


def none_of(one: ApiClient) -> str:
    _, claims, signature = one.assertion().split(".")
    return f"{encode(json.dumps({'alg': 'none'}).encode())}.{claims}.{signature}"


# The federation's skew of 120 s is granted to the client's clock.
BAD: Final[dict[str, Callable[[ApiClient], str]]] = {
    "expired": lambda one: one.assertion(exp=int(one.clock.now()) - 121),
    "lives too long": lambda one: one.assertion(exp=int(one.clock.now()) + 182),
    "no exp": lambda one: one.assertion(exp=None),
    "an exp that is text": lambda one: one.assertion(exp="4000000000"),
    "an exp without end": lambda one: one.assertion(exp=1 << 60),
    "from the future": lambda one: one.assertion(iat=int(one.clock.now()) + 130),
    "not yet valid": lambda one: one.assertion(nbf=int(one.clock.now()) + 130),
    "another audience": lambda one: one.assertion(aud="spiffe://api.example/gateway/g2"),
    "several audiences": lambda one: one.assertion(aud=[one.gateway, "spiffe://api.example/gateway/g2"]),
    "no audience": lambda one: one.assertion(aud=None),
    "the URL as audience": lambda one: one.assertion(aud="https://localhost:7443/v1/token"),
    "no jti": lambda one: one.assertion(jti=None),
    "a jti that is too long": lambda one: one.assertion(jti="j" * 129),
    "an issuer that is another": lambda one: one.assertion(iss="spiffe://api.example/partner/OSCE"),
    "an unknown client": lambda one: one.assertion(
        iss="spiffe://api.example/partner/NOBODY", sub="spiffe://api.example/partner/NOBODY"
    ),
    "a client that is no name": lambda one: one.assertion(iss="IJM", sub="IJM"),
    "signed by another partner's key": lambda one: one.assertion(
        iss="spiffe://api.example/partner/OSCE", sub="spiffe://api.example/partner/OSCE"
    ),
    "signed by a key of its own": lambda one: one.assertion(key=OKPKey.generate_key("Ed25519")),
    "signed with P-256": lambda one: one.assertion(header={"alg": "ES256"}, key=ECKey.generate_key("P-256")),
    "alg none": none_of,
    "a MAC with the public key": lambda one: one.assertion(
        header={"alg": "HS256"}, key=one.home.signing_key.public.raw
    ),
    "a key in its header": lambda one: one.assertion(
        header={"alg": "Ed25519", "jwk": OKPKey.generate_key("Ed25519").as_dict(private=False)}
    ),
    "a critical header": lambda one: one.assertion(header={"alg": "Ed25519", "crit": ["b64"], "b64": False}),
    "another type": lambda one: one.assertion(header={"alg": "Ed25519", "typ": "dpop+jwt"}),
    "no JWT": lambda _one: "x.y.z",
    "no claims": lambda one: signed({"alg": "Ed25519"}, "[]", identity_of(one.home)),
    "claims without end": lambda one: signed({"alg": "Ed25519"}, "[" * 3000, identity_of(one.home)),
    "a number without end": lambda one: signed({"alg": "Ed25519"}, '{"a":' + "9" * 2500 + "}", identity_of(one.home)),
}


@pytest.mark.parametrize("name", BAD)
async def test_i8_whoever_is_not_authenticated_gets_one_answer(client: Clients, name: str) -> None:
    one = await ready(client("partner/IJM"))
    wrong = await one.ask_token(form={"client_assertion": one.assertion(key=OKPKey.generate_key("Ed25519"))})
    answer = await one.ask_token(form={"client_assertion": BAD[name](one)})
    assert name_of(answer) == (401, "invalid_client", "bad_identity")
    assert (answer.content, answer.headers) == (wrong.content, wrong.headers)


async def test_an_assertion_late_by_less_than_the_skew_holds(client: Clients, clock: ManualClock) -> None:
    one = await ready(client("partner/IJM"))
    assert (await one.ask_token(form={"client_assertion": one.assertion(exp=int(clock.now()) - 100)})).is_success


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, "invalid_request"),
        ({"client_id": "spiffe://api.example/partner/OSCE"}, "invalid_request"),
        ({f"other{number}": "x" for number in range(20)}, "invalid_request"),
    ],
)
async def test_another_form_is_refused(client: Clients, form: dict[str, str], name: str) -> None:
    answer = await (await ready(client("partner/IJM"))).ask_token(form=form)
    assert name_of(answer) == (400, name, "bad_input")


@pytest.mark.parametrize("body", [b"grant_type=a&grant_type=b", b"", b"x", b"grant_type=%ff", b"\xff=1"])
async def test_a_form_that_is_none_is_refused(client: Clients, body: bytes) -> None:
    one = await ready(client("partner/IJM"))
    headers = {"content-type": "application/x-www-form-urlencoded", "dpop": one.proof("POST", "/v1/token")}
    answer = await one.http.post("/v1/token", content=body, headers=headers)
    assert name_of(answer) == (400, "invalid_request", "bad_input")


async def test_a_form_of_another_type_or_size_is_refused(client: Clients) -> None:
    one = client("partner/IJM")
    as_json = await one.http.post("/v1/token", json={"grant_type": "client_credentials"})
    assert (as_json.status_code, as_json.json()["code"]) == (415, "bad_input")
    large = await one.ask_token(form={"scope": "x" * (16 << 10)})
    assert (large.status_code, large.json()["code"]) == (413, "too_large")


async def test_a_token_is_signed_with_no_key_of_the_manifest(client: Clients) -> None:
    one = await ready(client("partner/IJM"))
    token = (await one.ask_token()).json()["access_token"]
    forged = jwt({"typ": "at+jwt", "alg": "Ed25519"}, claims_of(token), identity_of(client("gateway/g1").home))
    answer = await one.send("POST", "/v1/evaluations", token=forged, json={})
    assert name_of(answer) == (401, "invalid_token", "bad_identity")
