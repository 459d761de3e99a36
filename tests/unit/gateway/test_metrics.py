"""The hub's numbers: served on a port of their own, in few series, the same with and without a silent holder (I11)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import pytest

from concordat.errors import ConfigError
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.metrics_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MetricsServer, metrics_at
from gateway.rules import Limits
from gateway.session import Channel
from tests.unit.gateway.test_silent_holder import views

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.gateway.world import World

HEAD: Final = b"GET /metrics HTTP/1.1\r\nHost: hub\r\n\r\n"


async def asked(port: int, request: bytes) -> tuple[str, bytes]:
    """Return status line and body of an answer; both empty where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].decode(), body


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (HEAD, "200 OK"),
        (HEAD.replace(b"GET", b"POST"), "405 Method Not Allowed"),
        (HEAD.replace(b"GET", b"HEAD"), "405 Method Not Allowed"),
        (HEAD.replace(b"/metrics", b"/"), "404 Not Found"),
        (HEAD.replace(b"/metrics", b"/metrics?name=x"), "404 Not Found"),
        (HEAD.replace(b"/metrics", b"/../metrics"), "404 Not Found"),
        (HEAD.replace(b" HTTP/1.1", b""), "400 Bad Request"),
        (b"\x16\x03\x01\x00\xff\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nA: " + b"a" * MAX_HEAD_BYTES * 4 + b"\r\n\r\n", "400 Bad Request"),
    ],
)
async def test_one_path_and_one_verb_are_answered(request_head: bytes, status: str) -> None:
    async with MetricsServer(lambda: b"figures").listening("127.0.0.1:0") as port:
        line, body = await asked(port, request_head)
        assert line == f"HTTP/1.1 {status}"
        assert body == (b"figures" if status == "200 OK" else b"")


async def test_connections_that_say_nothing_do_not_keep_others_out_for_ever() -> None:
    async with MetricsServer(lambda: b"figures", head_s=0.2).listening("127.0.0.1:0") as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        async with asyncio.timeout(20):
            while True:
                if await asked(port, HEAD) == ("HTTP/1.1 200 OK", b"figures"):
                    break
                await asyncio.sleep(0.02)
        for _, writer in idle:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_connections_that_wait_end_with_the_server() -> None:
    async with MetricsServer(lambda: b"figures").listening("127.0.0.1:0") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD[:-2])
        await writer.drain()
    with pytest.raises(ConnectionError):
        await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_without_an_address_nothing_listens_and_a_bad_one_is_named() -> None:
    async with metrics_at(None, lambda: b"") as port:
        assert port is None
    with pytest.raises(ConfigError, match="metrics: cannot listen"):
        async with metrics_at("192.0.2.1:1", lambda: b""):
            pass


def test_certificates_are_counted_alike_with_and_without_a_silent_holder(make_world: Callable[..., World]) -> None:
    def progress(silent: str) -> tuple[int, int]:
        _, world = views(make_world(), silent=silent)
        return world.hubs[0].exchange.progress

    assert progress("x") == progress("nothing of theirs")
    assert progress("x")[1] == 3


def test_bytes_that_wait_are_counted_without_questions() -> None:
    """Who is asked depends on what is held silently (I11)."""
    channel = Channel(Limits())
    question = session_pb2.HubFrame(question=check_pb2.Question(tick=7, header=b"h" * 1000))
    barrier = session_pb2.HubFrame(barrier=session_pb2.Barrier(tick=7))
    channel.put(question, 7)
    channel.put(barrier, 0)
    assert channel.waiting_bytes == barrier.ByteSize()
    channel.forget(7)
    assert channel.waiting_bytes == barrier.ByteSize()


async def test_what_was_sent_waits_no_more() -> None:
    channel = Channel(Limits())
    question = session_pb2.HubFrame(question=check_pb2.Question(tick=7, header=b"h"))
    channel.put(question, 7)
    channel.put(session_pb2.HubFrame(barrier=session_pb2.Barrier(tick=7)), 0)
    sent: list[session_pb2.HubFrame] = []
    done = asyncio.Event()

    async def write(frame: session_pb2.HubFrame) -> None:
        sent.append(frame)
        if len(sent) == 2:
            done.set()

    draining = asyncio.create_task(channel.drain(write))
    await done.wait()
    draining.cancel()
    assert channel.waiting_bytes == 0


def test_a_running_gateway_shows_its_figures_and_names_no_party(federation_folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gateway.toml"
    settings.write_text('address = "127.0.0.1:0"\nmetrics = "127.0.0.1:0"\napi = "127.0.0.1:0"\n')
    home = federation_folder / "gateway" / "g1"
    arguments = ["gateway", "run", "--home", home, "--config", settings, "--ledger", tmp_path / "l.db", "--json"]
    command = [sys.executable, "-m", "concordat", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None
            ready = json.loads(gateway.stdout.readline())
            with urlopen(f"http://{ready['metrics']}/metrics", timeout=20) as answer:
                text = answer.read().decode()
        finally:
            gateway.terminate()
            gateway.communicate(timeout=20)
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names >= {"process_memory_usage_bytes", "process_cpu_time_seconds_total"}
    assert "spiffe" not in text
    assert "NL" not in text
