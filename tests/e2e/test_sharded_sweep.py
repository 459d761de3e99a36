"""A whole federation of processes whose gateway has shards: kill -9 of a shard, and a report that is exact (3.7)."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from demo.processes import free_ports
from tests.e2e.local import KillableFederation, concordat, run_json, until
from tests.e2e.test_crash_sweep import NAMES, SETTINGS, Drill, is_exact

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.full


@contextmanager
def shard(home: Path, index: int) -> Iterator[subprocess.Popen[str]]:
    process = concordat("gateway", "sweep-shard", "--home", home, "--index", str(index), "--json")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        yield process
    finally:
        process.terminate()
        process.communicate()


def test_shards_that_are_killed_and_started_again_make_an_exact_report(tmp_path: Path) -> None:
    federation = KillableFederation(tmp_path / "drill", NAMES)
    with federation:
        federation.prepare()
        home, ports = federation.home("g1", "gateway"), free_ports(2)
        named = ", ".join(f'"localhost:{port}"' for port in ports)
        (home / "gateway.toml").write_text(f"{SETTINGS}shards = [{named}]\n", encoding="utf-8")
        federation.start()
        drill, log = Drill(federation, "drill"), federation.folder / "gateway.log"
        drill.open()
        with shard(home, 0) as first:
            drill.run("start-sweep", "drill")
            until("the gateway calls its second shard", lambda: f"shard 1 at localhost:{ports[1]}" in log.read_text())
            until("the first has its part", lambda: any((home / "sweeps" / "shard-0").iterdir()))
            first.kill()
            first.wait()
            with shard(home, 0), shard(home, 1):
                assert is_exact(drill.report(1))
                until("the shards have forgotten", lambda: not list((home / "sweeps").glob("shard-*/*")))
        assert "is shared by 2 shards" in log.read_text()
        assert run_json("gateway", "status", "--home", home)["sweeps"] == []
