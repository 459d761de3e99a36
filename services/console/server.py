"""The console behind its port: TLS unless it is on loopback, limits on heads and connections, an end in time."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

import uvicorn
from typing_extensions import override

from concordat.errors import ConfigError
from concordat.telemetry.http import HttpSpans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fastapi import FastAPI

    from services.console.config import ConsoleSettings

MAX_HEAD_BYTES: Final = 16 << 10
BACKLOG: Final = 128
DRAIN_S: Final = 2
KEEP_ALIVE_S: Final = 30
POLL_S: Final = 0.01
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class BoundPort:
    """The addresses of a host, all bound to one port."""

    def __init__(self, host: str, port: int) -> None:
        """Bind.

        Raises:
            ConfigError: The address is in use, not of this machine, or not allowed.
        """
        self.sockets: list[socket.socket] = []
        refused = ConfigError(f"cannot listen on {host}:{port}: in use, not of this machine, or not allowed")
        try:
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, place in dict.fromkeys(places):
                self._bind(family, (place[0], self.port or port, *place[2:]))
        except OSError as error:
            self.close()
            raise refused from error
        if not self.sockets:
            raise refused

    @property
    def port(self) -> int:
        """Return the port; 0 before there is one."""
        number: int = self.sockets[0].getsockname()[1] if self.sockets else 0
        return number

    def _bind(self, family: int, place: tuple[object, ...]) -> None:
        # A machine without the newer protocol has a localhost of that family in its table all the same.
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                return
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
                return
            raise
        self.sockets.append(made)

    def close(self) -> None:
        """Give the port back."""
        for one in self.sockets:
            one.close()


async def serve(
    app: FastAPI,
    bound: BoundPort,
    tls: ssl.SSLContext | None,
    *,
    on_ready: Callable[[], None],
    on_stop: Callable[[], Awaitable[None]],
    stop: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`.

    Args:
        app: The console.
        bound: Its port.
        tls: None for plain HTTP.
        on_ready: Called once requests are answered.
        on_stop: Runs first when stopping: ends the long answers.
        stop: Stops the server when set; signals set it too.
    """
    config = uvicorn.Config(
        HttpSpans(app),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=512,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server, stop, loop = _Server(config), stop or asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may handle signals.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    running = loop.create_task(server.serve(sockets=bound.sockets))
    while not server.started:
        if running.done():
            running.result()
            raise ConfigError("the console did not start")
        await asyncio.sleep(POLL_S)
    on_ready()
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await on_stop()
    server.should_exit = True
    await running


def tls_of(settings: ConsoleSettings, home: Path) -> ssl.SSLContext | None:
    """Return what browsers are shown; None for plain HTTP.

    Raises:
        ConfigError: No certificate, or not with that key.
    """
    if not settings.tls:
        return None
    certificate, key = home / (settings.certificate or "tls.crt"), home / (settings.certificate_key or "tls.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}: no certificate with the key {key}") from error
    return context


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would raise the signal again at the end."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
