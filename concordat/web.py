"""What every HTTPS server of ours shares: a port on all addresses of a host, uvicorn without habits, idle connections.

    sockets = bind("localhost:7443")
    server = Server(quiet(app, max_connections=512, keep_alive_s=30, drain_s=2.0, tls=context))
    await server.serve(sockets=sockets)

uvicorn's logs of requests are off, and it handles no signal: who runs the process stops the server.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

MAX_HEAD_BYTES: Final = 16 << 10
BACKLOG: Final = 256
HANDSHAKE_S: Final = 10.0
"""TLS handshakes that take longer are given up; they hold a file of the process and are no connection yet."""
_START_POLL_S: Final = 0.005
# A family that this machine does not have is no reason to refuse the other one.
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def quiet(
    app: Any, *, max_connections: int, keep_alive_s: int, drain_s: float, tls: ssl.SSLContext | None
) -> uvicorn.Config:
    """Return a configuration under which nothing of a request stands in a log.

    Args:
        app: To serve, as ASGI has it.
        max_connections: Connections at once; one more takes the place of the one that has long asked for nothing.
        keep_alive_s: After so many seconds a silent connection is closed, and one that does not take its answer.
        drain_s: Seconds that running requests may take when stopping.
        tls: None for plain HTTP.
    """
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=max_connections,
        backlog=BACKLOG,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )


class Connection(H11Protocol):
    """Ends what only holds a place: a connection on which nothing is asked, or whose caller does not take the answer.

    uvicorn's own limit begins with the first answer and ends with the next byte, so that a caller who sends one byte a
    minute, or none, would keep its place for ever; one who reads nothing would keep it with all that waits to be sent.
    uvicorn's limit of connections refuses requests on all of them, those of long-known callers too. Here a new one
    takes the place of the one that has asked for nothing for longest, and is refused where all are at work.
    """

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most, self.limit_concurrency = self.limit_concurrency, None
        self.idle_since = self.loop.time()
        self._pauses = 0
        self._seen = self._state()
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)
        if most is not None and len(self.connections) > most:
            self._make_room()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    @override
    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    @override
    def pause_writing(self) -> None:
        self._pauses += 1
        super().pause_writing()

    @property
    def idle(self) -> bool:
        """Tell whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _state(self) -> tuple[object, ...]:
        """Return what changes when a request begins, or some of an answer was taken."""
        return self.cycle, self._pauses, self.transport.get_write_buffer_size()

    def _look(self) -> None:
        seen, self._seen = self._seen, self._state()
        if self._seen == seen and (self.idle or self.flow.write_paused):
            self.transport.abort()
            return
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _make_room(self) -> None:
        idle = [one for one in self.connections if isinstance(one, Connection) and one is not self and one.idle]
        longest = min(idle, key=lambda one: one.idle_since, default=self)
        # Its end is heard of later; until then it must not count.
        self.connections.discard(longest)
        longest.transport.abort()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would take over those of the process; handshakes have a limit."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def begin(self, sockets: list[socket.socket]) -> asyncio.Task[None]:
        """Begin to answer; the task that is returned ends when the server has stopped.

        Raises:
            ConfigError: It did not start.
        """
        running = asyncio.get_running_loop().create_task(self.serve(sockets=sockets))
        try:
            while not self.started:
                if running.done():
                    running.result()
                    raise ConfigError("the HTTPS server did not start")
                await asyncio.sleep(_START_POLL_S)
        except asyncio.CancelledError:
            running.cancel()
            raise
        return running

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        for one in sockets or ():
            listens = await loop.create_server(
                self._connection,
                sock=one,
                ssl=tls,
                backlog=self.config.backlog,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
            )
            self.servers.append(listens)

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def tls_of(certificate: Path, key: Path, *, at_least: ssl.TLSVersion) -> ssl.SSLContext:
    """Return what a server shows its callers.

    Raises:
        ConfigError: There is no certificate, or not with that key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = at_least
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}: no certificate with the key {key}") from error
    return context


def bind(address: str) -> list[socket.socket]:
    """Bind every address of a host, all with one port.

    Args:
        address: HOST:PORT; port 0 takes a free one.

    Raises:
        ConfigError: The address is in use, not of this machine, or not allowed.
    """
    host, _, port_text = address.rpartition(":")
    port, bound = int(port_text), list[socket.socket]()
    refused = ConfigError(f"cannot listen on {address}: in use, not of this machine, or not allowed")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            made = _listening(family, (place[0], port, *place[2:]))
            if made is not None:
                bound.append(made)
                port = made.getsockname()[1]
    except OSError as error:
        for one in bound:
            one.close()
        raise refused from error
    if not bound:
        raise refused
    return bound


def _listening(family: int, place: tuple[object, ...]) -> socket.socket | None:
    """Return a socket that listens, or None where this machine has no such family."""
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _NO_FAMILY:
            return None
        raise
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
            return None
        raise
    return made
