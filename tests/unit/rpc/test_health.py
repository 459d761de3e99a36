"""`concordat health`: serves, does not serve, or is somebody else; each role as it can be asked."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from concordat import cli
from concordat.errors import IdentityError, InputError, UnavailableError
from concordat.heartbeat import FILE_NAME, FRESH_S, beat, is_beating
from concordat.rpc.health import ask
from tests.unit.identity import small_federation
from tests.unit.identity.small_federation import under
from tests.unit.rpc.echo import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.identity.home import Home
    from tests.unit.rpc.conftest import Parties
    from tests.unit.rpc.echo import Echo

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LIMIT_S = 0.5


@asynccontextmanager
async def answering(home: Home, answer: bytes, folder: Path) -> AsyncIterator[str]:
    """Serve TLS under a party's certificate, answer every request alike, and give the address."""
    (folder / "chain.pem").write_bytes(home.tls.certificate_pem + home.tls.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem")

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def console(folders: Path, parties: Parties) -> Home:
    return under(small_federation.home(folders, "console/console"), parties.authority)


async def test_a_service_that_serves_is_healthy_and_one_that_is_gone_is_not(parties: Parties, echo: Echo) -> None:
    async with serving(parties.custodian, echo) as server:
        address = f"127.0.0.1:{server.port}"
        await ask(parties.custodian, address)
    with pytest.raises(UnavailableError):
        await ask(parties.custodian, address, timeout_s=LIMIT_S)


async def test_a_service_that_stops_is_no_longer_healthy(parties: Parties, echo: Echo) -> None:
    async with serving(parties.custodian, echo) as server:
        await server._health.enter_graceful_shutdown()
        with pytest.raises(UnavailableError, match="does not serve"):
            await ask(parties.custodian, f"127.0.0.1:{server.port}")


async def test_another_partys_answer_is_not_the_services_health(parties: Parties, echo: Echo) -> None:
    async with serving(parties.custodian, echo) as server:
        with pytest.raises(IdentityError):
            await ask(parties.gateway, f"127.0.0.1:{server.port}")


async def test_a_console_is_asked_over_https(console: Home, tmp_path: Path) -> None:
    async with answering(console, OK, tmp_path) as address:
        await ask(console, address)
    with pytest.raises(UnavailableError):
        await ask(console, address)


@pytest.mark.parametrize("answer", [OK.replace(b"200", b"503"), b"", b"SSH-2.0\r\n", b"x" * 100_000])
async def test_a_console_that_answers_anything_but_ok_is_not_healthy(
    console: Home, tmp_path: Path, answer: bytes
) -> None:
    async with answering(console, answer, tmp_path) as address:
        with pytest.raises(UnavailableError):
            await ask(console, address)


@pytest.mark.parametrize("address", [None, "localhost", ":1", "localhost:http", "192.0.2.1:443"])
async def test_a_console_needs_an_address_that_is_one(console: Home, address: str | None) -> None:
    with pytest.raises(InputError):
        await ask(console, address)


async def test_a_node_is_healthy_while_its_heart_beats(folders: Path) -> None:
    node = small_federation.home(folders, "node/NL")
    with pytest.raises(UnavailableError):
        await ask(node)
    beat(node.path)
    await ask(node)
    long_ago = time.time() - FRESH_S - 1
    os.utime(node.path / FILE_NAME, (long_ago, long_ago))
    with pytest.raises(UnavailableError):
        await ask(node)


def test_a_beat_into_a_folder_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    beat(tmp_path / "gone")
    assert not is_beating(tmp_path / "gone")


def test_the_command_ends_with_1_where_nothing_serves(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest's port of this gateway is nobody's here."""
    assert cli.run(["health", "--home", str(folders / "gateway/g1"), "--address", "127.0.0.1:1"]) == 1
    assert "[unavailable]" in capsys.readouterr().err


def test_the_command_ends_with_0_where_the_node_beats(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beat(folders / "node/DE")
    assert cli.run(["health", "--home", str(folders / "node/DE")]) == 0
    assert "serves" in capsys.readouterr().out
