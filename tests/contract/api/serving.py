"""A gateway's API over TLS in a thread of its own, for a test client that blocks, and credentials that are right."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import threading
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.auth import AuthBase
from typing_extensions import override

from concordat.api.model import ASSERTION_TYPE
from concordat.base64url import encode
from concordat.client.asking import Questions, Tokenised
from concordat.client.proofs import client_assertion, dpop_proof
from concordat.clock import SystemClock
from concordat.identity.keys import SigningKey
from concordat.vocabulary import Purpose
from gateway.config import GatewaySettings
from gateway.service import open_foundation, open_gateway
from tests.unit.custodian.running import CASE, RunningCustodians, elements, request_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from concordat.identity.home import Home

START_S: Final = 30.0
RENEW_S: Final = 30.0


@contextmanager
def in_a_thread(serve: Callable[[], AbstractAsyncContextManager[None]]) -> Iterator[None]:
    """Enter a context in a loop of another thread, and leave it there."""
    ready, stop = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def run() -> None:
        async with serve():
            ready.set()
            await asyncio.to_thread(stop.wait)

    def target() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 -- told to the test's own thread
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=target)
    thread.start()
    try:
        assert ready.wait(START_S), "the API did not start"
        assert not failed, failed
        yield
    finally:
        stop.set()
        thread.join(START_S)
    assert not failed, failed


@asynccontextmanager
async def whole_gateway(home: Home, federation: Path) -> AsyncIterator[None]:
    """Serve a gateway with hub, operator's view, API, and one custodian behind it."""
    settings = GatewaySettings()
    async with AsyncExitStack() as stack:
        custodians = await stack.enter_async_context(RunningCustodians(federation))
        await custodians.start(1)
        foundation = stack.enter_context(open_foundation(home, settings, clock=SystemClock()))
        api = settings.api_server(home)
        gateway = await stack.enter_async_context(open_gateway(foundation, settings.server(home), api=api))
        await gateway.server.start()
        stack.push_async_callback(gateway.server.stop, 0)
        yield


@dataclass
class Session:
    """A party at the API, with `requests`."""

    home: Home
    http: requests.Session = field(default_factory=requests.Session)
    key: SigningKey = field(default_factory=SigningKey.generate)
    nonce: str | None = None
    token: str | None = None
    asked_at: float = 0.0

    def __post_init__(self) -> None:
        self.http.trust_env = False
        with tempfile.NamedTemporaryFile(delete=False) as roots:
            roots.write(self.home.tls_roots_pem)
        self.http.verify = roots.name

    @property
    def origin(self) -> str:
        return f"https://{self.home.manifest.gateways[0].api_address}"

    def close(self) -> None:
        self.http.close()
        Path(str(self.http.verify)).unlink()

    def form(self) -> dict[str, str]:
        """Return what a token is asked for with."""
        assertion = client_assertion(
            self.home.signing_key,
            client=self.home.identity,
            gateway=self.home.manifest.gateways[0].spiffe,
            now=SystemClock().now(),
            jti=secrets.token_bytes(16),
        )
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }

    def proof(self, method: str, url: str, *, token: str | None) -> str:
        return dpop_proof(
            self.key,
            method=method,
            url=url,
            now=SystemClock().now(),
            jti=secrets.token_bytes(16),
            token=token,
            nonce=self.nonce,
        )

    def current(self) -> str:
        """Return a token whose nonce is still taken."""
        now = SystemClock().monotonic()
        if self.token is None or now - self.asked_at > RENEW_S:
            self.token, self.asked_at = self._token(), now
        return self.token

    def _token(self) -> str:
        url = f"{self.origin}/v1/token"
        for _ in range(2):
            answer = self.http.post(url, data=self.form(), headers={"DPoP": self.proof("POST", url, token=None)})
            self.nonce = answer.headers["DPoP-Nonce"]
            if answer.ok:
                return str(answer.json()["access_token"])
        raise AssertionError(answer.text)


class Signed(AuthBase):
    """Puts right credentials, or wrong ones, on a request as it goes out; where asked, a right body in its place."""

    def __init__(self, sessions: dict[str, Session], manner: str, bodies: dict[str, Callable[[], Any]]) -> None:
        self._sessions = sessions
        self._manner = manner
        self._bodies = bodies

    @override
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert request.url is not None
        assert request.method is not None
        url = request.url.partition("?")[0]
        path = url.removeprefix(self._sessions["partner"].origin)
        session = self._sessions["console" if path.startswith("/v1/operator") else "partner"]
        request.headers.pop("DPoP", None)
        request.headers.pop("Authorization", None)
        if self._manner == "none" or path == "/v1/operator/events":
            # The stream has no end to wait for; what it says is tested with the view.
            return request
        token = session.current()
        wanted = "PUT" if self._manner == "wrong" else request.method
        request.headers["DPoP"] = session.proof(wanted, url, token=None if path == "/v1/token" else token)
        if path != "/v1/token":
            request.headers["Authorization"] = f"DPoP {token}"
        if self._manner == "right body" and path in self._bodies and request.method == "POST":
            self._put_body(request, path)
        return request

    def _put_body(self, request: requests.PreparedRequest, path: str) -> None:
        body = self._bodies[path]()
        request.headers.pop("Content-Type", None)
        if path == "/v1/token":
            request.prepare_body(body, None)
        else:
            request.prepare_body(None, None, json=body)


def right_bodies(session: Session) -> dict[str, Callable[[], Any]]:
    """Return what makes a body for each path that its route takes."""
    home = session.home
    questions = Questions(home, clock=SystemClock())
    case = CASE.model_copy(update={"purpose": Purpose.INVESTIGATION})

    def evaluation() -> Any:
        made = request_of(
            home.manifest,
            home.signing_key,
            requester=home.identity,
            custodian=home.manifest.custodian(1).id,
            now=SystemClock().now(),
            blinded=elements(2),
        )
        return {
            "custodian": 1,
            "body": encode(made.body),
            "signature": encode(made.signature),
            "elements": encode(made.elements),
        }

    def query() -> Any:
        value = Tokenised("e164", secrets.token_bytes(16), secrets.token_bytes(16), secrets.token_bytes(32))
        return questions.question([value], case, epoch=1).body.model_dump(mode="json")

    return {"/v1/token": session.form, "/v1/evaluations": evaluation, "/v1/queries": query}
