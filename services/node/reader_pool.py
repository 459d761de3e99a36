"""Reading a long file on all cores: chunks of rows go to worker processes and come back in the order of the file.

    with ReaderPool(reader, workers=4) as pool:
        for chunk in pool.read(chunks):        # ReadChunk, as one process would have read them
            store(chunk.records)

A worker holds no key and no store, and gets its rows by pipe, never by argument or environment. It ends when that pipe
does, and so with the process that started it, also where that is killed.
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
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Self

from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from services.node.reader import Numbered, RecordReader
    from services.node.store.records import NewRecord

# More than one for each worker, so that none waits while a chunk is written; the memory is that of so many chunks.
_AHEAD: Final = 2
_LENGTH_BYTES: Final = 8


class RowChunk(NamedTuple):
    """Rows as they stand in the file, and how many bytes of it were read for them and all before."""

    rows: list[Numbered]
    read_bytes: int


class ReadChunk(NamedTuple):
    """The records of a chunk of rows."""

    records: list[NewRecord]
    read_bytes: int


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


class ReaderPool:
    """Worker processes that read for one submit, each served by a thread of this one."""

    def __init__(self, reader: RecordReader, *, workers: int) -> None:
        self._window = workers + _AHEAD
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="reader")
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
                _send(child.stdin, reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What is being read is waited for, a fraction of a second; what is not yet begun is dropped.
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.communicate()

    def read(self, chunks: Iterable[RowChunk]) -> Iterator[ReadChunk]:
        """Yield the chunks' records in the order of the chunks, of which a bounded number is under way.

        Raises:
            UnavailableError: A worker has ended.
        """
        under_way: deque[tuple[Future[list[NewRecord]], int]] = deque()
        for chunk in chunks:
            under_way.append((self._threads.submit(self._ask, chunk.rows), chunk.read_bytes))
            if len(under_way) >= self._window:
                yield _taken(under_way)
        while under_way:
            yield _taken(under_way)

    def _ask(self, rows: list[Numbered]) -> list[NewRecord]:
        child = self._free.get()
        try:
            _send(child.stdin, rows)
            answer: list[NewRecord] = _receive(child.stdout)
        except (OSError, EOFError) as error:
            message = "a process that read the file has ended; what is stored is stored, run the same command again"
            raise UnavailableError(message) from error
        finally:
            self._free.put(child)
        return answer


def _taken(under_way: deque[tuple[Future[list[NewRecord]], int]]) -> ReadChunk:
    future, read_bytes = under_way.popleft()
    return ReadChunk(future.result(), read_bytes)


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


def work() -> None:
    """Read for the process at the other end of standard input, until that ends."""
    # Ctrl-C goes to the whole terminal; the process that writes decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        reader: RecordReader = _receive(sys.stdin.buffer)
        while True:
            _send(sys.stdout.buffer, reader.records(_receive(sys.stdin.buffer)))


if __name__ == "__main__":
    work()
