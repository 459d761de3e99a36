"""The API behind TLS, in the gateway's own loop: own certificate, limits on heads and idle connections, a drained stop.

    api = await ApiServer.bound(app, settings, home=home)
    await api.start()
    ...
    await api.stop()

Who runs the gateway stops the API.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import Field

from concordat.config import Settings
from concordat.identity.manifest import Address
from concordat.telemetry.http import HttpSpans
from concordat.web import MAX_HEAD_BYTES, Server, bind, quiet, tls_of

__all__ = ["MAX_HEAD_BYTES", "ApiServer", "ApiSettings"]

if TYPE_CHECKING:
    from fastapi import FastAPI

    from concordat.identity.home import Home


class ApiSettings(Settings):
    """What the API's server is told."""

    address: Address = Field(description="HOST:PORT to listen on; port 0 takes a free one.")
    max_connections: int = Field(default=512, ge=8, le=1 << 16, description="Connections at once; idle ones make room.")
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
        tls = tls_of(home.path / "tls.crt", home.path / "tls.key", at_least=ssl.TLSVersion.TLSv1_3)
        self._sockets = bind(settings.address)
        self.port: int = self._sockets[0].getsockname()[1]
        # Clients take the address from the manifest; this is for a gateway whose own settings name another one.
        listens_on = f"{settings.address.rpartition(':')[0]}:{self.port}".lower()
        app.state.authorities = app.state.authorities | {listens_on}
        config = quiet(
            HttpSpans(app, continues=True),
            max_connections=settings.max_connections,
            keep_alive_s=settings.keep_alive_s,
            drain_s=settings.drain_s,
            tls=tls,
        )
        self._server = Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._task = await self._server.begin(self._sockets)

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
