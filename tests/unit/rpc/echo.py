"""A service of raw bytes with one method of each kind; the request says what shall happen.

A request is `N:WHAT`: send N replies, then `ok`, `refused`, `detail`, `foreign` (an exception outside our tree that
quotes a secret), `timeout` (one of those too), `slow` (never end), `peer` (say who called), `unlisted` (an error with
a code that no catalogue has).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from concordat.errors import ConcordatError, RefusedError
from concordat.identity.names import Role
from concordat.rpc.auth import AuthorisationTable
from concordat.rpc.client import channel
from concordat.rpc.server import BoundServer, ServerSettings, build_server, current_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from concordat.identity.home import Home
    from concordat.identity.names import SpiffeId

SERVICE: Final = "concordat.test.v1.Echo"
UNARY: Final = f"/{SERVICE}/Unary"
DOWN: Final = f"/{SERVICE}/Down"
UP: Final = f"/{SERVICE}/Up"
BOTH: Final = f"/{SERVICE}/Both"
NO_ROW: Final = f"/{SERVICE}/NoRow"
KINDS: Final = (UNARY, DOWN, UP, BOTH)
SECRET: Final = "+44 7700 900123"

NODES: Final = frozenset({Role.NODE})
TABLE: Final = AuthorisationTable.of(dict.fromkeys(KINDS, NODES))
SETTINGS: Final = ServerSettings(address="127.0.0.1:0", deadline_s=20, drain_s=0)

Context = Any


async def _end(what: bytes) -> bytes:
    if what == b"refused":
        raise RefusedError(f"not for you, {SECRET}", code="quota_exhausted")
    if what == b"detail":
        raise RefusedError("local text", code="stale_epoch", public_detail="epoch 7")
    if what == b"unlisted":
        raise ConcordatError(f"odd, {SECRET}", code="no_such_code")
    if what == b"foreign":
        raise KeyError(SECRET)
    if what == b"timeout":
        raise TimeoutError(SECRET)
    if what == b"slow":
        await asyncio.Event().wait()
    if what == b"peer":
        return str(current_peer()).encode()
    return what


def _read(request: bytes) -> tuple[int, bytes]:
    count, _, what = request.partition(b":")
    return int(count), what


class Echo:
    """The four kinds of handler, and one that no row of the table names."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = asyncio.Event()

    async def unary(self, request: bytes, _context: Context) -> bytes:
        self.calls += 1
        return await _end(_read(request)[1])

    async def down(self, request: bytes, _context: Context) -> AsyncIterator[bytes]:
        self.calls += 1
        try:
            count, what = _read(request)
            for number in range(count):
                yield str(number).encode()
            yield await _end(what)
        finally:
            self.closed.set()

    async def up(self, requests: AsyncIterator[bytes], _context: Context) -> bytes:
        self.calls += 1
        last = b"0:ok"
        async for request in requests:
            last = request
        return await _end(_read(last)[1])

    async def both(self, requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        self.calls += 1
        async for request in requests:
            count, what = _read(request)
            for number in range(count):
                yield str(number).encode()
            yield await _end(what)

    def add(self, server: grpc.aio.Server) -> None:
        """Register the service, as generated code would."""
        handlers: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "NoRow": grpc.unary_unary_rpc_method_handler(self.unary),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@asynccontextmanager
async def serving(
    home: Home,
    echo: Echo,
    *,
    settings: ServerSettings = SETTINGS,
    table: AuthorisationTable = TABLE,
    known: Callable[[SpiffeId], bool] | None = None,
) -> AsyncIterator[BoundServer]:
    """Run the service on a free loopback port."""
    server = build_server(settings, home=home, table=table, known=known or home.manifest.knows, add=echo.add)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def dialled(server: BoundServer, *, home: Home, to: SpiffeId, limit: int = 32 << 20) -> AsyncIterator[Calls]:
    """Open a channel to it."""
    async with channel(f"127.0.0.1:{server.port}", home=home, server=to, max_message_bytes=limit) as opened:
        yield Calls(opened)


class Calls:
    """One call of each kind, with all replies as a list."""

    def __init__(self, opened: grpc.aio.Channel) -> None:
        self.channel = opened
        self.unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(UNARY)
        self.down: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(DOWN)
        self.up: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = opened.stream_unary(UP)
        self.both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(BOTH)

    async def replies(self, method: str, request: bytes, *, timeout_s: float | None = 10) -> list[bytes]:
        """Call a method of any kind with one request."""
        if method == DOWN:
            return [reply async for reply in self.down(request, timeout=timeout_s)]
        if method == UP:
            return [await self.up(_one(request), timeout=timeout_s)]
        if method == BOTH:
            return [reply async for reply in self.both(_one(request), timeout=timeout_s)]
        other: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(method)
        return [await other(request, timeout=timeout_s)]

    async def failure(self, method: str, request: bytes, *, timeout_s: float | None = 10) -> grpc.aio.AioRpcError:
        """Call a method that must fail, and return how it did."""
        try:
            await self.replies(method, request, timeout_s=timeout_s)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call was answered")


async def _one(request: bytes) -> AsyncIterator[bytes]:
    yield request
