"""`/v1/operator`: for the console only, the newest state first, and an end with the token and with the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from concordat.api.operator import OperatorState
from gateway.api.operator import EventStream, event_lines
from gateway.view import MAX_PER_SUBSCRIBER, OperatorView, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, MutableMapping

    from fastapi import FastAPI

    from concordat.clock import ManualClock
    from concordat.identity.home import Home
    from gateway.ledger_view import VisibleEdges
    from tests.unit.api.api_world import ApiClient

WAIT_S = 5.0


class Source:
    """What the database holds, as a test says."""

    def __init__(self) -> None:
        self.edges: VisibleEdges = {}

    def read(self) -> Stored:
        return Stored(dict(self.edges), ())


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def view(
    home: Callable[[str], Home], app: FastAPI, clock: ManualClock, source: Source
) -> AsyncIterator[OperatorView]:
    gateway = home("gateway/g1")

    async def soon(_seconds: float) -> None:
        await asyncio.sleep(0)

    found = OperatorView(
        gateway.manifest, gateway=gateway.identity, attached=lambda: (), read=source.read, clock=clock, sleep=soon
    )
    context: Any = app.state.context
    app.state.context = type(context)(
        **{name: getattr(context, name) for name in type(context).__slots__} | {"view": found}
    )
    found.start()
    yield found
    await found.stop()


@pytest.fixture
async def console(client: Callable[[str], ApiClient]) -> ApiClient:
    found = client("console/console")
    await found.log_in()
    return found


async def test_the_console_reads_the_state(view: OperatorView, console: ApiClient) -> None:
    answer = await console.send("GET", "/v1/operator/state")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    state = OperatorState.model_validate_json(answer.content)
    assert state == await view.state()
    assert [node.name for node in state.nodes] == ["DE", "NL"]


@pytest.mark.parametrize("path", ["/v1/operator/state", "/v1/operator/events"])
async def test_a_partner_is_refused_before_anything_is_looked_up(view: OperatorView, ijm: ApiClient, path: str) -> None:
    answer = await ijm.send("GET", path)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_without_a_view_the_console_is_told_to_come_again(console: ApiClient) -> None:
    assert (await console.send("GET", "/v1/operator/state")).status_code == 503


async def test_one_stream_too_many_is_told_so(view: OperatorView, console: ApiClient) -> None:
    who = str(console.home.identity)
    streams = [view.subscribe(who) for _ in range(MAX_PER_SUBSCRIBER)]
    for one in streams:
        one.__enter__()
    answer = await console.send("GET", "/v1/operator/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    for one in streams:
        one.__exit__(None, None, None)


async def next_event(lines: AsyncGenerator[bytes, None]) -> tuple[str, str, str]:
    async with asyncio.timeout(WAIT_S):
        text = (await anext(lines)).decode()
    event, number, data = text.removesuffix("\n\n").split("\n")
    return event.removeprefix("event: "), number.removeprefix("id: "), data.removeprefix("data: ")


async def test_the_stream_begins_with_the_state_and_goes_on_with_each_version(
    view: OperatorView, source: Source, clock: ManualClock, home: Callable[[str], Home]
) -> None:
    lines = event_lines(view, "console", clock=clock, until=clock.now() + 300)
    event, number, data = await next_event(lines)
    assert (event, number) == ("state", "1")
    assert OperatorState.model_validate_json(data).matches == ()
    one, other = (party.id for party in home("gateway/g1").manifest.nodes)
    source.edges[min(one, other), max(one, other), 1] = 3
    view.changed()
    event, number, data = await next_event(lines)
    assert (event, number) == ("state", "2")
    assert dict(OperatorState.model_validate_json(data).matches[0].counts) == {"e164": 3}


async def test_the_stream_ends_with_the_token(view: OperatorView, clock: ManualClock) -> None:
    lines = event_lines(view, "console", clock=clock, until=clock.now() + 300)
    await next_event(lines)
    clock.advance(299.99)
    event, number, data = await next_event(lines)
    assert (event, number, data) == ("alive", "1", '{"version":1}')
    clock.advance(0.01)
    with pytest.raises(StopAsyncIteration):
        await next_event(lines)


@pytest.mark.parametrize("how", ["the view", "the API"])
async def test_the_stream_ends_with_the_gateway(view: OperatorView, clock: ManualClock, how: str) -> None:
    stopping = asyncio.Event()
    lines = event_lines(view, "console", clock=clock, until=clock.now() + 300, stopping=stopping)
    await next_event(lines)
    if how == "the view":
        await view.stop()
    else:
        stopping.set()
    with pytest.raises(StopAsyncIteration):
        await next_event(lines)


async def test_a_reader_that_takes_nothing_does_not_keep_its_place_for_ever() -> None:
    closed = asyncio.Event()

    async def lines() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"event: alive\n\n"
        finally:
            closed.set()

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(WAIT_S):
        await EventStream(lines(), ends_after_s=0.05)({"type": "http"}, receive, send)
        await closed.wait()
