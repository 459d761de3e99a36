"""Group commit: one writer, which takes everything that waits as soon as the transaction before it is durable.

A lone answer is committed at once, and what comes meanwhile shares the next transaction. Only what nobody waits for,
such as a row of the log, is held back for some milliseconds, so that no answer has to wait behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat import telemetry
from concordat.errors import UnavailableError
from gateway.metrics import LEDGER_WRITE
from gateway.transactions import DatabaseAwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.ledger import Committed, Ledger, LedgerWrite

MAX_GROUP: Final = 8192
PATIENCE_S: Final = 0.01

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    writes: tuple[LedgerWrite, ...]
    numbers: tuple[int, ...] = ()
    waiter: asyncio.Future[None] | None = field(default=None, compare=False)


class LedgerWriter:
    """Writes of the exchange and of sweeps, in the order in which they came.

    Args:
        ledger: Called from one thread only.
        on_committed: Told the exchange's write numbers and what became durable.
        on_failed: Told the exchange's write numbers that are not known to be durable.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        on_committed: Callable[[Sequence[int], Committed], None],
        on_failed: Callable[[Sequence[int]], None],
    ) -> None:
        self._ledger = ledger
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._queue: deque[_Entry] = deque()
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def submit(self, number: int, writes: tuple[LedgerWrite, ...], *, urgent: bool = True) -> None:
        """Queue a write of the exchange."""
        self._put(_Entry(writes, numbers=(number,)), urgent=urgent)

    async def write(self, writes: Sequence[LedgerWrite]) -> None:
        """Queue writes and return when they are durable.

        Raises:
            UnavailableError: They are not known to be durable.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_Entry(tuple(writes), waiter=waiter))
        await waiter

    async def stop(self) -> None:
        """Write what waits, then end."""
        self._stopping = True
        self._filled.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    def _put(self, entry: _Entry, *, urgent: bool = True) -> None:
        if self._stopping:
            raise UnavailableError("the hub is stopping", code="stopping")
        self._queue.append(entry)
        if urgent:
            self._filled.set()
        else:
            asyncio.get_running_loop().call_later(PATIENCE_S, self._filled.set)

    async def _run(self) -> None:
        while not self._stopping or self._queue:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await self._commit(self._group())

    def _group(self) -> list[_Entry]:
        group, size = [], 0
        while self._queue and size < MAX_GROUP:
            group.append(self._queue.popleft())
            size += len(group[-1].writes)
        return group

    async def _commit(self, group: list[_Entry], *, last: bool = False) -> None:
        writes = [write for entry in group for write in entry.writes]
        try:
            with telemetry.timed(LEDGER_WRITE, {}):
                committed = await asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.write, writes)
        except Exception as error:  # noqa: BLE001 -- whatever it was, those who wait must hear that it failed
            away = isinstance(error, DatabaseAwayError)
            if last or (len(group) == 1 and not away):
                _log.exception("the ledger did not take a write")
                self._settle(group, error)
                return
            # It may have been durable all the same: the exchange then looks for notices itself.
            self._on_failed([])
            if away:
                # Once more together, as a lost connection is made anew; one by one, each would wait for its time-out.
                await self._commit(group, last=True)
                return
            # One write that the ledger cannot take must not take the others with it.
            for entry in group:
                await self._commit([entry])
            return
        try:
            self._on_committed([number for entry in group for number in entry.numbers], committed)
        except Exception:  # noqa: BLE001 -- a hub whose writer has died would cover nobody ever again
            _log.exception("the hub failed to take what became durable")
        for entry in group:
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(None)

    def _settle(self, group: list[_Entry], cause: Exception) -> None:
        self._on_failed([number for entry in group for number in entry.numbers])
        error = UnavailableError("the ledger did not take a write")
        error.__cause__ = cause
        for entry in group:
            if entry.waiter is not None:
                with suppress(asyncio.InvalidStateError):
                    entry.waiter.set_exception(error)
