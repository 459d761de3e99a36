"""GET /metrics in Prometheus's text format: plain HTTP on a port of its own, off unless the settings name an address.

It is for the hub operator's own network. There is one path and one verb; a request is a head of few bytes that comes
soon, and every connection ends with its answer.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAX_HEAD_BYTES: Final = 8 << 10
MAX_CONNECTIONS: Final = 16
HEAD_S: Final = 5.0
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Answers with what `read` returns, to whoever has sent a head within `head_s`."""

    def __init__(self, read: Callable[[], bytes], *, head_s: float = HEAD_S) -> None:
        self._read = read
        self._head_s = head_s
        # One at a time: the reader of the SDK hands what two ask for to either.
        self._reading = asyncio.Lock()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @asynccontextmanager
    async def listening(self, address: str) -> AsyncIterator[int]:
        """Serve while the block runs; give the port.

        Raises:
            ConfigError: The address cannot be bound.
        """
        host, _, port = address.rpartition(":")
        try:
            server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise ConfigError(f"metrics: cannot listen on {address}: in use, or not of this machine") from error
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            # Not by cancelling their tasks, which Python 3.11 logs as errors.
            for writer in self._open.values():
                writer.transport.abort()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            if len(self._open) <= MAX_CONNECTIONS:
                writer.write(await self._answer(reader))
                async with asyncio.timeout(self._head_s):
                    await writer.drain()
        except (TimeoutError, OSError):
            # Whoever asks too slowly, or has gone, gets nothing.
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            del self._open[task]

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._head_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return _response("400 Bad Request")
        verb, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        if path != b"/metrics":
            return _response("404 Not Found")
        if verb != b"GET":
            return _response("405 Method Not Allowed", extra="Allow: GET\r\n")
        async with self._reading:
            return _response("200 OK", await asyncio.to_thread(self._read))


@asynccontextmanager
async def metrics_at(address: str | None, read: Callable[[], bytes] | None) -> AsyncIterator[int | None]:
    """Serve metrics while the block runs, where there is an address; give the port.

    Raises:
        ConfigError: The address cannot be bound.
    """
    if address is None or read is None:
        yield None
        return
    async with MetricsServer(read).listening(address) as port:
        yield port


def _response(status: str, body: bytes = b"", *, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{extra}Connection: close\r\n\r\n"
    )
    return head.encode() + body
