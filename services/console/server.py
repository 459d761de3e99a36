"""The console behind its port: TLS unless it is on loopback, limits on heads and connections, an end in time."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from concordat.telemetry.http import HttpSpans
from concordat.web import Server, quiet

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI


MAX_CONNECTIONS: Final = 512
DRAIN_S: Final = 2
KEEP_ALIVE_S: Final = 30


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
    running = await server.begin(sockets)
    on_ready()
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await on_stop()
    server.should_exit = True
    await running
