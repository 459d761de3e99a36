"""Shards share the windows of a sweep over real streams, and it comes to what the gateway alone comes to (3.7)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.operations.shard_world import alone, filled, free_ports, processes, shards, sharing, swept
from tests.unit.operations.test_operation_flow import stores

if TYPE_CHECKING:
    from pathlib import Path

    from services.node.store.store import Store
    from tests.unit.operations.test_operation_flow import Homes

__all__ = ["alone", "filled", "stores"]


@pytest.mark.parametrize("count", [1, 4])
async def test_shards_come_to_what_the_gateway_alone_comes_to(
    homes: Homes,
    filled: dict[str, Store],
    alone: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    ports = free_ports(count)
    async with shards(homes, tmp_path / "shards", ports):
        shared = await swept(homes, filled, tmp_path, sharing(ports))
    assert shared == alone
    assert shared["dropped"] == ["", "", ""]
    assert sum(map(len, shared["notices"].values())) == 188
    assert caplog.text.count(f"is shared by {count} shards") == 1
    assert caplog.text.count("windows ") >= count
    assert list((tmp_path / "shards").glob("*/*")) == [], "a shard forgets its part when the gateway has the report"


async def test_two_shards_in_processes_of_their_own_come_to_the_same(
    homes: Homes, filled: dict[str, Store], alone: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    ports = free_ports(2)
    async with processes(homes, ports):
        assert await swept(homes, filled, tmp_path, sharing(ports)) == alone
    assert caplog.text.count("is shared by 2 shards") == 1


@pytest.mark.full
async def test_a_shard_that_serves_one_sweep_ends_by_itself(
    homes: Homes, filled: dict[str, Store], tmp_path: Path
) -> None:
    """As a Kubernetes Job does, which says by the environment which shard it is."""
    ports = free_ports(1)
    async with processes(homes, ports, once=True) as running:
        await swept(homes, filled, tmp_path, sharing(ports))
        async with asyncio.timeout(20):
            assert [await one.wait() for one in running] == [0]
