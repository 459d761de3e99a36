"""A gateway process: its ready line names the API, a charter names a reader by command, a signal ends all of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concordat.api.model import ReportResponse
from concordat.cli import run
from concordat.client.session import ApiSession
from concordat.clock import SystemClock
from concordat.errors import RefusedError
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from services.node.case import template
from tests.unit.custodian.running import CASE, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 60


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("process") / "federation"
    ports = free_ports(2)
    plan = FederationPlan(
        name="process.example",
        nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")),
        partners=(PartnerPlan.parse("IJM"), PartnerPlan.parse("OSCE")),
        gateway_address=f"127.0.0.1:{ports[0]}",
        api_address=f"127.0.0.1:{ports[1]}",
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@contextmanager
def gateway(federation: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a gateway; give its process and its ready line."""
    command = [sys.executable, "-m", "concordat", "gateway", "run", "--home", str(federation / "gateway/g1"), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.terminate()
        _, log = process.communicate(timeout=WAIT_S)
        assert "Traceback" not in log, log


def command(*arguments: object) -> dict[str, Any]:
    """Run a command with --json and return what it prints."""
    with redirect_stdout(StringIO()) as out:
        assert run([*map(str, arguments), "--json"]) == 0, out.getvalue()
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_the_ready_line_names_the_api_and_a_signal_ends_it_while_a_client_is_connected(federation: Path) -> None:
    home = load_home(federation / "gateway/g1", clock=SystemClock())
    tls = ssl.create_default_context(cafile=str(federation / "partner/IJM/tls-roots.crt"))
    with gateway(federation) as (process, ready), httpx.Client(verify=tls, trust_env=False) as http:
        assert ready["ready"]
        assert ready["api"] == home.manifest.gateways[0].api_address
        assert http.get(f"https://{ready['api']}/healthz").json() == {"status": "ok"}
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        with pytest.raises(httpx.TransportError):
            http.get(f"https://{ready['api']}/healthz")


def test_a_charter_names_its_reader_and_others_learn_nothing(federation: Path, tmp_path: Path) -> None:
    case = tmp_path / "case.toml"
    case.write_text(template(CASE.valid_until), encoding="utf-8")

    async def codes() -> list[tuple[str, str | None]]:
        found = []
        for name in ("IJM", "OSCE"):
            home = load_home(federation / "partner" / name, clock=SystemClock())
            async with ApiSession(home, clock=SystemClock()) as session:
                with pytest.raises(RefusedError) as refused:
                    await session.get("/v1/operations/op1/report", ReportResponse)
                found.append((refused.value.code, refused.value.public_detail))
        return found

    nl, de = federation / "node/NL", federation / "node/DE"
    options = ["--title", "Action day", "--participants", "NL,DE", "--case", case, "--reader", "IJM"]
    with gateway(federation):
        assert {code for code, _ in asyncio.run(codes())} == {"operation_unknown"}
        command("node", "operation", "open", "op1", *options, "--home", nl)
        assert {code for code, _ in asyncio.run(codes())} == {"operation_unknown"}
        assert command("node", "operation", "sign", "op1", "--yes", "--home", de)["state"] == "active"
        assert asyncio.run(codes()) == [("refused", "no report yet"), ("operation_unknown", None)]


def test_check_config_says_where_the_api_will_be(federation: Path, tmp_path: Path) -> None:
    home = federation / "gateway/g1"
    address = load_home(home, clock=SystemClock()).manifest.gateways[0].api_address
    assert command("gateway", "check-config", "--home", home)["api"] == address
    other = tmp_path / "gateway.toml"
    other.write_text('api = "127.0.0.1:9443"\n')
    assert command("gateway", "check-config", "--home", home, "--config", other)["api"] == "127.0.0.1:9443"
