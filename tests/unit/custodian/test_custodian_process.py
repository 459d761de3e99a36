"""A custodian process says when it serves, ends on request, and keeps its charges over kill -9 (I7, I9)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from concordat.cli import run
from concordat.clock import SystemClock
from concordat.identity.manifest import KeyClass
from concordat.rpc.client import call, channel
from concordat.wire.v1 import custodian_pb2 as wire
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from tests.unit.custodian.running import elements, home_of, make_federation, request_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def process(home: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-m", "concordat", "custodian", "run", "--home", str(home), "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        try:
            assert json.loads(child.stdout.readline())["ready"] is True
            yield child
        finally:
            child.kill()


async def test_charges_survive_kill_9_and_the_end_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = make_federation(tmp_path / "federation")
    node, home = home_of(federation, "node/NL"), federation / "custodian/c1"
    custodian = node.manifest.custodian(1)
    request = request_of(
        node.manifest,
        node.signing_key,
        requester=node.identity,
        custodian=custodian.id,
        now=SystemClock().now(),
        blinded=elements(4),
    )

    async def ask(method: str, message: object) -> Any:
        async with channel(custodian.address, home=node, server=custodian.spiffe) as link:
            return await call(
                getattr(CustodianServiceStub(link), method), message, party="c1", timeout_s=20, wait_for_ready=True
            )

    with process(home) as child:
        first = await ask("Evaluate", request)
        child.send_signal(signal.SIGKILL)
    with process(home) as child:
        quota = await ask("GetQuota", wire.GetQuotaRequest())
        again = await ask("Evaluate", request)
        child.terminate()
        assert child.wait() == 0
    assert {one.key_class: one.used for one in quota.classes} == {
        KeyClass.STRONG: 4,
        KeyClass.WEAK: 0,
        KeyClass.PERSON: 0,
    }
    assert again.elements == first.elements
    assert again.quota_left == first.quota_left
    assert run(["custodian", "quota", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "spent": False,
        "charged": [{"authority": str(node.identity), "class": "strong", "used": 4}],
    }


def test_an_operator_can_count_a_day_as_spent(
    small_quotas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "c1"
    shutil.copytree(small_quotas / "custodian/c1", home)
    assert run(["custodian", "quota", "--home", str(home), "--spend-today", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spent"] is True
    assert run(["custodian", "check-config", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == [1]


def test_a_folder_of_another_party_is_refused(small_quotas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["custodian", "run", "--home", str(small_quotas / "node/NL")]) == 2
    assert "not of a custodian" in capsys.readouterr().err
