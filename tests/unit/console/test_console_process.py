"""The process: TLS by default, a link in the ready line and nowhere else, health, and an end in time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concordat import cli
from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import FederationPlan, NodePlan
from demo.processes import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 60


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation whose gateway does not run."""
    folder = tmp_path_factory.mktemp("console") / "federation"
    plan = FederationPlan(
        name="test.example", nodes=(NodePlan.parse("NL"),), api_address=f"localhost:{free_ports(1)[0]}"
    )
    init_federation(folder, plan, unsafe_dealer=True)
    return folder


@pytest.fixture
def home(federation: Path) -> Path:
    return federation / "console" / "console"


class Process:
    """A console's process, and what it wrote."""

    def __init__(self, home: Path) -> None:
        arguments = [sys.executable, "-m", "concordat", "console", "run", "--home", str(home), "--json"]
        self.child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = ""
        assert self.child.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self.child.stderr,))
        self._reader.start()
        assert self.child.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.child.stdout.readline() or "{}")

    def _read(self, lines: Any) -> None:
        for line in lines:
            self.log += line

    def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.child.wait(WAIT_S)
        self._reader.join()
        for pipe in (self.child.stdout, self.child.stderr):
            assert pipe is not None
            pipe.close()
        return code


@pytest.fixture
def console(home: Path) -> Iterator[Process]:
    (home / "console.toml").write_text('address = "localhost:0"\n', encoding="utf-8")
    process = Process(home)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.child.pid, signal.SIGKILL)
    if not process.child.stdout or not process.child.stdout.closed:
        process.wait()


def test_a_console_serves_tls_and_keeps_its_link_to_itself(home: Path, console: Process) -> None:
    assert console.ready["ready"]
    origin, link = console.ready["origin"], console.ready["link"]
    key = link.removeprefix(f"{origin}/login?key=")
    assert origin.startswith("https://localhost:")
    trusted = ssl.create_default_context(cadata=(home / "tls-roots.crt").read_text())
    port = origin.rpartition(":")[2]
    assert cli.run(["health", "--home", str(home), "--address", f"127.0.0.1:{port}", "--json"]) == 0
    with httpx.Client(base_url=origin, verify=trusted, trust_env=False) as client:
        assert client.get("/login", params={"key": key}).status_code == 200
        assert client.post("/login", data={"key": key}, headers={"Origin": origin}).status_code == 303
        cookie = client.cookies["__Host-concordat"]
        assert "does not answer" in client.get("/").text, "the gateway does not run"
        with client.stream("GET", "/events") as stream:
            assert next(stream.iter_lines()) == "event: page"
            assert console.stop() == 0, "a page that is open does not hold it up"
    assert key not in console.log
    assert cookie not in console.log
    assert all(json.loads(line) for line in console.log.splitlines()), "the log is JSON"


def test_a_port_that_is_taken_and_another_party_s_folder_are_refused(
    home: Path, console: Process, federation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = console.ready["origin"].rpartition(":")[2]
    (home / "console.toml").write_text(f'address = "localhost:{port}"\n', encoding="utf-8")
    assert cli.run(["console", "run", "--home", str(home), "--json"]) == 2
    assert "cannot listen" in capsys.readouterr().out
    assert cli.run(["console", "run", "--home", str(federation / "node" / "NL"), "--json"]) == 2
    assert "not of a console" in capsys.readouterr().out


def test_a_link_is_made_for_a_console_that_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "console.toml").write_text('address = "localhost:0"\n', encoding="utf-8")
    assert cli.run(["console", "link", "--home", str(home), "--json"]) == 2
    assert "set its port" in capsys.readouterr().out
    (home / "console.toml").write_text('origin = "https://console.example"\n', encoding="utf-8")
    assert cli.run(["console", "link", "--home", str(home)]) == 0
    assert capsys.readouterr().out.startswith("https://console.example/login?key=")
    assert cli.run(["console", "check-config", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["origin"] == "https://console.example"


def test_a_certificate_for_browsers_must_be_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "console.toml").write_text('certificate = "web.crt"\ncertificate_key = "web.key"\n', encoding="utf-8")
    assert cli.run(["console", "run", "--home", str(home), "--json"]) == 2
    assert "no certificate" in capsys.readouterr().out
    assert load_home(home, clock=SystemClock()).identity.name == "console"
