"""Health probes of custodians: one that serves, one that stops, and one that is somebody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.probes import CustodianProbes
from tests.unit.custodian.running import RunningCustodians, home_of, make_federation

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 20.0


@pytest.fixture(scope="module")
def custodians(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_federation(tmp_path_factory.mktemp("probed") / "federation")


class Heard:
    """What probes said last, by index."""

    def __init__(self) -> None:
        self.serving: dict[int, bool] = {}
        self._news = asyncio.Condition()

    def tell(self, index: int, serving: bool) -> None:
        self.serving[index] = serving

    async def until(self, wanted: dict[int, bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while True:
                if self.serving == wanted:
                    return
                await asyncio.sleep(0.02)


async def test_who_serves_is_known_and_who_stops_is_soon_known(custodians: Path) -> None:
    heard = Heard()
    probes = CustodianProbes(home_of(custodians, "gateway/g1"), tell=heard.tell, period_s=0.05, timeout_s=0.3)
    async with RunningCustodians(custodians) as running:
        await running.start(1, 2)
        probes.start()
        await heard.until({1: True, 2: True, 3: False})
        await running.stop(2)
        await heard.until({1: True, 2: False, 3: False})
        await running.start(2)
        await heard.until({1: True, 2: True, 3: False})
        await probes.stop()
        await probes.stop()
