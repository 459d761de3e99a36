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
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from concordat.api.model import ASSERTION_TYPE
from concordat.client.answers import INVALID_TOKEN, USE_NONCE, Answer, TokenAnswer
from concordat.client.connection import Connection, SessionLimits
from concordat.client.proofs import ID_BYTES, client_assertion
from concordat.client.sse import EventReader, ServerEvent
from concordat.errors import ConcordatError, ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from concordat.clock import Clock
    from concordat.identity.home import Home

__all__ = ["ApiSession", "SessionLimits", "segment"]

M = TypeVar("M", bound=BaseModel)

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 -- a path
RENEW_BEFORE_S: Final = 30.0
RENEW_PART: Final = 0.2


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
        self._connection = Connection(home, clock=clock, random_bytes=random_bytes, limits=self._limits)
        self._token: _Token | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    @property
    def party(self) -> str:
        """Return the gateway's name as messages have it."""
        return self._connection.party

    async def scopes(self) -> tuple[str, ...]:
        """Return what the gateway lets this party do, as its token says.

        Raises:
            ConcordatError: The gateway gives no token, or cannot be reached.
        """
        return (await self._current()).scopes

    async def get(self, path: str, model: type[M]) -> M:
        """Return what stands at a path; see `post`."""
        return (await self._ask("GET", path, None)).model(model, party=self.party)

    async def post(self, path: str, body: BaseModel, model: type[M], *, timeout_s: float | None = None) -> M:
        """Send a body and return the answer.

        Args:
            path: Absolute, without query; what may be foreign in it goes through `segment`.
            body: A body of `concordat.api`.
            model: What is answered.
            timeout_s: For the whole, where it is less than the session's own.

        Raises:
            IdentityError: Another server answers, or the gateway does not accept this party.
            UnavailableError: The gateway cannot be reached, is too slow or too busy.
            ConcordatError: The subclass that the gateway's problem document stands for.
        """
        answer = await self._ask("POST", path, body.model_dump_json().encode(), timeout_s)
        return answer.model(model, party=self.party)

    async def events(
        self, path: str, *, on_trouble: Callable[[ConcordatError], None] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
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
            wished = min(reader.retry_s or 0.0, self._limits.longest_pause_s)
            await asyncio.sleep(max(pause, wished) * (1 + self._random_bytes(1)[0] / 512))
            pause = min(2 * pause, self._limits.longest_pause_s)

    async def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float | None = None) -> Answer:
        allowed_s = min(self._limits.answer_s, timeout_s or self._limits.answer_s)
        try:
            async with asyncio.timeout(allowed_s), self._opened(method, path, body, None) as response:
                return await self._connection.read(response)
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
            exchange = self._connection.exchange(
                method,
                path,
                headers=headers,
                token=token.text,
                body=body,
                silence_s=None if last_id is None else self._limits.silence_s,
            )
            async with exchange as response:
                if response.status_code == httpx.codes.OK:
                    yield response
                    return
                answer = await self._connection.read(response)
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
            exchange = self._connection.exchange(
                "POST", TOKEN_PATH, headers=_FORM, token=None, body=self._token_request()
            )
            async with exchange as response:
                answer = await self._connection.read(response)
            if last_try or answer.oauth_error != USE_NONCE:
                break
        return answer

    def _token_request(self) -> bytes:
        assertion = client_assertion(
            self._home.signing_key,
            client=self._home.identity,
            gateway=self._connection.gateway.spiffe,
            now=self._clock.now(),
            jti=self._random_bytes(ID_BYTES),
        )
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in form.items()).encode()


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
