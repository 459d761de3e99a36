"""Ending what runs beside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


async def cancelled(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel tasks and return when all have ended; what is None was never begun.

    Raises:
        Exception: Of the first that had failed by itself: nobody else would hear of it.
    """
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    for result in await asyncio.gather(*begun, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
