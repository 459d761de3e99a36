"""Two processes on copies of one store: the one that was replaced ends and says so; over real mTLS (I9)."""

from __future__ import annotations

import asyncio
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from concordat.errors import RefusedError
from concordat.identity.federation import init_federation
from concordat.identity.plan import FederationPlan, NodePlan
from services.node.events import Attached, Detached
from services.node.store.store import FILE_NAME, Store
from tests.unit.exchange.running import WAIT_S, Running, gateway

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    nodes = (NodePlan.parse("NL"), NodePlan.parse("DE"))
    plan = FederationPlan(
        name="test.example", nodes=nodes, gateway_address=f"localhost:{port}", tick_ms=50, window_ms=100
    )
    init_federation(tmp_path / "f", plan, unsafe_dealer=True)
    return tmp_path / "f"


async def test_a_process_on_a_replaced_store_ends_with_a_reason_and_does_not_try_again(folder: Path) -> None:
    old = Running(folder / "node" / "NL")
    async with gateway(folder):
        old.start()
        await old.until_event(Attached)
        await old.end()
        copy = Running(folder / "node" / "copy")
        shutil.copytree(old.folder, copy.folder)
        # What `concordat node restored` does with a store that was put back.
        with Store.open(copy.folder / FILE_NAME) as store:
            store.renew_incarnation()
        copy.start()
        await copy.until_event(Attached)
        old.start()
        assert old.task is not None
        with pytest.raises(RefusedError, match="another process runs on a copy") as caught:
            async with asyncio.timeout(WAIT_S):
                await old.task
        assert caught.value.code == "superseded"
        assert not any(isinstance(event, Detached) for event in copy.events), "the newer one is not disturbed"
        await copy.end()
