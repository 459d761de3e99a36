"""The API behind TLS, on a port of its own in the loop that runs everything: who it is, what it ends, how it stops."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from concordat.errors import ConfigError
from gateway.api.server import ApiServer, ApiSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI

    from concordat.identity.home import Home


@asynccontextmanager
async def serving(app: FastAPI, home: Home, **settings: object) -> AsyncIterator[ApiServer]:
    server = ApiServer(app, ApiSettings.model_validate({"address": "127.0.0.1:0", **settings}), home=home)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def tls_of(home: Home) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=home.tls_roots_pem.decode())


async def get(server: ApiServer, home: Home, path: str, name: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=tls_of(home), trust_env=False) as http:
        return await http.get(f"https://127.0.0.1:{server.port}{path}", extensions={"sni_hostname": name})


async def test_it_serves_under_the_gateways_name_on_a_port_of_its_own(
    app: FastAPI, home: Callable[[str], Home]
) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway) as server:
        assert server.port > 0
        answer = await get(server, gateway, "/healthz", gateway.identity.dns_name)
    assert (answer.status_code, answer.json(), "server" in answer.headers) == (200, {"status": "ok"}, False)


async def test_a_client_that_looks_for_another_party_is_told_by_tls(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway) as server:
        with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
            await get(server, gateway, "/healthz", "g2.gateway.api.example")


async def test_tls_before_1_3_is_refused(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway = home("gateway/g1")
    context = tls_of(gateway)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(app, gateway) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="localhost")


async def test_a_port_that_is_taken_is_an_error_of_configuration(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway) as server:
        with pytest.raises(ConfigError, match="cannot listen"):
            ApiServer(app, ApiSettings(address=f"127.0.0.1:{server.port}"), home=gateway)
    with pytest.raises(ConfigError, match="cannot listen"):
        ApiServer(app, ApiSettings(address="no-such-host.invalid:7443"), home=gateway)


async def test_a_name_of_several_addresses_is_bound_on_all_with_one_port(
    app: FastAPI, home: Callable[[str], Home]
) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway, address="localhost:0") as server:
        assert {one.getsockname()[1] for one in server._sockets} == {server.port}
        assert (await get(server, gateway, "/healthz", gateway.identity.dns_name)).is_success


async def test_signals_stay_with_the_gateway(app: FastAPI, home: Callable[[str], Home]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(app, home("gateway/g1")):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@asynccontextmanager
async def connection(server: ApiServer, home: Home) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=tls_of(home), server_hostname="localhost"
    )
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\ncookie: "], ids=["nothing", "half a head"])
async def test_a_connection_that_asks_for_nothing_is_closed(
    app: FastAPI, home: Callable[[str], Home], sent: bytes
) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway, keep_alive_s=1) as server, connection(server, gateway) as (reader, writer):
        writer.write(sent)
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            while not closed.done():
                # A byte now and then keeps nobody's place.
                writer.write(b"x" if sent else b"")
                await asyncio.wait([closed], timeout=0.2)
        assert isinstance(closed.exception(), ConnectionError | None)


async def test_a_head_has_a_limit(app: FastAPI, home: Callable[[str], Home]) -> None:
    gateway = home("gateway/g1")
    async with serving(app, gateway) as server, connection(server, gateway) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncookie: " + b"x" * (64 << 10))
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("drains", [True, False])
async def test_stopping_lets_requests_end_and_takes_no_new_ones(
    app: FastAPI, home: Callable[[str], Home], drains: bool
) -> None:
    gateway, begun, go_on = home("gateway/g1"), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    async with serving(app, gateway, drain_s=20 if drains else 0) as server:
        request = asyncio.create_task(get(server, gateway, "/slow", gateway.identity.dns_name))
        await begun.wait()
        stopping = asyncio.create_task(server.stop())
        await app.state.stopping.wait()
        if drains:
            go_on.set()
            assert (await request).json() == "done"
        else:
            answer = await request
            assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
        await stopping
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


async def test_a_refusal_arrives_although_the_body_was_never_read(app: FastAPI, home: Callable[[str], Home]) -> None:
    """As with a nonce that is old: the answer is what makes the client come again."""
    gateway = home("gateway/g1")
    async with (
        serving(app, gateway) as server,
        httpx.AsyncClient(verify=tls_of(gateway), trust_env=False) as http,
    ):
        for size in (200_000, 1 << 20, 8 << 20):
            answer = await http.post(f"https://127.0.0.1:{server.port}/v1/queries", content=b"x" * size)
            assert answer.status_code == 401
        assert (await http.get(f"https://127.0.0.1:{server.port}/healthz")).is_success
