"""Partners' queries at the running hub: awaited, cancelled, ended by a stop; nothing of them stays (3.9, I2)."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any, cast

import pytest

from concordat.api.model import QueryResponse, Result
from concordat.clock import SystemClock
from concordat.errors import ConcordatError
from concordat.wire.v1 import check_pb2
from gateway.api.access import Caller
from gateway.api.app import build_app
from gateway.api.context import ApiContext
from gateway.ledger_writes import Committed
from tests.unit.gateway.partners import E164, Partner
from tests.unit.gateway.query_world import body
from tests.unit.gateway.test_gateway_server import attached, load, serving_hub, until
from tests.unit.gateway.test_tokens_forgotten import contents, reachable
from tests.unit.gateway.world import Federation, token

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from fastapi import FastAPI, Request

    from concordat.api.model import Scope
    from concordat.clock import ManualClock
    from gateway.hub import Hub
    from gateway.query import QueryOutcome


def partner_of(folder: Path, name: str = "IJM") -> Partner:
    """Return a partner of the folders, with the system's clock."""
    home = load(folder, f"partner/{name}")
    clock: ManualClock = SystemClock()  # type: ignore[assignment]  # a clock is a clock
    return Partner(name, Federation(home.manifest, {name: home.signing_key}), clock)


async def ask(hub: Hub, asker: Partner, message: check_pb2.Check) -> QueryOutcome:
    """Ask about phone numbers."""
    namespaces = bytes([E164]) * len(message.items.grades)
    return await hub.query(asker.id, message, namespaces=namespaces, muted=frozenset())


async def ask_until_covered(hub: Hub, asker: Partner, *values: str) -> QueryOutcome:
    """Ask, and ask anew where a busy machine has let the window pass: then nobody is covered (I6)."""
    for _ in range(20):
        outcome = await ask(hub, asker, asker.message(*values))
        if any(one.state == check_pb2.HOLDER_STATE_COVERED for one in outcome.coverage):
            return outcome
    raise AssertionError("nobody was covered in 20 ticks")


def held_by(hub: object, value: str) -> bool:
    """Tell whether anything that the hub can reach holds a value's token."""
    return any(token(value) in contents(item) for item in reachable(hub))


async def test_each_caller_gets_its_own_outcome_with_the_handles_of_its_matches(
    federation_folder: Path, tmp_path: Path
) -> None:
    ijm, ecpat = partner_of(federation_folder), partner_of(federation_folder, "ECPAT")
    async with (
        serving_hub(federation_folder, tmp_path / "ledger.db") as (address, hub),
        attached(federation_folder, address, "DE", "x", "y") as (de, _),
    ):
        first, second = await asyncio.gather(
            ask_until_covered(hub, ijm, "x", "y"), ask_until_covered(hub, ecpat, "z", "x")
        )
        assert ijm.verified(first) == [("x", "DE"), ("y", "DE")]
        assert ecpat.verified(second) == [("x", "DE")]
        again = await ask_until_covered(hub, ijm, "y", "x")
        assert {hit.handle for hit in again.hits} == {hit.handle for hit in first.hits}
        assert len({hit.handle for one in (first, second) for hit in one.hits}) == 3
        await until(lambda: len(de.told) == 3)
        assert {told.other for told in de.told} == {ijm.id, ecpat.id}


async def test_a_caller_that_is_gone_leaves_nothing(federation_folder: Path, tmp_path: Path) -> None:
    """I2."""
    ijm = partner_of(federation_folder)
    async with (
        serving_hub(federation_folder, tmp_path / "ledger.db") as (address, hub),
        attached(federation_folder, address, "DE", "x") as (de, _),
    ):
        waiting = asyncio.create_task(ask(hub, ijm, ijm.message("x")))
        await until(lambda: bool(de.told))
        assert held_by(hub, "x"), "the search finds what is there"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: hub._exchange.in_flight == 0)
        del waiting
        # A stream that is just being written to lets go of its frame with its next turn.
        await until(lambda: gc.collect() >= 0 and not held_by(hub, "x"))
        assert hub._queries == {}
        assert ijm.verified(await ask_until_covered(hub, ijm, "x")) == [("x", "DE")]


async def test_a_hub_that_stops_answers_who_waits(federation_folder: Path, tmp_path: Path) -> None:
    ijm = partner_of(federation_folder)
    async with serving_hub(federation_folder, tmp_path / "ledger.db") as (_, hub):
        waiting = asyncio.create_task(ask(hub, ijm, ijm.message("x")))
        await until(lambda: hub._exchange.in_flight == 1)
        await hub.stop()
        with pytest.raises(ConcordatError) as stopping:
            await waiting
        assert stopping.value.code == "stopping"
        with pytest.raises(ConcordatError) as stopped:
            await ask(hub, ijm, ijm.message("x"))
        assert stopped.value.code == "stopping"


async def test_a_query_that_is_refused_waits_for_nothing(federation_folder: Path, tmp_path: Path) -> None:
    ijm = partner_of(federation_folder)
    async with serving_hub(federation_folder, tmp_path / "ledger.db") as (_, hub):
        with pytest.raises(ConcordatError) as refusal:
            await ask(hub, ijm, ijm.message("x", look_once=False))
        assert refusal.value.code == "protocol_violation"
        assert (hub._queries, hub._exchange.in_flight) == ({}, 0)


class OpenGate:
    """Admits everybody as one partner."""

    def __init__(self, asker: Partner) -> None:
        self._caller = Caller(asker.federation.manifest.party(asker.name))

    async def admit(self, _request: Request, _scope: Scope) -> Caller:
        """Return the partner."""
        return self._caller


def app_of(folder: Path, hub: Hub, asker: Partner) -> FastAPI:
    """Return the API over a running hub."""
    context = ApiContext(
        home=load(folder, "gateway/g1"),
        clock=SystemClock(),
        hub=hub,
        operations=cast("Any", None),
        view=None,
        relay=cast("Any", None),
        random_bytes=bytes,
    )
    return build_app(context, gate=OpenGate(asker))


async def test_a_slow_reader_keeps_no_token_alive(federation_folder: Path, tmp_path: Path) -> None:
    """I2: the framework keeps a request's body for as long as its answer is being sent."""
    ijm = partner_of(federation_folder)
    sent: list[MutableMapping[str, Any]] = []
    read_on = asyncio.Event()
    async with serving_hub(federation_folder, tmp_path / "ledger.db") as (_, hub):
        app = app_of(federation_folder, hub, ijm)
        arrived = [body(ijm.message("x"), ["e164"]).model_dump_json().encode()]
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(arrived[0])).encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": "/v1/queries",
            "raw_path": b"/v1/queries",
            "query_string": b"",
            "root_path": "",
            "headers": head,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 7443),
        }

        async def receive() -> MutableMapping[str, Any]:
            if arrived:
                return {"type": "http.request", "body": arrived.pop(), "more_body": False}
            return await asyncio.Future()

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                await read_on.wait()

        serving = asyncio.create_task(app(scope, receive, send))
        await until(lambda: hub._exchange.in_flight == 1)
        assert held_by([hub, serving.get_coro()], "x"), "the search finds what is there"
        await until(lambda: any(one["type"] == "http.response.body" for one in sent))
        gc.collect()
        assert not held_by([hub, serving.get_coro()], "x")
        written = b"".join(contents(one) for one in reachable(serving.get_coro()))
        assert b'"ask_mac"' not in written
        read_on.set()
        await serving
    answer = QueryResponse.model_validate_json(b"".join(one.get("body", b"") for one in sent))
    assert [one.result for one in answer.results] == [Result.NOT_COVERED]


async def test_what_was_in_doubt_is_looked_at_once_it_is_settled(federation_folder: Path, tmp_path: Path) -> None:
    """A repeat of what was durable all the same brings nothing to see, and the first attempt was never heard of."""
    async with serving_hub(federation_folder, tmp_path / "ledger.db") as (_, hub):
        looks: list[None] = []
        hub.watch(lambda: looks.append(None))
        hub._committed([], Committed(1))
        assert not looks
        hub._failed([])
        hub._committed([], Committed(2))
        hub._committed([], Committed(3))
        assert len(looks) == 1
