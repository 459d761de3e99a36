"""The API over ASGI, and a client that does everything right but what a test changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

from concordat.base64url import encode
from concordat.errors import ConcordatError
from gateway.api.app import build_app
from gateway.api.context import ApiContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from concordat.clock import Clock, ManualClock
    from concordat.custodians import Transport
    from concordat.identity.home import Home
    from concordat.identity.manifest import Custodian
    from concordat.wire.v1 import custodian_pb2 as wire
    from gateway.api.access import Gate
    from gateway.hub import Hub
    from gateway.operations_store import OperationStore

NOW: Final = 1_800_000_000.0
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class RelayByHand:
    """Custodians that answer what a test says, and keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, wire.EvaluateRequest]] = []
        self.answer: wire.EvaluateResponse | ConcordatError | None = None

    async def evaluate(
        self, custodian: Custodian, request: wire.EvaluateRequest, *, timeout_s: float
    ) -> wire.EvaluateResponse:
        self.asked.append((custodian.index, request))
        assert timeout_s > 0
        if isinstance(self.answer, ConcordatError):
            raise self.answer
        assert self.answer is not None
        return self.answer

    async def close(self) -> None: ...


def app_of(home: Home, clock: Clock, store: OperationStore, relay: Transport, *, gate: Gate | None = None) -> FastAPI:
    """Build the app of a gateway without a hub."""
    context = ApiContext(
        home=home,
        clock=clock,
        hub=cast("Hub", None),
        operations=store,
        view=None,
        relay=relay,
        random_bytes=secrets.token_bytes,
    )
    return build_app(context, gate=gate)


def http_of(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of an app whose own errors do not come out of it but as answers."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="https://localhost:7443")


def jwt(header: Mapping[str, Any], claims: Mapping[str, Any], key: Any) -> str:
    """Sign any claims with any header, as no honest client would."""
    return signed(header, json.dumps(claims), key)


def signed(header: Mapping[str, Any], payload: str, key: Any) -> str:
    """Sign any text under any header; joserfc itself would refuse to write much of what tests need."""
    part = ".".join((encode(json.dumps(header).encode()), encode(payload.encode())))
    if isinstance(key, bytes):
        return f"{part}.{encode(hmac.digest(key, part.encode(), 'sha256'))}"
    return f"{part}.{encode(JWSRegistry.algorithms[header['alg']].sign(part.encode(), key))}"


def identity_of(home: Home) -> OKPKey:
    """Return a party's identity key in joserfc's form."""
    return OKPKey.import_key(home.signing_key._key)


@dataclass
class ApiClient:
    """A party's program: it signs assertions and proofs by hand."""

    home: Home
    http: httpx.AsyncClient
    clock: ManualClock
    gateway: str
    key: OKPKey | ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    nonce: str | None = None
    token: str = ""

    def assertion(self, *, header: Mapping[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        now = int(self.clock.now())
        claims = {
            "iss": str(self.home.identity),
            "sub": str(self.home.identity),
            "aud": self.gateway,
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + 60,
        }
        return jwt(header or {"alg": "Ed25519"}, _changed(claims, changes), key or identity_of(self.home))

    def proof(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        header: Mapping[str, Any] | None = None,
        key: Any = None,
        **changes: Any,
    ) -> str:
        signer = key or self.key
        claims: dict[str, Any] = {
            "jti": secrets.token_hex(16),
            "htm": method,
            "htu": f"https://localhost:7443{path}",
            "iat": int(self.clock.now()),
        }
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        if token is not None:
            claims["ath"] = encode(hashlib.sha256(token.encode()).digest())
        algorithm = "ES256" if isinstance(signer, ECKey) else "Ed25519"
        whole = {"typ": "dpop+jwt", "alg": algorithm, "jwk": signer.as_dict(private=False), **(header or {})}
        return jwt(whole, _changed(claims, changes), signer)

    async def ask_token(self, *, proof: str | None = None, form: Mapping[str, str] | None = None) -> httpx.Response:
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion() if form is None or "client_assertion" not in form else "",
            **(form or {}),
        }
        headers = {"DPoP": proof if proof is not None else self.proof("POST", "/v1/token")}
        return await self.http.post("/v1/token", data=fields, headers=headers)

    async def log_in(self) -> None:
        """Get a nonce and a token."""
        if self.nonce is None:
            self.nonce = (await self.ask_token()).headers["DPoP-Nonce"]
        answer = await self.ask_token()
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["access_token"]

    async def send(
        self, method: str, path: str, *, proof: str | None = None, token: str | None = None, **more: Any
    ) -> httpx.Response:
        bearer = token if token is not None else self.token
        made = proof if proof is not None else self.proof(method, path, token=bearer)
        headers = {"Authorization": f"DPoP {bearer}", "DPoP": made, **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)


def _changed(claims: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return claims with others in their place; None takes one away."""
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}
