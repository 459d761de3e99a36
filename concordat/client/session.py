"""A session with the gateway's HTTPS API: token, proofs, nonces and errors, for partners and the console (3.9).

    async with ApiSession(home, clock=clock) as session:
        report = await session.get("/v1/operations/op1/report", ReportResponse)
        async for event in session.events("/v1/operator/events"):
            ...

TLS is checked against the roots and the gateway's name of the manifest, whatever the host is called; no proxy, key log
or trust store of the environment has a say. A token is asked for with the party's identity key, is bound to a key that
only this process has, and is renewed before its end.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from concordat.client.answers import INVALID_TOKEN, USE_NONCE, Answer, TokenAnswer, transport_error
from concordat.client.proofs import ASSERTION_TYPE, ID_BYTES, client_assertion, dpop_proof
from concordat.client.sse import EventReader, ServerEvent
from concordat.errors import ConcordatError, ConfigError, ProtocolError, UnavailableError
from concordat.identity.keys import SigningKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Gateway

M = TypeVar("M", bound=BaseModel)

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 -- a path
MAX_ANSWER_BYTES: Final = 16 << 20
MAX_NONCE_CHARS: Final = 200
RENEW_BEFORE_S: Final = 30.0
RENEW_PART: Final = 0.2


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Times and numbers of one session."""

    connect_s: float = 5.0
    answer_s: float = 30.0
    """For one answer as a whole."""
    silence_s: float = 45.0
    """An event stream that says nothing for so long, not even a comment, is dialled again."""
    connections: int = 8
    first_pause_s: float = 0.25
    longest_pause_s: float = 10.0


@dataclass(slots=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float
    scopes: tuple[str, ...]


class ApiSession:
    """What a partner's or console's process keeps for its calls to one gateway."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        limits: SessionLimits | None = None,
    ) -> None:
        """Prepare a session; nothing is dialled before the first call.

        Raises:
            ConfigError: The manifest names no gateway with an HTTPS API.
        """
        self._home = home
        self._clock = clock
        self._random_bytes = random_bytes
        self._limits = limits or SessionLimits()
        self._gateway = _gateway(home)
        self._origin = f"https://{self._gateway.api_address}"
        self._key = SigningKey(random_bytes(32))
        self._nonce: str | None = None
        self._token: _Token | None = None
        self._asking = asyncio.Lock()
        self._http = httpx.AsyncClient(
            verify=_tls(home.tls_roots_pem),
            trust_env=False,
            timeout=httpx.Timeout(self._limits.answer_s, connect=self._limits.connect_s),
            limits=httpx.Limits(max_connections=self._limits.connections),
            headers={"User-Agent": "concordat", "Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @property
    def party(self) -> str:
        """Return the gateway's name as messages have it."""
        return f"gateway {self._gateway.spiffe.name}"

    async def scopes(self) -> tuple[str, ...]:
        """Return what the gateway lets this party do, as its token says.

        Raises:
            ConcordatError: The gateway gives no token, or cannot be reached.
        """
        return (await self._current()).scopes

    async def get(self, path: str, model: type[M]) -> M:
        """Return what stands at a path; see `post`."""
        return (await self._ask("GET", path, None)).model(model, party=self.party)

    async def post(self, path: str, body: BaseModel, model: type[M]) -> M:
        """Send a body and return the answer.

        Args:
            path: Absolute, without query; what may be foreign in it goes through `segment`.
            body: A body of `concordat.api`.
            model: What is answered.

        Raises:
            IdentityError: Another server answers, or the gateway does not accept this party.
            UnavailableError: The gateway cannot be reached, is too slow or too busy.
            ConcordatError: The subclass that the gateway's problem document stands for.
        """
        return (await self._ask("POST", path, body.model_dump_json().encode())).model(model, party=self.party)

    async def events(
        self, path: str, *, on_trouble: Callable[[ConcordatError], None] | None = None
    ) -> AsyncIterator[ServerEvent]:
        """Read an event stream for ever: where it ends or breaks, it goes on behind the last event that was read.

        Close the iterator, with `contextlib.aclosing`, to end it.

        Args:
            path: Absolute, without query.
            on_trouble: Told each time why the stream is not there, before the pause.

        Raises:
            ConcordatError: What no waiting mends, such as a party that is not permitted.
        """
        last_id, pause = "", self._limits.first_pause_s
        while True:
            reader = EventReader(last_id)
            try:
                async with self._opened("GET", path, None, reader.last_id) as response:
                    async for chunk in response.aiter_raw():
                        for event in reader.feed(chunk):
                            yield event
                            pause = self._limits.first_pause_s
                trouble: ConcordatError = UnavailableError(f"{self.party} ended the stream")
            except ConcordatError as error:
                if not _passes(error):
                    raise
                trouble = error
            last_id = reader.last_id
            if on_trouble is not None:
                on_trouble(trouble)
            # Spread, or all pages of a gateway that comes back would dial in one moment.
            await asyncio.sleep(max(pause, reader.retry_s or 0.0) * (1 + self._random_bytes(1)[0] / 512))
            pause = min(2 * pause, self._limits.longest_pause_s)

    async def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        try:
            async with asyncio.timeout(self._limits.answer_s), self._opened(method, path, body, None) as response:
                return await self._read(response)
        except TimeoutError as error:
            raise UnavailableError(f"{self.party} did not answer in time", code="deadline") from error

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, body: bytes | None, last_id: str | None
    ) -> AsyncIterator[httpx.Response]:
        """Open one authorised exchange; a nonce that is asked for and a token that has ended are renewed once each."""
        mended = set[str]()
        while True:
            token = await self._current()
            headers = {"Authorization": f"DPoP {token.text}", **_content(body, last_id)}
            async with self._sent(method, path, body, headers, token.text) as response:
                if response.status_code == httpx.codes.OK:
                    yield response
                    return
                answer = await self._read(response)
            wrong = answer.oauth_error
            if wrong not in (USE_NONCE, INVALID_TOKEN) or wrong in mended:
                raise answer.error(party=self.party)
            mended.add(wrong)
            if wrong == INVALID_TOKEN and self._token is token:
                # The gateway was restarted, which ends all tokens.
                self._token = None

    async def _current(self) -> _Token:
        async with self._asking:
            if self._token is None or self._clock.monotonic() >= self._token.renew_at:
                self._token = await self._new_token()
            return self._token

    async def _new_token(self) -> _Token:
        asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._limits.answer_s):
                answer = await self._token_answer()
        except TimeoutError as error:
            raise UnavailableError(f"{self.party} did not answer in time", code="deadline") from error
        if answer.status != httpx.codes.OK:
            raise answer.error(party=self.party)
        found = answer.model(TokenAnswer, party=self.party)
        early = min(RENEW_BEFORE_S, RENEW_PART * found.expires_in)
        return _Token(found.access_token, asked_at + found.expires_in - early, tuple(found.scope.split()))

    async def _token_answer(self) -> Answer:
        for last_try in (False, True):
            async with self._sent("POST", TOKEN_PATH, self._token_request(), _FORM, None) as response:
                answer = await self._read(response)
            if last_try or answer.oauth_error != USE_NONCE:
                break
        return answer

    def _token_request(self) -> bytes:
        assertion = client_assertion(
            self._home.signing_key,
            client=self._home.identity,
            gateway=self._gateway.spiffe,
            now=self._clock.now(),
            jti=self._random_bytes(ID_BYTES),
        )
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in form.items()).encode()

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], token: str | None
    ) -> AsyncIterator[httpx.Response]:
        """Make one exchange; the only place that dials, since the server's name is set with each request."""
        url = self._origin + path
        proof = dpop_proof(
            self._key,
            method=method,
            url=url,
            now=self._clock.now(),
            jti=self._random_bytes(ID_BYTES),
            token=token,
            nonce=self._nonce,
        )
        request = self._http.build_request(
            method,
            url,
            content=body,
            headers={**headers, "DPoP": proof},
            timeout=self._timeout(stream=headers.get("Accept") == _EVENTS),
            # Without it TLS would be satisfied with the host, which other parties' certificates may name too.
            extensions={"sni_hostname": self._gateway.spiffe.dns_name},
        )
        try:
            response = await self._http.send(request, stream=True)
            try:
                self._take_nonce(response)
                yield response
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise transport_error(error, party=self.party) from error

    def _timeout(self, *, stream: bool) -> httpx.Timeout:
        return httpx.Timeout(
            self._limits.silence_s if stream else self._limits.answer_s, connect=self._limits.connect_s
        )

    def _take_nonce(self, response: httpx.Response) -> None:
        nonce = response.headers.get("dpop-nonce")
        if nonce is not None and len(nonce) <= MAX_NONCE_CHARS:
            self._nonce = nonce

    async def _read(self, response: httpx.Response) -> Answer:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProtocolError(f"{self.party} compressed an answer, which was not asked for")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ProtocolError(f"{self.party}: an answer has more than {MAX_ANSWER_BYTES} bytes", code="too_large")
        return Answer(response.status_code, response.headers, bytes(content))


def segment(text: str) -> str:
    """Return a foreign text as one segment of a path.

    Raises:
        ConfigError: It is empty, or would be read as a step in the path.
    """
    if text in ("", ".", ".."):
        raise ConfigError("this is no name that an address can hold")
    return quote(text, safe="")


def _passes(error: ConcordatError) -> bool:
    """Tell a trouble that ends by itself."""
    return isinstance(error, UnavailableError) or error.code == "internal"


_EVENTS: Final = "text/event-stream"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


def _content(body: bytes | None, last_id: str | None) -> dict[str, str]:
    if last_id is not None:
        return {"Accept": _EVENTS, "Cache-Control": "no-store"} | ({"Last-Event-ID": last_id} if last_id else {})
    return {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})


def _gateway(home: Home) -> Gateway:
    found = next((one for one in home.manifest.gateways if one.api_address is not None), None)
    if found is None:
        raise ConfigError("the manifest names no gateway with an HTTPS API")
    return found


def _tls(roots_pem: bytes) -> ssl.SSLContext:
    # Not `create_default_context`, which would write the connection's keys where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=roots_pem.decode("ascii"))
    return context
