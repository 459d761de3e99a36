"""Blocking work of a loop, one piece after the other in a thread of its own.

    thread = OneThread("ledger-writer")
    committed = await thread.do(partial(ledger.write, writes))
    thread.stop()

What an executor does with a future of its own, a lock and a callback for each piece, this does with one queue: where
pieces take less than a millisecond, that is most of what they cost.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Piece(NamedTuple):
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class OneThread:
    """A thread that begins with its first work."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._pieces: SimpleQueue[_Piece | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False
        # Another thread than the loop's may stop it: nothing may be put behind the end.
        self._turn = threading.Lock()

    async def do(self, work: Callable[[], T]) -> T:
        """Do a piece of work after all that was given before it; return its result or raise what it raises.

        A caller that is cancelled does not hear of it; work that has begun goes on to its end.

        Raises:
            UnavailableError: The thread was stopped.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._give(_Piece(work, loop, done))
        try:
            return await done
        finally:
            # An error holds this frame, and this frame would hold the error.
            del done

    def _give(self, piece: _Piece) -> None:
        with self._turn:
            if self._stopped:
                raise UnavailableError(f"the thread {self._name} takes no more work", code="stopping")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._pieces.put(piece)

    def stop(self) -> None:
        """Take no more work, and return when all that was given is done; a second time does nothing."""
        with self._turn:
            if not self._stopped:
                self._stopped = True
                self._pieces.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            _do(piece)
            # Not until the next one: its work may hold much.
            del piece


def _do(piece: _Piece) -> None:
    result, error = None, None
    if piece.done.cancelled():
        return
    try:
        result = piece.work()
    except BaseException as caught:  # noqa: BLE001 -- whoever waits hears it, whatever it is
        error = caught
    # A loop that has ended waits for nothing.
    with suppress(RuntimeError):
        piece.loop.call_soon_threadsafe(_settle, piece.done, result, error)
    # As above: its traceback holds this frame, with the work and all that hangs on it.
    del piece, result, error


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
