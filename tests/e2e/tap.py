"""A relay that sees what two parties say inside TLS, without any change to either.

It listens at the address that the manifest names, with the server's own key and certificate; learns from the client's
certificate who calls; dials the real server, which listens elsewhere, with that client's key and certificate; and keeps
every plaintext byte by party pair and direction. gRPC splits a message over DATA frames as it likes, so these are put
together again by stream: what straddles two frames is found.

    with Tapping() as tapping:
        tapping.add(server_home, listen="localhost:7001", dial="localhost:8001", clients=homes_by_spiffe_id)
        ...
        for place, content in tapping.wire.places(): ...

Limits: HPACK is not decoded. gRPC core writes header values as plain literals, which the planted leaks show; if it
began to compress them, those tests would fail.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from concordat.identity.certificates import peer_of
from concordat.identity.names import SpiffeId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

LIMIT_BYTES: Final = 256 << 20
GOODBYE_S: Final = 0.2
_READ_BYTES: Final = 1 << 16
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD_BYTES: Final = 9
_DATA: Final = 0
_HEADERS: Final = 1
_PADDED: Final = 8
_MESSAGE_HEAD_BYTES: Final = 5


class Frames:
    """One direction of one HTTP/2 connection (RFC 9113 section 4), taken apart."""

    def __init__(self, *, preface: bool) -> None:
        self.data: dict[int, bytearray] = {}
        """Contents of DATA frames by stream."""
        self.rest = bytearray()
        """Payloads of all other frames: header blocks, settings, the debug text of GOAWAY."""
        self._pending = bytearray()
        self._preface = preface

    def feed(self, plain: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        pending = self._pending
        pending += plain
        if self._preface:
            if len(pending) < len(_PREFACE):
                return
            assert pending.startswith(_PREFACE), "the client speaks HTTP/2 with prior knowledge"
            del pending[: len(_PREFACE)]
            self._preface = False
        while len(pending) >= _FRAME_HEAD_BYTES:
            end = _FRAME_HEAD_BYTES + int.from_bytes(pending[:3], "big")
            if len(pending) < end:
                return
            stream = int.from_bytes(pending[5:9], "big") & 0x7FFF_FFFF
            self._frame(pending[3], pending[4], stream, bytes(pending[_FRAME_HEAD_BYTES:end]))
            del pending[:end]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (_DATA, _HEADERS) and flags & _PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if kind == _DATA:
            self.data.setdefault(stream, bytearray()).extend(payload)
        else:
            self.rest += payload

    def messages(self) -> Iterator[bytes]:
        """Return the gRPC messages of all streams; none is compressed, or the search would be blind."""
        for stream in self.data:
            yield from self.messages_of(stream)

    def messages_of(self, stream: int) -> Iterator[bytes]:
        """Return the gRPC messages of one stream, as far as they have come."""
        content, at = self.data[stream], 0
        while at < len(content):
            assert content[at] == 0, "a compressed gRPC message"
            end = at + _MESSAGE_HEAD_BYTES + int.from_bytes(content[at + 1 : at + _MESSAGE_HEAD_BYTES], "big")
            if end > len(content):
                return
            yield bytes(content[at + _MESSAGE_HEAD_BYTES : end])
            at = end


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one connection carried."""

    client: SpiffeId
    server: SpiffeId
    up: Frames = field(default_factory=lambda: Frames(preface=True))
    down: Frames = field(default_factory=lambda: Frames(preface=False))


class Wire:
    """All conversations, up to a limit of bytes."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._left = limit_bytes
        self._lock = threading.Lock()
        self._conversations: list[Conversation] = []
        self.errors: list[str] = []
        """What made a recording incomplete; a test that reads an incomplete one proves nothing."""

    def begin(self, client: SpiffeId, server: SpiffeId) -> Conversation:
        """Add a connection."""
        conversation = Conversation(client, server)
        with self._lock:
            self._conversations.append(conversation)
        return conversation

    def keep(self, frames: Frames, plain: bytes) -> None:
        """Take bytes of one direction."""
        with self._lock:
            self._left -= len(plain)
            if self._left < 0:
                self.errors.append("more was said than the recording may hold")
                return
            try:
                frames.feed(plain)
            except AssertionError as error:
                self.errors.append(str(error))

    def conversations(self) -> list[Conversation]:
        """Return all connections so far."""
        with self._lock:
            return list(self._conversations)

    def places(self) -> list[tuple[str, bytes]]:
        """Return everything that was said so far, with the place where it was."""
        found: list[tuple[str, bytes]] = []
        with self._lock:
            for number, one in enumerate(self._conversations, 1):
                client, server = (f"{party.role}/{party.name}" for party in (one.client, one.server))
                ways = ((f"{client} > {server}", one.up), (f"{server} > {client}", one.down))
                for way, frames in ways:
                    place = f"wire {way}, connection {number}"
                    found.append((f"{place}, headers", bytes(frames.rest)))
                    found += [(f"{place}, stream {stream}", bytes(data)) for stream, data in frames.data.items()]
        return found


@dataclass(frozen=True, slots=True)
class _Route:
    server_home: Path
    listen: str
    dial: str
    clients: Mapping[str, Path]


class Tapping:
    """Relays of one test, run by a thread of their own; a context manager that stops them."""

    def __init__(self, gate: Callable[[Conversation, Frames], Awaitable[None]] | None = None) -> None:
        """Relay nothing yet.

        Args:
            gate: Awaited with what came, and with the direction that it came in, before it is carried on.
        """
        self.wire = Wire()
        self._gate = gate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="taps")
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def add(self, server_home: Path, *, listen: str, dial: str, clients: Mapping[str, Path]) -> None:
        """Relay from one address to another.

        Args:
            server_home: Folder of the party that answers there.
            listen: HOST:PORT that its clients dial.
            dial: HOST:PORT where it listens.
            clients: SPIFFE id -> folder of each party that may call.
        """
        route = _Route(server_home, listen, dial, clients)
        asyncio.run_coroutine_threadsafe(self._listen(route), self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, route: _Route) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._relays.add(task)
            try:
                await self._relay(route, reader, writer)
            finally:
                self._relays.discard(task)
                # Not `close`, which says goodbye and waits: a client must see at once that the server is gone.
                writer.transport.abort()

        host, port = _split(route.listen)
        context = _context(ssl.PROTOCOL_TLS_SERVER, route.server_home, route.server_home)
        self._servers.append(await asyncio.start_server(accept, host, port, ssl=context))

    async def _relay(self, route: _Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _peer(writer)
        server = peer_of((route.server_home / "tls.crt").read_bytes())
        context = _context(ssl.PROTOCOL_TLS_CLIENT, route.clients[str(client)], route.server_home)
        host, port = _split(route.dial)
        try:
            onward = await asyncio.open_connection(host, port, ssl=context, server_hostname=server.dns_name)
        except OSError:
            # The server is down, and its client shall see just that.
            return
        said = self.wire.begin(client, server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(said, said.up, reader, onward[1]))
                group.create_task(self._pump(said, said.down, onward[0], writer))
        finally:
            onward[1].transport.abort()

    async def _pump(
        self, said: Conversation, frames: Frames, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # A party that was killed breaks its connection; that is what it is.
        with suppress(OSError, TimeoutError):
            while plain := await reader.read(_READ_BYTES):
                self.wire.keep(frames, plain)
                if self._gate is not None:
                    await self._gate(said, frames)
                writer.write(plain)
                await writer.drain()
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), GOODBYE_S)
        writer.transport.abort()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        # One turn for transports to close their sockets.
        await asyncio.sleep(0.05)


def _context(side: ssl._SSLMethod, home: Path, roots: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(roots / "tls-roots.crt")
    context.load_cert_chain(home / "tls.crt", home / "tls.key")
    context.set_alpn_protocols(["h2"])
    return context


def _peer(writer: asyncio.StreamWriter) -> SpiffeId:
    names = writer.get_extra_info("peercert")["subjectAltName"]
    return SpiffeId.parse(next(name for kind, name in names if kind == "URI"))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
