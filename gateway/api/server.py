"""The API behind TLS, in the gateway's own loop: own certificate, limits on heads and idle connections, a drained stop.

    api = await ApiServer.bound(app, settings, home=home)
    await api.start()
    ...
    await api.stop()

uvicorn's logs of requests are off, and it handles no signal: who runs the gateway stops the API.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

import uvicorn
from pydantic import Field
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from concordat.config import Settings
from concordat.errors import ConfigError
from concordat.identity.manifest import Address
from concordat.telemetry.http import HttpSpans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

    from concordat.identity.home import Home

MAX_HEAD_BYTES: Final = 16 << 10
BACKLOG: Final = 256
_START_POLL_S: Final = 0.005
# A family that this machine does not have is no reason to refuse the other one.
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class ApiSettings(Settings):
    """What the API's server is told."""

    address: Address = Field(description="HOST:PORT to listen on; port 0 takes a free one.")
    max_connections: int = Field(default=512, ge=8, le=1 << 16, description="Connections at once; more get 503.")
    keep_alive_s: int = Field(default=30, ge=1, description="Seconds after which a silent connection is closed.")
    drain_s: float = Field(default=2.0, ge=0, description="Seconds that running requests may take when stopping.")


class ApiServer:
    """An app that has its port."""

    def __init__(self, app: FastAPI, settings: ApiSettings, *, home: Home) -> None:
        """Bind the port.

        Raises:
            ConfigError: The address cannot be bound, or the certificate does not fit its key.
        """
        self._app = app
        app.state.stopping = asyncio.Event()
        tls = _tls_of(home)
        self._sockets = list(_bind(settings.address))
        self.port: int = self._sockets[0].getsockname()[1]
        # Clients take the address from the manifest; this is for a gateway whose own settings name another one.
        listens_on = f"{settings.address.rpartition(':')[0]}:{self.port}".lower()
        app.state.authorities = app.state.authorities | {listens_on}
        config = uvicorn.Config(
            HttpSpans(app, continues=True),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=settings.max_connections,
            backlog=BACKLOG,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ssl_context_factory=lambda _config, _default: tls,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=self._sockets))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise ConfigError("the API did not start")
            await asyncio.sleep(_START_POLL_S)

    async def stop(self) -> None:
        """Take no new connection, let running requests end, close; a second time does nothing."""
        self._app.state.stopping.set()
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await task
        for one in self._sockets:
            one.close()


class _Connection(H11Protocol):
    """Closes a connection on which no request has begun for a while, half a head notwithstanding.

    uvicorn's own limit begins with the first answer and ends with the next byte, so that a caller who sends one byte a
    minute, or none, would keep its place for ever.
    """

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._last: object = None
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is self._last and (cycle is None or cycle.response_complete):
            self.transport.abort()
            return
        self._last = cycle
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would take over those of the gateway."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _tls_of(home: Home) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(home.path / "tls.crt", home.path / "tls.key")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{home.path / 'tls.crt'}: no certificate for the API with the key beside it") from error
    return context


def _bind(address: str) -> Iterator[socket.socket]:
    """Bind every address of a host, all with one port."""
    host, _, port_text = address.rpartition(":")
    port = int(port_text)
    refused = ConfigError(f"cannot listen on {address}: in use, not of this machine, or not allowed")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise refused from error
    bound = []
    try:
        for family, kind, protocol, _, place in dict.fromkeys(found):
            with suppress(_Skip):
                bound.append(_listening(family, kind, protocol, (place[0], port, *place[2:])))
                port = bound[0].getsockname()[1]
    except OSError as error:
        for one in bound:
            one.close()
        raise refused from error
    if not bound:
        raise refused
    yield from bound


class _Skip(Exception):  # noqa: N818 -- no error, but a family to pass over
    """This machine has no such family."""


def _listening(family: int, kind: int, protocol: int, place: tuple[object, ...]) -> socket.socket:
    try:
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _Skip from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        if error.errno in _NO_FAMILY:
            raise _Skip from error
        raise
    return made
