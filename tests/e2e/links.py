"""A line between processes that a test may cut or freeze, for one process at a time; it sees ciphertext only.

    with Line(listen="localhost:7001", dial="localhost:8001") as line:
        line.freeze(node.pid)     # half-open: nothing is carried, nothing is closed
        line.cut(node.pid)        # every connection of this process breaks
        line.mend(node.pid)

Whose connection it is follows from the kernel's tables, as everything runs on this machine.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine

_READ_BYTES: Final = 1 << 16
_CALL_S: Final = 10.0


def owner_of(port: int) -> int | None:
    """Return the process that has a TCP socket with this local port, or None."""
    wanted = f":{port:04X}"
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            rows = [row.split() for row in Path(table).read_text(encoding="ascii").splitlines()[1:]]
            inodes |= {row[9] for row in rows if row[1].endswith(wanted) and row[9] != "0"}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for one in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(one.readlink()) in sockets:
                        return int(process.name)
    return None


@dataclass(eq=False)
class _Connection:
    pid: int | None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    def abort(self) -> None:
        self.broken.set()
        for writer in self.writers:
            writer.transport.abort()


class Line:
    """A relay in a thread of its own."""

    def __init__(self, *, listen: str, dial: str) -> None:
        self._listen, self._dial = listen, dial
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="line")
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: set[int] = set()
        self._frozen: set[int] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, pid: int | None) -> None:
        """Break the connections of a process, and refuse new ones until it is mended."""
        self._call(self._break(_known(pid)))

    def freeze(self, pid: int | None) -> None:
        """Carry nothing for a process any more, and close nothing: each side believes that the other is there."""
        self._call(self._set(self._frozen, _known(pid)))

    def mend(self, pid: int | None) -> None:
        """Carry everything for a process again; what was frozen was lost with its connections."""
        self._call(self._restore(_known(pid)))

    def _call(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _open(self) -> None:
        host, _, port = self._listen.rpartition(":")
        self._server = await asyncio.start_server(self._accept, host, int(port))

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set(self, among: set[int], pid: int) -> None:
        among.add(pid)

    async def _break(self, pid: int) -> None:
        self._cut.add(pid)
        self._abort(pid)

    async def _restore(self, pid: int) -> None:
        if pid in self._frozen:
            # Bytes that were read and not carried are gone; a connection without them is of no use.
            self._abort(pid)
        self._cut.discard(pid)
        self._frozen.discard(pid)

    def _abort(self, pid: int) -> None:
        for connection in self._connections:
            if connection.pid == pid:
                connection.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pid = await asyncio.to_thread(owner_of, writer.get_extra_info("peername")[1])
        connection = _Connection(pid, [writer])
        self._connections.add(connection)
        try:
            if pid in self._cut:
                return
            host, _, port = self._dial.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            connection.writers.append(far_writer)
            await asyncio.gather(
                self._carry(connection, reader, far_writer), self._carry(connection, far_reader, writer)
            )
        except OSError:
            # One end went, or the other does not listen yet.
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            if connection.pid in self._frozen:
                # For good: what comes after it would be a gap. Whoever mends the line breaks this connection.
                await connection.broken.wait()
                return
            writer.write(data)
            await writer.drain()
        connection.abort()


def _known(pid: int | None) -> int:
    assert pid is not None, "the process does not run"
    return pid
