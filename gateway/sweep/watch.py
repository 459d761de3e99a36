"""Tells the hub's operator how far the running sweeps are: the console's view, the metrics, and a file for `status`.

    watch = SweepWatch(runner.standings, folder, clock=clock, changed=view.changed)
    watch.start()

Looked at once a second, so that the smallest windows of the largest sweep cost no more. The file lies beside the state
of its sweep and is deleted with it; `read_standing` gives it to whoever asks beside the running gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from concordat.api.operator import Seconds, SweepProgress
from concordat.tasks import cancelled
from gateway.metrics import SweepMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from concordat.clock import Clock

STANDING_NAME: Final = "standing"
PERIOD_S: Final = 1.0
MAX_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class Standing(BaseModel):
    """How far a sweep was when it was looked at last and something had changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str
    as_of: Seconds
    progress: SweepProgress


class SweepWatch:
    """Looks at the running sweeps, and says where one has come further."""

    def __init__(
        self,
        standings: Callable[[], Mapping[bytes, tuple[str, SweepProgress]]],
        folder: Path | None,
        *,
        clock: Clock,
        changed: Callable[[], object],
    ) -> None:
        """Prepare; nothing is looked at before `start`.

        Args:
            standings: Returns operation and progress of each running sweep, by its id.
            folder: Of running sweeps; None where they are in memory only.
            clock: Of this process.
            changed: Called after something has changed.
        """
        self._standings = standings
        self._folder = folder
        self._clock = clock
        self._changed = changed
        self._seen: Mapping[bytes, tuple[str, SweepProgress]] = {}
        self._metrics = SweepMetrics()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a second time does nothing."""
        task, self._task = self._task, None
        await cancelled([task])

    async def look(self) -> None:
        """Look once."""
        seen, self._seen = self._seen, self._standings()
        if seen == self._seen:
            return
        self._metrics.show([progress for _, progress in self._seen.values()])
        self._changed()
        if self._folder is not None:
            now = int(self._clock.now())
            for sweep_id, (operation, progress) in self._seen.items():
                if seen.get(sweep_id) != (operation, progress):
                    standing = Standing(operation=operation, as_of=now, progress=progress)
                    await asyncio.to_thread(_write, self._folder / sweep_id.hex(), standing)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 -- a sweep goes on, whoever is told of it
                _log.exception("how far the sweeps are cannot be told")


def _write(folder: Path, standing: Standing) -> None:
    fresh = folder / f"{STANDING_NAME}.new"
    # Its sweep may end meanwhile, and the folder with it; where the disk is full there is no news of it.
    with suppress(OSError):
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(standing.model_dump_json())
        fresh.replace(folder / STANDING_NAME)


def read_standing(folder: Path, sweep_id: bytes) -> Standing | None:
    """Return how far a sweep was when its gateway said so last; None where it has said nothing that can be read.

    Args:
        folder: Of running sweeps.
        sweep_id: Of the sweep.
    """
    try:
        with (folder / sweep_id.hex() / STANDING_NAME).open("rb") as file:
            return Standing.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError):
        return None
