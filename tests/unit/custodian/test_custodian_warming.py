"""A custodian serves while its fast engine loads, says which one it has, and evaluates on all cores."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.oprf.engine import REFERENCE, Engine
from concordat.rpc.client import call, channel
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from services.custodian.config import CustodianSettings
from services.custodian.core import Custodian, Evaluated
from services.custodian.service import open_custodian, server_of
from services.custodian.warming import warm_up
from tests.unit.custodian.running import RunningCustodians, elements, home_of, make_federation, request_of

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home
    from concordat.wire.v1.custodian_pb2 import EvaluateRequest, EvaluateResponse


def request_to_first(node: Home) -> EvaluateRequest:
    return request_of(
        node.manifest,
        node.signing_key,
        requester=node.identity,
        custodian=node.manifest.custodian(1).id,
        now=SystemClock().now(),
        blinded=elements(20),
    )


async def ask_first(node: Home, times: int = 1) -> list[EvaluateResponse]:
    named = node.manifest.custodian(1)
    async with channel(named.address, home=node, server=named.spiffe) as link:
        stub = CustodianServiceStub(link)
        asked = (call(stub.Evaluate, request_to_first(node), party="c1", timeout_s=20) for _ in range(times))
        replies: list[EvaluateResponse] = await asyncio.gather(*asked)
        return replies


async def test_it_evaluates_while_the_engine_loads_and_says_then_what_was_loaded(large_quotas: Path) -> None:
    loaded: list[str] = []
    may_go_on = threading.Event()

    def load() -> Engine:
        may_go_on.wait()
        return REFERENCE

    thread = warm_up(loaded.append, load=load)
    try:
        async with RunningCustodians(large_quotas) as running:
            await running.start(1)
            (reply,) = await ask_first(home_of(large_quotas, "node/NL"))
        assert len(reply.elements) == 20 * 32
        assert loaded == []
    finally:
        may_go_on.set()
        await asyncio.to_thread(thread.join)
    assert loaded == ["libsodium"]


class Meeting(Custodian):
    """Lets no evaluation begin before two of them have come."""

    met = threading.Barrier(2)

    def evaluate(self, request: EvaluateRequest) -> Evaluated:
        """Wait for the other."""
        self.met.wait(timeout=20)
        return super().evaluate(request)


async def test_two_evaluations_run_at_once_and_the_loop_serves_on(large_quotas: Path) -> None:
    home = home_of(large_quotas, "custodian/c1")
    with open_custodian(home, clock=SystemClock()) as plain:
        meeting = Meeting(**{one.name: getattr(plain, one.name) for one in fields(plain)})
        server = server_of(meeting, home, CustodianSettings(drain_s=0).server(home))
        await server.start()
        try:
            replies = await ask_first(home_of(large_quotas, "node/NL"), times=2)
        finally:
            await server.stop(0)
    assert [len(reply.elements) for reply in replies] == [20 * 32] * 2


@pytest.mark.full
def test_a_process_says_which_engine_it_loaded_and_ends_when_told(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "federation")
    arguments = [sys.executable, "-m", "concordat", "custodian", "run", "--json", "--home"]
    for setting, expected in (("true", 2), ("false", 1)):
        home = shutil.copytree(federation / "custodian/c1", tmp_path / f"c1-{setting}", copy_function=shutil.copy2)
        (home / "custodian.toml").write_text(f"warm_up = {setting}\n")
        with subprocess.Popen(
            [*arguments, str(home)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            assert child.stdout is not None
            said = [json.loads(child.stdout.readline()) for _ in range(expected)]
            child.terminate()
            assert child.stdout.read() == ""
            assert child.wait() == 0
        assert said[0]["ready"] is True
        assert [one["event"] for one in said[1:]] == ["engine"] * (expected - 1)
        assert all(one["engine"] for one in said[1:])
