"""An HTTPS server that checks tokens and proofs by the book (RFC 7523, 9449), with joserfc, for tests of the client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from typing_extensions import override

from concordat.identity.names import SpiffeId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, MutableMapping

    from concordat.identity.home import Home

ALGORITHMS: Final = ["Ed25519"]
PROBLEM: Final = "application/problem+json"


@dataclass(slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    client: str = ""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def seen(self) -> bytes:
        """Return everything that crossed the wire, to look for what must not."""
        head = "".join(f"{name}: {value}\n" for name, value in self.headers)
        return f"{self.method} {self.path}\n{head}\n".encode() + self.body


@dataclass(slots=True)
class Reply:
    """What a route answers; a body of several chunks is a stream."""

    status: int = 200
    body: bytes | list[bytes] = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hold_s: float = 0.0
    """Keep a stream open after its last chunk."""


class Wrong(Exception):  # noqa: N818 -- an answer
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error


class FakeApi:
    """The server's state and rules; what it serves beside tokens is `routes`."""

    def __init__(self, gateway: Home, port: int | None = None) -> None:
        self.gateway = gateway
        self.origin = f"https://{gateway.manifest.gateways[0].api_address}"
        self.requests: list[Request] = []
        self.nonce: str | None = None
        self.expires_in = 300
        self.tokens: dict[str, tuple[str, str]] = {}
        self.routes: dict[tuple[str, str], Callable[[Request], Awaitable[Reply]]] = {}
        self._used: set[str] = set()

    def route(self, method: str, path: str, *replies: Reply) -> None:
        """Answer a route with these, the last one for ever."""
        waiting = list(replies)

        async def answer(_: Request) -> Reply:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        self.routes[method, path] = answer

    def forget_tokens(self) -> None:
        """Do as a restart does."""
        self.tokens.clear()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        request = Request(scope["method"], scope["raw_path"].decode(), headers, body)
        self.requests.append(request)
        reply = await self._reply(request)
        sent = {"content-type": "application/json", **reply.headers}
        if self.nonce is not None:
            sent["dpop-nonce"] = self.nonce
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        chunks = reply.body if isinstance(reply.body, list) else [reply.body]
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if reply.hold_s:
            await asyncio.sleep(reply.hold_s)
        await send({"type": "http.response.body", "body": b""})

    async def _reply(self, request: Request) -> Reply:
        try:
            if (request.method, request.path) == ("POST", "/v1/token"):
                return self._token(request)
            request.client = self._authorised(request)
        except Wrong as error:
            return _refusal(error)
        answer = self.routes.get((request.method, request.path))
        return await answer(request) if answer else problem(404, "refused")

    def _token(self, request: Request) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
        if form.pop("grant_type") != "client_credentials":
            raise Wrong(400, "unsupported_grant_type")
        assert form.pop("client_assertion_type").endswith(":jwt-bearer")
        thumbprint = self._proof(request, None)
        client = self._asserted(form.pop("client_assertion"))
        assert not form
        token = secrets.token_urlsafe(32)
        self.tokens[token] = (client, thumbprint)
        answer = {"access_token": token, "token_type": "DPoP", "expires_in": self.expires_in, "scope": "evaluate query"}
        return Reply(body=json.dumps(answer).encode())

    def _asserted(self, assertion: str) -> str:
        claims = json.loads(_decoded(assertion.split(".")[1]))
        party = self.gateway.manifest.party_by_id(SpiffeId.parse(claims["iss"]))
        key = jwk.OKPKey.import_key(Ed25519PublicKey.from_public_bytes(party.verify_key.raw))
        try:
            jwt.decode(assertion, key, algorithms=ALGORITHMS)
        except JoseError as error:
            raise Wrong(401, "invalid_client") from error
        now = time.time()
        good = claims["sub"] == claims["iss"] and claims["aud"] == str(self.gateway.identity)
        if not good or not now < claims["exp"] <= now + 60 or claims["jti"] in self._used:
            raise Wrong(401, "invalid_client")
        self._used.add(claims["jti"])
        return party.id

    def _authorised(self, request: Request) -> str:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme != "DPoP" or token not in self.tokens:
            raise Wrong(401, "invalid_token")
        client, thumbprint = self.tokens[token]
        if self._proof(request, token) != thumbprint:
            raise Wrong(401, "invalid_token")
        return client

    def _proof(self, request: Request, token: str | None) -> str:
        proof = request.header("dpop") or ""
        try:
            header = json.loads(_decoded(proof.split(".")[0]))
            key = jwk.import_key(header["jwk"])
            claims = jwt.decode(proof, key, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, IndexError) as error:
            raise Wrong(401, "invalid_dpop_proof") from error
        assert header["typ"] == "dpop+jwt"
        assert not key.is_private
        ath = None if token is None else _encoded(hashlib.sha256(token.encode()).digest())
        good = claims["htm"] == request.method and claims["htu"] == self.origin + request.path
        fresh = abs(claims["iat"] - time.time()) < 60 and claims["jti"] not in self._used
        if not good or not fresh or claims.get("ath") != ath:
            raise Wrong(401, "invalid_dpop_proof")
        if claims.get("nonce") != self.nonce:
            raise Wrong(400 if token is None else 401, "use_dpop_nonce")
        self._used.add(claims["jti"])
        return key.thumbprint()


def problem(status: int, code: str, detail: str | None = None, *, error: str | None = None) -> Reply:
    """Return an RFC 9457 answer."""
    body = {"type": f"urn:concordat:error:{code}", "title": "x", "status": status, "code": code}
    body |= ({"detail": detail} if detail else {}) | ({"error": error} if error else {})
    return Reply(status, json.dumps(body).encode(), {"content-type": PROBLEM})


def _refusal(error: Wrong) -> Reply:
    reply = problem(error.status, "bad_identity", error=error.error)
    reply.headers["www-authenticate"] = f'DPoP error="{error.error}", algs="Ed25519 ES256"'
    return reply


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class _Server(uvicorn.Server):
    @override
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serving(app: FakeApi, certificate_of: Home) -> AsyncIterator[None]:
    """Serve at the manifest's address, with any party's certificate."""
    host, _, port = (certificate_of.manifest.gateways[0].api_address or "").rpartition(":")
    config = uvicorn.Config(
        app,
        ssl_certfile=certificate_of.path / "tls.crt",
        ssl_keyfile=certificate_of.path / "tls.key",
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    with socket.create_server((host, int(port)), reuse_port=False) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 -- uvicorn sets no event
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            server.should_exit = True
            await task
