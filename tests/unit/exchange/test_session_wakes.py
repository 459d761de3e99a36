"""A session that is woken while it looks for work looks again: nobody wakes it a second time for the same."""

from __future__ import annotations

import asyncio
import random
import threading
from types import SimpleNamespace
from typing import Any, cast

from concordat.clock import ManualClock
from services.node.exchange.session import Session, _Stream


class Core:
    """Has nothing to do, and says each time that it was asked."""

    has_more = False

    def __init__(self) -> None:
        self.asked = 0
        self.again = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def step(self, _frames: list[Any], *, work: bool) -> list[Any]:
        self.asked += work
        if self.asked > 1:
            self._loop.call_soon_threadsafe(self.again.set)
        return []

    def next_at(self) -> None:
        return None

    def operations(self) -> list[Any]:
        return []


class WakingClock(ManualClock):
    """Lets the session be woken at the moment at which its worker first asks for the time."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.session: Session | None = None
        self._loop = asyncio.get_running_loop()

    def monotonic(self) -> float:
        if self.session is not None and threading.current_thread() is not threading.main_thread():
            session, self.session, woken = self.session, None, threading.Event()
            self._loop.call_soon_threadsafe(session.wake)
            self._loop.call_soon_threadsafe(woken.set)
            woken.wait(10)
        return super().monotonic()


async def test_a_wake_while_it_begins_to_look_is_not_lost() -> None:
    clock, core = WakingClock(), Core()
    home = cast("Any", SimpleNamespace(identity=SimpleNamespace(name="NL")))
    session = Session(
        cast("Any", core), home, cast("Any", None), clock=clock, rng=random.Random(1), hooks=cast("Any", None)
    )
    clock.session = session
    engine = asyncio.create_task(session._engine(_Stream(cast("Any", None))))
    try:
        # The clock stands still, so that nothing but the wake makes it look again.
        async with asyncio.timeout(5):
            await core.again.wait()
    finally:
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)
        session._worker.shutdown()
