"""One gateway's HTTPS API, dialled: TLS by the manifest, a DPoP proof with every request, bounded answers."""

from __future__ import annotations

import secrets
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from concordat.client.answers import Answer, transport_error
from concordat.client.proofs import ID_BYTES, dpop_proof
from concordat.errors import ConfigError, ProtocolError
from concordat.identity.keys import SigningKey
from concordat.telemetry.http import requesting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Gateway

MAX_ANSWER_BYTES: Final = 16 << 20
MAX_NONCE_CHARS: Final = 200


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


class Connection:
    """Connections to one gateway, and the key of this process that its tokens are bound to."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        limits: SessionLimits,
    ) -> None:
        self.gateway: Final = _gateway(home)
        self.limits: Final = limits
        self._clock = clock
        self._random_bytes = random_bytes
        self._origin = f"https://{self.gateway.api_address}"
        self._key = SigningKey(random_bytes(32))
        self._nonce: str | None = None
        self._http = httpx.AsyncClient(
            verify=_tls(home.tls_roots_pem),
            trust_env=False,
            limits=httpx.Limits(max_connections=limits.connections),
            headers={"User-Agent": "concordat", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @property
    def party(self) -> str:
        """Return the gateway's name as messages have it."""
        return f"gateway {self.gateway.spiffe.name}"

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        token: str | None,
        body: bytes | None = None,
        silence_s: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Make one exchange; the only place that dials, since the server's name is set with each request.

        Args:
            method: Of HTTP.
            path: Absolute, without query.
            headers: Beside the proof.
            token: The access token among them, which the proof names.
            body: What is sent.
            silence_s: How long the server may say nothing, where that differs from the limit of an answer.

        Raises:
            ConcordatError: The gateway cannot be reached, is too slow, or another server answers.
        """
        with requesting(method) as traced:
            proof = dpop_proof(
                self._key,
                method=method,
                url=self._origin + path,
                now=self._clock.now(),
                jti=self._random_bytes(ID_BYTES),
                token=token,
                nonce=self._nonce,
            )
            request = self._http.build_request(
                method,
                self._origin + path,
                content=body,
                headers={**headers, **traced.headers, "DPoP": proof},
                timeout=httpx.Timeout(silence_s or self.limits.answer_s, connect=self.limits.connect_s),
                # Without it TLS would be satisfied with the host, which other parties' certificates may name too.
                extensions={"sni_hostname": self.gateway.spiffe.dns_name},
            )
            try:
                response = await self._http.send(request, stream=True)
                traced.answered(response.status_code)
                try:
                    self._take_nonce(response)
                    yield response
                finally:
                    await response.aclose()
            except httpx.HTTPError as error:
                raise transport_error(error, party=self.party) from error

    def _take_nonce(self, response: httpx.Response) -> None:
        nonce = response.headers.get("dpop-nonce")
        if nonce is not None and len(nonce) <= MAX_NONCE_CHARS:
            self._nonce = nonce

    async def read(self, response: httpx.Response) -> Answer:
        """Return an answer as a whole.

        Raises:
            ProtocolError: It is over the limit, or compressed, which could hide a size.
        """
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProtocolError(f"{self.party} compressed an answer, which was not asked for")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ProtocolError(f"{self.party}: an answer has more than {MAX_ANSWER_BYTES} bytes", code="too_large")
        return Answer(response.status_code, response.headers, bytes(content))


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
