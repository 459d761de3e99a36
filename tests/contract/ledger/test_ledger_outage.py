"""A hub whose PostgreSQL is out of reach covers nobody, and goes on by itself when it is back (3.4 (6), I3, I6)."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.identity.federation import init_federation
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.wire.v1 import check_pb2
from gateway.config import GatewaySettings
from services.node.events import Attached, Detached, Told
from services.node.store.store import FILE_NAME
from tests.unit.exchange.running import Running, gateway, hold, told, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.postgres import Server

KEPT, ONCE, LATER = "+447700900001", "+447700900002", "+447700900003"


class Line:
    """A way to a server that can be cut: what is open ends, and nothing new is taken."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def mend(self) -> None:
        """Take connections."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections, and take no more."""
        if self._listener is not None:
            # Closing alone would leave the thread that accepts, and with it the port.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
                self._open |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()


@contextmanager
def line_to(server: Server) -> Iterator[Line]:
    line = Line((str(server.url.host), int(server.url.port or 5432)))
    line.mend()
    try:
        yield line
    finally:
        line.cut()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outage") / "f"
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    plan = FederationPlan(
        name="test.example",
        nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")),
        gateway_address=f"localhost:{port}",
        tick_ms=50,
        window_ms=200,
    )
    init_federation(path, plan, unsafe_dealer=True)
    return path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "f"))


@pytest.fixture
async def nodes(folder: Path) -> AsyncIterator[tuple[Running, Running]]:
    nl, de = Running(folder / "node" / "NL"), Running(folder / "node" / "DE")
    nl.start()
    de.start()
    yield nl, de
    await asyncio.gather(nl.end(), de.end())


def states(node: Running) -> list[int]:
    """Return what each certificate so far said of the other party, in order."""
    with sqlite3.connect(f"file:{node.folder / FILE_NAME}?mode=ro", uri=True) as db:
        query = "SELECT certificate FROM sent_check WHERE certificate IS NOT NULL ORDER BY sent_at"
        certificates = [check_pb2.Certificate.FromString(raw) for (raw,) in db.execute(query)]
    db.close()
    bodies = [check_pb2.CertificateBody.FromString(one.body) for one in certificates]
    return [holder.state for body in bodies for holder in body.holders]


async def test_an_outage_of_the_ledger_covers_nobody_and_late_hits_come_without_a_restart(
    postgres: Server, template: str, folder: Path, nodes: tuple[Running, Running]
) -> None:
    nl, de = nodes
    with postgres.fresh(template) as name, line_to(postgres) as line:
        where = postgres.database(name)
        url = postgres.url.set(host="127.0.0.1", port=line.port, database=name, password=None)
        settings = GatewaySettings(
            ledger=url.render_as_string(hide_password=False), ledger_password_file=where.password_file
        )
        async with gateway(folder, settings):
            await asyncio.gather(nl.until_event(Attached), de.until_event(Attached))
            await asyncio.to_thread(hold, de.folder, KEPT, ONCE)
            await de.until(lambda: check_pb2.HOLDER_STATE_COVERED in states(de))
            line.cut()
            before = len(states(nl))
            # Looked at once: a question without a publication, so that its certificate leaves during the outage.
            await asyncio.to_thread(hold, nl.folder, ONCE, look_once=True)
            await nl.until(lambda: len(states(nl)) > before)
            assert states(nl)[before:] == [check_pb2.HOLDER_STATE_TIMED_OUT]
            await asyncio.to_thread(hold, nl.folder, KEPT)
            await nl.until_event(Detached)
            assert check_pb2.HOLDER_STATE_COVERED not in states(nl)[before:]
            assert told(nl.folder) == told(de.folder) == 0
            line.mend()
            await asyncio.gather(nl.until_event(Told, 2), de.until_event(Told, 2))
            await asyncio.to_thread(hold, nl.folder, LATER)
            await asyncio.to_thread(hold, de.folder, LATER)
            await asyncio.gather(nl.until_event(Told, 3), de.until_event(Told, 3))
            await until(lambda: states(nl)[-1] == check_pb2.HOLDER_STATE_COVERED)
            await asyncio.gather(nl.end(), de.end())
    assert told(nl.folder) == told(de.folder) == 3
