"""The sweeps that this node takes part in: each announced one once, each with an end that is said.

sweeps = Sweeps(join, emit=emit, keep=keep)
sweeps.on_event(event)      # in the loop's thread
await sweeps.close()
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from concordat.errors import CATALOGUE, ConcordatError
from concordat.protocol.charter import OPERATION_ID
from concordat.wire.v1.session_pb2 import OperationEvent
from services.node.events import SweepDone
from services.node.held import NotSignedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from concordat.wire.v1 import sweep_pb2
    from services.node.events import EventSink

MAX_SWEEPS: Final = 8
_LOG: Final = logging.getLogger(__name__)


class Sweeps:
    """Runs this node's parts in sweeps, each in a task that is looked after."""

    def __init__(
        self,
        join: Callable[[str, bytes], Awaitable[sweep_pb2.SweepDone]],
        *,
        emit: EventSink,
        keep: Callable[[str, str], None],
    ) -> None:
        """Take part in nothing yet.

        Args:
            join: Takes part in the sweep of an operation, given its id, until the gateway ends it.
            emit: Takes the node's events.
            keep: Keeps for `status` what became of an operation's sweep: a name, and a text that is empty where all
                went well. Called in a thread.
        """
        self._join = join
        self._emit = emit
        self._keep = keep
        self._running: dict[tuple[str, bytes], asyncio.Task[None]] = {}

    def on_event(self, event: OperationEvent) -> None:
        """Take part in a sweep that is announced; the gateway announces it again to whoever attaches meanwhile."""
        key = event.operation, event.sweep_id
        if event.kind != OperationEvent.KIND_SWEEP or key in self._running:
            return
        if not OPERATION_ID.fullmatch(event.operation):
            # It would become a file name, and a word in front of people.
            _LOG.warning("the gateway announces a sweep of what can be no operation")
            return
        if len(self._running) >= MAX_SWEEPS:
            _LOG.warning("the gateway announces more sweeps at once than a node takes part in")
            return
        task = self._running[key] = asyncio.create_task(self._take_part(*key))
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def close(self) -> None:
        """End what is under way; the gateway names this node as one that went."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_part(self, operation: str, sweep_id: bytes) -> None:
        try:
            code = (await self._join(operation, sweep_id)).dropped
            if code:
                # The gateway's word, which people read.
                code = code if code in CATALOGUE else "internal"
                _LOG.warning("the gateway dropped this node from a sweep", extra={"code": code})
        except NotSignedError as error:
            # Nothing is kept of such operations, however many the gateway names.
            _LOG.warning("no part in a sweep: %s", error.message, extra={"code": error.code})
            self._emit(SweepDone(operation, error.code))
            return
        except ConcordatError as error:
            _LOG.warning("the sweep failed for this node: %s", error.message, extra={"code": error.code})
            code = error.code
        except Exception:  # noqa: BLE001 -- whatever it was, people hear that the sweep is over
            _LOG.exception("the sweep failed for this node")
            code = "internal"
        self._emit(SweepDone(operation, code))
        text = f"this node is not in the last sweep [{code}]; its opener may start it again" if code else ""
        try:
            await asyncio.to_thread(self._keep, f"sweep of {operation}", text)
        except ConcordatError as error:
            _LOG.warning("the end of a sweep could not be kept: %s", error.message, extra={"code": error.code})
