"""Whether custodians serve, asked of their health service over mTLS, for the operator's page.

It is the hub's own question, at its own pace: what parties ask of custodians has no part in it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from concordat.errors import ConcordatError
from concordat.rpc.client import call, channel
from concordat.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from concordat.identity.home import Home
    from concordat.identity.manifest import Custodian

PERIOD_S: Final = 2.0
TIMEOUT_S: Final = 1.5


class CustodianProbes:
    """Asks every custodian of the manifest every two seconds."""

    def __init__(
        self,
        home: Home,
        *,
        tell: Callable[[int, bool], object],
        period_s: float = PERIOD_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare the probes; nothing is dialled before `start`.

        Args:
            home: Of this gateway.
            tell: Told a custodian's index, and whether it serves, after each probe.
            period_s: From one probe to the next.
            timeout_s: A custodian that says nothing for so long does not serve.
        """
        self._home = home
        self._tell = tell
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to probe."""
        self._tasks = [asyncio.create_task(self._watch(one)) for one in self._home.manifest.custodians]

    async def stop(self) -> None:
        """End; a second time does nothing."""
        tasks, self._tasks = self._tasks, []
        await cancelled(tasks)

    async def _watch(self, custodian: Custodian) -> None:
        dialled = channel(custodian.address, home=self._home, server=custodian.spiffe)
        try:
            while True:
                self._tell(custodian.index, await self._serves(custodian, dialled))
                await asyncio.sleep(self._period_s)
        finally:
            await dialled.close()

    async def _serves(self, custodian: Custodian, dialled: grpc.aio.Channel) -> bool:
        request = health_pb2.HealthCheckRequest()
        method = HealthStub(dialled).Check
        try:
            # Whoever is dialled again after a while must not count as away for that while.
            reply = await call(
                method, request, party=custodian.spiffe.name, timeout_s=self._timeout_s, wait_for_ready=True
            )
        except ConcordatError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
