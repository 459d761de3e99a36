"""Exercises at the hub: which of them run, and the end of those that are over (3.6 (8)).

A check that says it is of an exercise is taken only while that runs, of its participants and for them. At its end the
ledger forgets its edges and what was said of them, and the operation goes with its reports.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from concordat.errors import ConcordatError
from concordat.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.operations_store import OperationStore

PERIOD_S: Final = 1.0
_log = logging.getLogger(__name__)


class ExerciseHub(Protocol):
    """What is told of exercises."""

    def know_exercises(self, running: Mapping[str, frozenset[str]]) -> None:
        """Take checks of these exercises, by their participants only."""
        ...

    async def wipe_exercise(self, operation: str) -> None:
        """Let the ledger forget an exercise that is over; it has when this returns."""
        ...


class Exercises:
    """Looks every second; a charter that became active at another replica shows as well."""

    def __init__(
        self,
        store: OperationStore,
        hub: ExerciseHub,
        *,
        sweeping: Callable[[str], object],
        period_s: float = PERIOD_S,
    ) -> None:
        """Prepare; nothing is looked at before `start` or `turn`.

        Args:
            store: Operations.
            hub: Told which exercises run, and to forget those that are over.
            sweeping: Tells of an operation whether its sweep still runs here; its edges would come after the wipe.
            period_s: From one look to the next.
        """
        self._store = store
        self._hub = hub
        self._sweeping = sweeping
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a second time does nothing."""
        task, self._task = self._task, None
        await cancelled([task])

    async def turn(self) -> None:
        """Tell the hub which exercises run, and wipe those that are over.

        Raises:
            ConcordatError: The database does not work; the next turn does what is left.
        """
        self._hub.know_exercises(await asyncio.to_thread(self._store.running_exercises))
        for operation in await asyncio.to_thread(self._store.ended_exercises):
            if self._sweeping(operation):
                continue
            # The operation last: while it is there, a gateway that stopped half-way begins again.
            await self._hub.wipe_exercise(operation)
            await asyncio.to_thread(self._store.wipe, operation)
            _log.info("an exercise is over and wiped")

    async def _run(self) -> None:
        while True:
            try:
                await self.turn()
            except ConcordatError as error:
                _log.warning("exercises cannot be looked at now: %s", error.message)
            await asyncio.sleep(self._period_s)
