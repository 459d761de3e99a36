"""Work on all cores: items go to worker processes, and what is made of them comes back in the same order.

    with WorkerPool(reader.read_chunk, workers=4) as pool:
        for chunk in pool.each(chunks):        # as one process would have read them
            store(chunk.records)

So a long file is read, and the confirm MACs of a large set are made. A worker gets its items by pipe, never by argument
or environment. It ends when that pipe does, and so with the process that started it, also where that is killed.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Made = TypeVar("Made")

# More than one for each worker, so that none waits while a result is written; the memory is that of so many items.
_AHEAD: Final = 2
_LENGTH_BYTES: Final = 8


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


class WorkerPool(Generic[Item, Made]):
    """Worker processes that do one thing, each served by a thread of this one."""

    def __init__(self, work: Callable[[Item], Made], *, workers: int) -> None:
        """Start the workers.

        Args:
            work: What they do, of a module that they can import; it goes to them by pipe with all that it holds.
            workers: How many.
        """
        self._window = workers + _AHEAD
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._children: list[subprocess.Popen[bytes]] = []
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(workers):
            # -P: what lies in the folder where somebody runs this is no part of the program.
            child = subprocess.Popen(  # noqa: S603 -- our own program, arguments made here
                [sys.executable, "-P", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._children.append(child)
            self._free.put(child)
            with suppress(BrokenPipeError):
                _send(child.stdin, work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What is under way is waited for, a fraction of a second; what is not yet begun is dropped.
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.communicate()

    def each(self, items: Iterable[Item]) -> Iterator[Made]:
        """Yield what is made of the items in their order; a bounded number of them is under way.

        Raises:
            UnavailableError: A worker has ended.
        """
        under_way: deque[Future[Made]] = deque()
        for item in items:
            under_way.append(self._threads.submit(self._ask, item))
            if len(under_way) >= self._window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _ask(self, item: Item) -> Made:
        child = self._free.get()
        try:
            _send(child.stdin, item)
            answer: Made = _receive(child.stdout)
        except (OSError, EOFError) as error:
            raise UnavailableError("a worker process has ended before its work was done") from error
        finally:
            self._free.put(child)
        return answer


def _send(pipe: IO[bytes] | None, what: object) -> None:
    assert pipe is not None
    data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    pipe.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    size = int.from_bytes(pipe.read(_LENGTH_BYTES), "big")
    data = pipe.read(size)
    if not size or len(data) != size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 -- from the process at the other end, which is this program too


def serve() -> None:
    """Work for the process at the other end of standard input, until that ends."""
    # Ctrl-C goes to the whole terminal; the process that writes decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        work: Callable[[Any], Any] = _receive(sys.stdin.buffer)
        while True:
            _send(sys.stdout.buffer, work(_receive(sys.stdin.buffer)))


if __name__ == "__main__":
    serve()
