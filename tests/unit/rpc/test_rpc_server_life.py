"""Limits, deadlines, health, and how a server begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from concordat.errors import ConfigError, InputError, UnavailableError
from concordat.rpc.client import translate, translated
from concordat.rpc.server import ServerSettings, build_server, current_peer, serve
from tests.unit.rpc.echo import DOWN, KINDS, SETTINGS, TABLE, UNARY, UP, Echo, dialled, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.rpc.conftest import Parties

SMALL = ServerSettings(address="127.0.0.1:0", max_message_bytes=4096, drain_s=0)


@pytest.mark.parametrize("method", KINDS)
async def test_a_message_over_the_servers_limit_is_a_clear_error(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo, settings=SMALL) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:" + b"x" * 5000)
        assert await calls.replies(method, b"0:ok") == [b"ok"]
    back = translate(error, "custodian 1")
    assert (type(back), back.code) == (InputError, "too_large")


@pytest.mark.parametrize("method", [UNARY, DOWN])
async def test_a_reply_over_the_callers_limit_is_a_clear_error(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity, limit=1024) as calls,
    ):
        # The request is over the caller's own limit, so it does not even leave.
        error = await calls.failure(method, b"0:" + b"x" * 5000)
    assert translate(error, "custodian 1").code == "too_large"
    assert echo.calls == 0


async def test_a_unary_call_without_a_deadline_gets_the_servers(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", deadline_s=0.2, drain_s=0)
    async with (
        serving(parties.custodian, echo, settings=settings) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:slow", timeout_s=None)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(error.trailing_metadata() or ()) == {"concordat-error": "deadline"}


async def test_a_time_out_inside_a_handler_is_not_taken_for_the_servers_deadline(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:timeout", timeout_s=None)
    assert error.code() is grpc.StatusCode.INTERNAL


async def test_a_session_without_a_deadline_outlives_the_unary_one(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", deadline_s=0.05, drain_s=0)
    release = asyncio.Event()
    async with (
        serving(parties.custodian, echo, settings=settings) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        session = calls.both(_two(b"0:first", release, b"0:second"))
        assert await session.read() == b"first"
        await asyncio.sleep(0.2)
        release.set()
        assert await session.read() == b"second"


async def test_a_caller_that_leaves_ends_the_handlers_stream(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        stream = calls.down(b"1:slow")
        assert await stream.read() == b"0"
        stream.cancel()
        async with asyncio.timeout(10):
            await echo.closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await stream.read()


async def test_calls_over_the_limit_are_told_to_come_back(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", max_concurrent=1, drain_s=0)
    async with (
        serving(parties.custodian, echo, settings=settings) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        held = calls.down(b"1:slow")
        assert await held.read() == b"0"
        error = await calls.failure(UP, b"0:ok")
        held.cancel()
        async with asyncio.timeout(10):
            await echo.closed.wait()
        assert await calls.replies(UP, b"0:ok") == [b"ok"]
    back = translate(error, "custodian 1")
    assert (type(back), back.code) == (UnavailableError, "busy")


async def test_one_party_cannot_hold_so_many_calls_that_others_get_none(parties: Parties, echo: Echo) -> None:
    """A stream costs its caller nothing; health can be watched by everybody."""
    settings = ServerSettings(address="127.0.0.1:0", max_concurrent=8, drain_s=0)
    async with (
        serving(parties.custodian, echo, settings=settings) as server,
        dialled(server, home=parties.gateway, to=parties.custodian.identity) as greedy,
        dialled(server, home=parties.node, to=parties.custodian.identity) as modest,
    ):
        stub: Any = health_pb2_grpc.HealthStub(greedy.channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=10) for _ in range(8)]
        ends = [await _first(watch) for watch in watches]
        assert (ends.count("answered"), ends.count("busy")) == (2, 6)
        assert await modest.replies(UNARY, b"0:ok") == [b"ok"]


async def _first(watch: Any) -> str:
    try:
        await watch.read()
    except grpc.aio.AioRpcError as error:
        return translate(error, "c1").code
    return "answered"


async def test_a_caller_cannot_ask_for_a_longer_deadline_than_the_servers(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", deadline_s=0.1, drain_s=0)
    async with (
        serving(parties.custodian, echo, settings=settings) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:slow", timeout_s=5)
    # The server's word; when the caller's own deadline passes, there are no trailers.
    assert dict(error.trailing_metadata() or ())["concordat-error"] == "deadline"


async def test_every_known_party_may_read_health(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.gateway, to=parties.custodian.identity) as calls,
    ):
        stub: Any = health_pb2_grpc.HealthStub(calls.channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert (await watch.read()).status == reply.status == health_pb2.HealthCheckResponse.SERVING
        await server.stop(0)


async def test_health_names_an_unknown_service_as_not_found(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        stub: Any = health_pb2_grpc.HealthStub(calls.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nowhere"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_port_in_use_is_a_config_error_that_names_it(parties: Parties, echo: Echo) -> None:
    async with serving(parties.custodian, echo) as server:
        settings = ServerSettings(address=f"127.0.0.1:{server.port}")
        with pytest.raises(ConfigError, match=f"127.0.0.1:{server.port}"):
            _build(parties, echo, settings)


@pytest.mark.parametrize("address", ["192.0.2.1:1", "nowhere.invalid:1"])
async def test_an_address_that_cannot_be_bound_is_a_config_error(parties: Parties, echo: Echo, address: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        _build(parties, echo, ServerSettings(address=address))


def _build(parties: Parties, echo: Echo, settings: ServerSettings) -> None:
    build_server(settings, home=parties.custodian, table=TABLE, known=lambda _: True, add=echo.add)


async def test_a_synchronous_handler_is_refused(parties: Parties) -> None:
    def blocking(request: bytes, _context: object) -> bytes:
        return request

    def add(server: grpc.aio.Server) -> None:
        handlers: dict[str, Any] = {"Unary": grpc.unary_unary_rpc_method_handler(blocking)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("concordat.test.v1.Echo", handlers),))

    server = build_server(
        SETTINGS, home=parties.custodian, table=TABLE, known=parties.custodian.manifest.knows, add=add
    )
    await server.start()
    async with dialled(server, home=parties.node, to=parties.custodian.identity) as calls:
        error = await calls.failure(UNARY, b"0:ok")
    await server.stop(0)
    assert error.code() is not grpc.StatusCode.OK


async def test_sigterm_lets_running_calls_finish_and_refuses_new_ones(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", drain_s=10)
    server = build_server(
        settings, home=parties.custodian, table=TABLE, known=parties.custodian.manifest.knows, add=echo.add
    )
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(server, settings, on_ready=ready.set_result))
    assert await ready == server.port > 0
    release = asyncio.Event()
    async with dialled(server, home=parties.node, to=parties.custodian.identity) as calls:
        session = calls.both(_two(b"0:first", release, b"0:second"))
        assert await session.read() == b"first"
        os.kill(os.getpid(), signal.SIGTERM)
        async with dialled(server, home=parties.node, to=parties.custodian.identity) as late:
            await _refusal(late.unary)
        release.set()
        assert await session.read() == b"second"
        async with asyncio.timeout(10):
            await running


async def test_a_session_that_does_not_end_is_ended_when_the_drain_is_over(parties: Parties, echo: Echo) -> None:
    settings = ServerSettings(address="127.0.0.1:0", drain_s=0.1)
    server = build_server(
        settings, home=parties.custodian, table=TABLE, known=parties.custodian.manifest.knows, add=echo.add
    )
    stop, order = asyncio.Event(), []

    async def on_stop() -> None:
        order.append("told")

    running = asyncio.create_task(serve(server, settings, stop=stop, on_stop=on_stop))
    async with dialled(server, home=parties.node, to=parties.custodian.identity) as calls:
        session = calls.both(_two(b"0:first", asyncio.Event(), b""), wait_for_ready=True)
        assert await session.read() == b"first"
        stop.set()
        with pytest.raises(UnavailableError), translated("custodian 1"):
            await session.read()
        await running
    assert order == ["told"]


def test_settings_refuse_unknown_keys_and_impossible_values() -> None:
    with pytest.raises(ValidationError):
        ServerSettings.model_validate({"address": "localhost:1", "insecure": True})
    for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", "unix:socket"):
        with pytest.raises(ValidationError):
            ServerSettings(address=address)
    with pytest.raises(ValidationError):
        ServerSettings(address="localhost:1", max_message_bytes=1 << 40)


def test_there_is_no_peer_outside_a_call() -> None:
    with pytest.raises(LookupError):
        current_peer()


async def _refusal(unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
    for _ in range(1000):
        try:
            await unary(b"0:ok", timeout=1)
        except grpc.aio.AioRpcError:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the server goes on to answer")


async def _two(first: bytes, release: asyncio.Event, second: bytes) -> AsyncIterator[bytes]:
    yield first
    await release.wait()
    yield second
