"""The console behind its port: TLS unless it is on loopback, limits on heads and connections, an end in time."""

from __future__ import annotations

import asyncio
import signal
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError
from concordat.telemetry.http import HttpSpans
from concordat.web import Server, quiet

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fastapi import FastAPI

    from services.console.config import ConsoleSettings

MAX_CONNECTIONS: Final = 512
DRAIN_S: Final = 2
KEEP_ALIVE_S: Final = 30
POLL_S: Final = 0.01


async def serve(
    app: FastAPI,
    sockets: list[socket.socket],
    tls: ssl.SSLContext | None,
    *,
    on_ready: Callable[[], None],
    on_stop: Callable[[], Awaitable[None]],
    stop: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`.

    Args:
        app: The console.
        sockets: Bound to its port.
        tls: None for plain HTTP.
        on_ready: Called once requests are answered.
        on_stop: Runs first when stopping: ends the long answers.
        stop: Stops the server when set; signals set it too.
    """
    config = quiet(HttpSpans(app), max_connections=MAX_CONNECTIONS, keep_alive_s=KEEP_ALIVE_S, drain_s=DRAIN_S, tls=tls)
    server, stop, loop = Server(config), stop or asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may handle signals.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    running = loop.create_task(server.serve(sockets=sockets))
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
