"""Building and running a server: mTLS with client certificates, no other mode.

server = build_server(settings, home=home, table=TABLE, known=home.manifest.knows, add=add_my_servicers)
await serve(server, settings, on_ready=print_the_port)
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from pydantic import Field

from concordat.config import Settings
from concordat.errors import ConfigError
from concordat.identity.manifest import Address
from concordat.rpc.guard import Guard, current_peer
from concordat.rpc.limits import MAX_MESSAGE_BYTES, Options, keepalive, message_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from concordat.identity.home import Home
    from concordat.identity.names import SpiffeId
    from concordat.rpc.auth import AuthorisationTable

__all__ = ["BoundServer", "ServerSettings", "build_server", "current_peer", "serve"]

_log = logging.getLogger(__name__)


class ServerSettings(Settings):
    """What every server is told."""

    address: Address = Field(description="HOST:PORT to listen on; port 0 takes a free one.")
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024, le=256 << 20)
    max_concurrent: int = Field(
        default=1024, ge=1, description="Calls at once, sessions included; a quarter of them for one party."
    )
    deadline_s: float = Field(default=30.0, gt=0, description="For unary calls; a caller may set an earlier one.")
    drain_s: float = Field(default=5.0, ge=0, description="How long running calls may finish when stopping.")


@dataclass(frozen=True, slots=True)
class BoundServer:
    """A gRPC server that has its port, not yet started."""

    grpc: grpc.aio.Server
    port: int
    _health: Any

    async def start(self) -> None:
        """Begin to accept calls."""
        await self.grpc.start()

    async def stop(self, grace: float | None) -> None:
        """Say 'not serving', refuse new calls, give running ones `grace` seconds, end them."""
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace)

    async def wait_for_termination(self) -> None:
        """Return when the server has stopped."""
        await self.grpc.wait_for_termination()


def build_server(
    settings: ServerSettings,
    *,
    home: Home,
    table: AuthorisationTable,
    known: Callable[[SpiffeId], bool],
    add: Callable[[grpc.aio.Server], None],
) -> BoundServer:
    """Make a server with its port bound.

    Args:
        settings: Address and limits.
        home: Its own identity, certificate and TLS roots.
        table: Who may call what; rows for the health service are added.
        known: Whether the manifest in force names a party.
        add: Registers the servicers.

    Raises:
        ConfigError: If the address cannot be bound, or a certificate does not fit its key.
    """
    guard = Guard(
        table=table.with_health(), known=known, deadline_s=settings.deadline_s, max_concurrent=settings.max_concurrent
    )
    server = grpc.aio.server(interceptors=[guard], options=_options(settings))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    add(server)
    credentials = grpc.ssl_server_credentials(
        [(home.tls.key_pem, home.tls.certificate_pem)],
        root_certificates=home.tls_roots_pem,
        require_client_auth=True,
    )
    try:
        port = server.add_secure_port(settings.address, credentials)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot listen on {settings.address}: in use, not of this machine, or not allowed"
        ) from error
    if port == 0:
        raise ConfigError(f"cannot listen on {settings.address}: in use, not of this machine, or not allowed")
    return BoundServer(server, port, servicer)


async def serve(
    server: BoundServer,
    settings: ServerSettings,
    *,
    on_ready: Callable[[int], Awaitable[None] | None] | None = None,
    on_stop: Callable[[], Awaitable[None]] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`, then drain.

    Args:
        server: From `build_server`.
        settings: For the drain time.
        on_ready: Told the bound port once calls are accepted.
        on_stop: Runs first when stopping, while calls are still served: end long sessions here.
        stop: Stops the server when set; signals set it too.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    handled = _on_signals(loop, stop)
    try:
        await server.start()
        if on_ready is not None:
            pending = on_ready(server.port)
            if pending is not None:
                await pending
        await stop.wait()
        _log.info("stopping")
        if on_stop is not None:
            await on_stop()
    finally:
        await server.stop(settings.drain_s)
        for number in handled:
            loop.remove_signal_handler(number)


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> list[signal.Signals]:
    handled = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may handle signals; a server in a test's thread is stopped by its event.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
            handled.append(number)
    return handled


def _options(settings: ServerSettings) -> Options:
    # Without so_reuseport=0 a second process binds the same port silently and takes half of the calls.
    return [*message_limits(settings.max_message_bytes), *keepalive(), ("grpc.so_reuseport", 0)]
