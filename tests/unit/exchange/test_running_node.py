"""The running node attaches, tells, comes back after its gateway, and ends when told to; over real mTLS."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError
from concordat.identity.federation import init_federation
from concordat.identity.plan import FederationPlan, NodePlan
from services.node.daemon import only_daemon, run_nodes, wake_socket
from services.node.events import Attached, Detached, EventWriter, SweepDone, Told, Waiting
from services.node.store.store import FILE_NAME, Store
from services.node.submit import ANY_WORK, TOKENS_FIRST, WAKE_SOCKET, wake
from tests.unit.exchange.running import Running, gateway, hold, told, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PHONE, OTHER = "+447700900001", "+447700900002"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation of two nodes whose gateway listens on a free port; no custodian runs."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    path = tmp_path_factory.mktemp("run")
    plan = FederationPlan(
        name="test.example",
        nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")),
        gateway_address=f"localhost:{port}",
        tick_ms=50,
        window_ms=100,
    )
    init_federation(path / "f", plan, unsafe_dealer=True)
    return path / "f"


@pytest.fixture
async def nodes(folder: Path) -> AsyncIterator[tuple[Running, Running]]:
    """Both nodes, running; the gateway is the test's."""
    nl, de = Running(folder / "node" / "NL"), Running(folder / "node" / "DE")
    nl.start()
    de.start()
    yield nl, de
    await asyncio.gather(nl.end(), de.end())


async def test_both_sides_are_told_and_the_node_ends_when_told_to(folder: Path, nodes: tuple[Running, Running]) -> None:
    nl, de = nodes
    async with gateway(folder):
        await asyncio.gather(nl.until_event(Attached), de.until_event(Attached))
        await asyncio.to_thread(hold, nl.folder, PHONE)
        await asyncio.to_thread(hold, de.folder, PHONE)
        await asyncio.gather(nl.until_event(Told), de.until_event(Told))
        await asyncio.gather(nl.end(), de.end())
    assert told(nl.folder) == told(de.folder) == 1
    assert not (nl.folder / WAKE_SOCKET).exists()


async def test_a_gateway_that_comes_late_or_again_finds_the_node_waiting(
    folder: Path, nodes: tuple[Running, Running]
) -> None:
    nl, de = nodes
    await asyncio.to_thread(hold, nl.folder, PHONE)
    await nl.until_event(Detached)
    async with AsyncExitStack() as first:
        await first.enter_async_context(gateway(folder))
        await asyncio.gather(nl.until_event(Attached), de.until_event(Attached))
        detached = len([event for event in nl.events if isinstance(event, Detached)])
    await nl.until_event(Detached, detached + 1)
    await asyncio.to_thread(hold, de.folder, PHONE)
    async with gateway(folder):
        await asyncio.gather(nl.until_event(Told), de.until_event(Told))
    assert told(nl.folder) == told(de.folder) == 1


async def test_the_wake_up_socket_is_the_owners_only_and_wakes(folder: Path, nodes: tuple[Running, Running]) -> None:
    nl, _ = nodes
    path = nl.folder / WAKE_SOCKET
    await nl.until(path.exists)
    await nl.until(lambda: stat.S_IMODE(path.stat().st_mode) == 0o600)


async def test_only_wake_ups_that_all_speak_of_tokens_leave_the_session_alone(tmp_path: Path) -> None:
    heard: list[bool] = []

    async def woken_by(*said: bytes) -> bool:
        for work in said:
            wake(tmp_path, work)
        await until(lambda: bool(heard))
        return heard.pop()

    with wake_socket(tmp_path, lambda *, tokens_first: heard.append(tokens_first)):
        assert await woken_by(TOKENS_FIRST)
        assert not await woken_by(ANY_WORK)
        assert not await woken_by(TOKENS_FIRST, ANY_WORK)
        assert not await woken_by(b"of a later version")
        assert await woken_by(TOKENS_FIRST, TOKENS_FIRST)


async def test_a_second_daemon_on_a_folder_is_refused(folder: Path, nodes: tuple[Running, Running]) -> None:
    nl, _ = nodes
    await nl.until((nl.folder / WAKE_SOCKET).exists)
    second = Running(nl.folder)
    second.start()
    with pytest.raises(ConfigError, match="another node process"):
        await second.end()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    with only_daemon(tmp_path), pytest.raises(ConfigError), only_daemon(tmp_path):
        pass
    with only_daemon(tmp_path):
        pass


async def test_one_node_that_cannot_start_ends_the_process_with_its_error(folder: Path) -> None:
    broken = folder / "node" / "DE"
    (broken / FILE_NAME).write_bytes(b"no store" * 200)
    (broken / FILE_NAME).chmod(0o600)
    stream = io.StringIO()
    homes = [folder / "node" / "NL", broken]
    with pytest.raises(ConfigError):
        await run_nodes(homes, EventWriter(json_output=True, stream=stream), stop=asyncio.Event())
    assert "ready" not in stream.getvalue()


async def test_ready_names_the_nodes_of_the_process(folder: Path) -> None:
    stream, stop = io.StringIO(), asyncio.Event()
    homes = [folder / "node" / name for name in ("NL", "DE")]
    running = asyncio.create_task(run_nodes(homes, EventWriter(json_output=True, stream=stream), stop=stop))
    await until(lambda: "ready" in stream.getvalue())
    stop.set()
    await running
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"ready": True, "nodes": ["NL", "DE"]} in lines


def test_two_stores_of_a_process_keep_their_log_when_another_process_closes_its_own(tmp_path: Path) -> None:
    """Closing a file drops every POSIX lock of a process on it; the other process would then remove the log."""
    path = tmp_path / FILE_NAME
    code = "import sys, pathlib, services.node.store.store as s; s.Store.open(pathlib.Path(sys.argv[1])).close()"
    with Store.open(path) as one, Store.open(path) as two:
        one.raise_sequence(1)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        two.raise_sequence(2)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        copy = tmp_path / "copy.sqlite"
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        copy.chmod(0o600)
    with Store.open(copy) as copied:
        assert copied.sequence() == 2


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Told("M-1", "spiffe://f/node/DE", "e164", "strong", asked=True, look_once=True), "looked once"),
        (Detached("unavailable", "the gateway cannot be reached now"), "detached (unavailable)"),
        (Waiting("tokenise", "custodian 1 rests"), "tokenise: waiting, custodian 1 rests"),
        (Waiting("tokenise", ""), "tokenise: goes on"),
        (SweepDone("op-1", ""), "sweep of operation op-1 done"),
        (SweepDone("op-1", "deadline"), "failed (deadline)"),
    ],
)
def test_events_read_as_sentences_and_as_json(event: Told | Detached | Waiting | SweepDone, text: str) -> None:
    for as_json in (False, True):
        stream = io.StringIO()
        EventWriter(json_output=as_json, stream=stream).sink("NL")(event)
        line = stream.getvalue()
        assert (json.loads(line)["node"] == "NL") if as_json else (text in line)
