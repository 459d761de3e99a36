"""What every HTTPS server of ours shares: a port on all addresses of a host, uvicorn without habits, idle connections.

    sockets = bind("localhost:7443")
    server = Server(quiet(app, max_connections=512, keep_alive_s=30, drain_s=2.0, tls=context))
    await server.serve(sockets=sockets)

uvicorn's logs of requests are off, and it handles no signal: who runs the process stops the server.
"""

from __future__ import annotations

import errno
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from concordat.errors import ConfigError

if TYPE_CHECKING:
    import asyncio
    import ssl

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

MAX_HEAD_BYTES: Final = 16 << 10
BACKLOG: Final = 256
# A family that this machine does not have is no reason to refuse the other one.
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def quiet(
    app: Any, *, max_connections: int, keep_alive_s: int, drain_s: float, tls: ssl.SSLContext | None
) -> uvicorn.Config:
    """Return a configuration under which nothing of a request stands in a log.

    Args:
        app: To serve, as ASGI has it.
        max_connections: Connections at once; more get 503.
        keep_alive_s: After so many seconds a silent connection is closed.
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


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would take over those of the process."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


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
