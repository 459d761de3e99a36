"""The pods of deploy/k8s/overlays/example start as they are written, find each other, and keep their state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.kubelet import Cluster, Pod
from tests.unit.deploy import readme
from tests.unit.deploy.rendered import EXAMPLE, workloads

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get("DOCKER_HOST") or os.geteuid() != 0,
        reason="needs a container engine, and root for its volumes",
    ),
]

START_S = 150
SECRETS = ("tls.key", "sign.key", "seal.key")


@pytest.fixture(scope="module")
def typed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make keys, certificates and passwords by the README's own script."""
    folder = tmp_path_factory.mktemp("k8s")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = f"set -euo pipefail\n{readme.preparation()}"
    subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, "PATH": path}, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def pods(typed_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pod]]:
    with Cluster(tmp_path_factory.mktemp("volumes"), typed_in) as cluster:
        found = {f"{one.namespace}/{one.name}": cluster.pod(one) for one in workloads(EXAMPLE)}
        # No order is kept in a cluster either: what misses another ends, and is started again.
        with ThreadPoolExecutor(max_workers=4) as several:
            list(several.map(Pod.start, found.values()))
        for pod in found.values():
            _ready(pod)
        yield found


def _ready(pod: Pod) -> None:
    ends = time.monotonic() + START_S
    while not pod.probe("startup"):
        assert time.monotonic() < ends, f"{pod.workload.name} does not start: {pod.logs()[-2000:]}"
        time.sleep(0.3)


def test_every_pod_starts_and_answers_its_probes(pods: dict[str, Pod]) -> None:
    assert {name: pod.probe("liveness") for name, pod in pods.items()} == dict.fromkeys(pods, True)
    assert {name: pod.probe("readiness") for name, pod in pods.items()} == dict.fromkeys(pods, True)


def test_two_nodes_find_their_common_number_through_hub_and_custodians(pods: dict[str, Pod]) -> None:
    def check(pod: Pod) -> dict[str, object]:
        pod.call("concordat", "node", "case", "new", "/tmp/case.toml")
        found: dict[str, object] = json.loads(
            pod.call(
                *("concordat", "node", "check", "-", "--kind", "phone", "--case", "/tmp/case.toml"),
                *("--home", "/var/lib/concordat", "--json"),
                stdin="+31 6 12345678\n",
            )
        )
        return found

    first, second = check(pods["concordat-nl/node"]), check(pods["concordat-de/node"])
    assert (first["not_covered"], first["matches"]) == ([], [])
    assert second["not_covered"] == []
    assert second["matches"] != []


def test_the_operator_gets_a_link_on_demand_and_none_stands_in_the_log(pods: dict[str, Pod]) -> None:
    console = pods["concordat-hub/console"]
    command = ("console", "link", "--home", "/var/lib/concordat", "--config", "/etc/concordat/console.toml")
    assert console.call("concordat", *command).startswith("https://console.example/")
    assert "https://console.example/" not in console.logs()


def test_no_key_is_on_a_claim(pods: dict[str, Pod], typed_in: Path) -> None:
    keys = {
        path.read_bytes()
        for path in (typed_in / "federation").rglob("*")
        if path.name in SECRETS or (path.parent.name in ("shares", "masks") and path.suffix != ".transcript")
    }
    assert len(keys) > 20
    on_claims = {path: path.read_bytes() for pod in pods.values() for path in pod.home.rglob("*") if path.is_file()}
    assert any(path.name == "quotas.sqlite" for path in on_claims)
    assert [path for path, data in on_claims.items() if any(key in data for key in keys)] == []


def test_a_new_pod_goes_on_with_the_state_of_the_old(pods: dict[str, Pod]) -> None:
    """I7, I9: a custodian's quotas are neither lost nor taken for a copy, when its pod is replaced."""
    pod = next(one for name, one in pods.items() if "custodian" in name and (one.home / "custodian.log").stat().st_size)
    assert pod.remove() == 0
    before = _quota(pod)
    pod.start()
    _ready(pod)
    assert "put back from a copy" not in pod.logs()
    assert pod.remove() == 0
    assert _quota(pod) == before
    assert before["spent"] is False
    assert before["charged"]
    pod.start()
    _ready(pod)


def _quota(pod: Pod) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        pod.once("custodian", "quota", "--home", "/var/lib/concordat", "--json").splitlines()[-1]
    )
    return found
