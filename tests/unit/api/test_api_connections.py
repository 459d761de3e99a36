"""Who only holds a place at the API, over TLS: it is taken away, and nobody else's is."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import concordat.web
from concordat.web import Connection
from tests.unit.api.test_api_server import connection, serving, tls_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from fastapi import FastAPI

    from concordat.identity.home import Home

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
WAIT_S = 20


async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(HEALTH)
    async with asyncio.timeout(WAIT_S):
        return (await reader.readuntil(b'"ok"}')).startswith(b"HTTP/1.1 200")


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait until the server has closed a connection, however it did."""
    async with asyncio.timeout(WAIT_S):
        try:
            assert await reader.read() is not None
        except ConnectionError:
            return


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 -- what is waited for is the server's, which tells nobody
            await asyncio.sleep(0.02)


async def test_who_takes_no_answer_loses_its_place(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway, keep_alive_s=1) as server:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(
            sock=small, ssl=tls_of(gateway), server_hostname="localhost", limit=1024
        )
        assert await healthy(reader, writer)
        (held,) = server._server.server_state.connections
        assert isinstance(held, Connection)
        # No token is needed for the longest answer that there is.
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a TLS transport reads too
        writer.write(HEALTH.replace(b"/healthz", b"/v1/openapi.json") * 400)
        await until(lambda: held.flow.write_paused)
        await until(lambda: not server._server.server_state.connections)
        await until(lambda: not server._server.server_state.tasks)
        writer.transport.abort()


async def test_who_takes_its_answer_slowly_keeps_its_place(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway, pieces = home("gateway/g1"), 12

    @app.get("/long")
    async def long() -> str:
        return "x" * (pieces << 20)

    async with serving(app, gateway, keep_alive_s=1) as server, connection(server, gateway) as (reader, writer):
        writer.write(HEALTH.replace(b"/healthz", b"/long"))
        found = 0
        while found < pieces << 20:
            async with asyncio.timeout(WAIT_S):
                found += len(await reader.readexactly(1 << 20))
            # Slow is a matter of the test: each piece takes longer than the server waits for somebody who takes none.
            await asyncio.sleep(0.3)


async def test_idle_connections_make_room_and_take_none_from_who_asks(
    app: FastAPI, home: Callable[[str], Home]
) -> None:
    gateway, begun, go_on = home("gateway/g1"), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "ok"

    async with serving(app, gateway, max_connections=8) as server, AsyncExitStack() as stack:
        busy = await stack.enter_async_context(connection(server, gateway))
        busy[1].write(HEALTH.replace(b"/healthz", b"/slow"))
        await begun.wait()
        idle = [await stack.enter_async_context(connection(server, gateway)) for _ in range(7)]
        for one in (*idle[1:], idle[0]):
            assert await healthy(*one)
        # Full now. Each new one is served, and so is who asked before; the one that was silent longest is gone.
        for one in idle[1:4]:
            assert await healthy(*await stack.enter_async_context(connection(server, gateway)))
            await ended(one[0])
        assert await healthy(*idle[0])
        assert len(server._server.server_state.connections) == 8
        go_on.set()
        async with asyncio.timeout(WAIT_S):
            assert (await busy[0].readuntil(b'"ok"')).startswith(b"HTTP/1.1 200")


async def test_where_all_are_at_work_one_more_is_refused(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway, begun, go_on = home("gateway/g1"), asyncio.Semaphore(0), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        begun.release()
        await go_on.wait()
        return "ok"

    async with serving(app, gateway, max_connections=8) as server, AsyncExitStack() as stack:
        at_work = [await stack.enter_async_context(connection(server, gateway)) for _ in range(8)]
        for _, writer in at_work:
            writer.write(HEALTH.replace(b"/healthz", b"/slow"))
            await begun.acquire()
        await ended((await stack.enter_async_context(connection(server, gateway)))[0])
        go_on.set()
        for reader, _ in at_work:
            async with asyncio.timeout(WAIT_S):
                assert (await reader.readuntil(b'"ok"')).startswith(b"HTTP/1.1 200")


async def test_a_handshake_that_does_not_come_is_given_up(
    app: FastAPI, home: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concordat.web, "HANDSHAKE_S", 0.3)
    async with serving(app, home("gateway/g1")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await ended(reader)
        writer.close()
