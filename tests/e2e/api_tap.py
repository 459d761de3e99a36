"""A relay that sees what a client and the gateway's HTTPS API say inside TLS.

It listens at the API's address of the manifest with the gateway's own certificate, and passes every byte on to where
the gateway really listens. HTTP/1.1 needs no putting together: what a connection carried is searched as one text.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from concordat.identity.certificates import peer_of

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Said:
    """What one connection carried, in each direction."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class ApiTap:
    """One relay with a thread of its own; a context manager that stops it."""

    def __init__(self, gateway: Path, *, listen: str, dial: str) -> None:
        self._gateway = gateway
        self._listen, self._dial = (_split(one) for one in (listen, dial))
        self._said: list[Said] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="api tap")
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def places(self) -> list[tuple[str, bytes]]:
        """Return everything that was said so far, with the place where it was."""
        return [
            (f"API connection {number}, {way}", bytes(content))
            for number, said in enumerate(list(self._said), 1)
            for way, content in (("up", said.up), ("down", said.down))
        ]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._gateway / "tls.crt", self._gateway / "tls.key")
        self._server = await asyncio.start_server(self._accept, *self._listen, ssl=context)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        # One turn for transports to close their sockets.
        await asyncio.sleep(0.05)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(reader, writer)
        finally:
            self._relays.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._gateway / "tls-roots.crt")
        name = peer_of((self._gateway / "tls.crt").read_bytes()).dns_name
        onward = await asyncio.open_connection(*self._dial, ssl=context, server_hostname=name)
        said = Said()
        self._said.append(said)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, onward[1], said.up))
                group.create_task(_pump(onward[0], writer, said.down))
        finally:
            onward[1].transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(OSError):
        while plain := await reader.read(_READ_BYTES):
            kept += plain
            writer.write(plain)
            await writer.drain()
        writer.close()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
