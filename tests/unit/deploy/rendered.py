"""What deploy/k8s renders to, by the kustomize inside kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = dict[str, Any]

ROOT: Final = Path(__file__).parents[3]
K8S: Final = ROOT / "deploy/k8s"
BASES: Final = ("base/hub", "base/custodian", "base/node")
OVERLAYS: Final = tuple(
    str(path.parent.relative_to(K8S)) for path in sorted(K8S.glob("overlays/**/kustomization.yaml"))
)
EXAMPLE: Final = "overlays/example"
_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet")


@dataclass(frozen=True)
class Workload:
    """What makes pods, and the pod that it makes."""

    manifest: Manifest

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.manifest["spec"]["template"]["metadata"]["labels"])

    @property
    def pod(self) -> Manifest:
        found: Manifest = self.manifest["spec"]["template"]["spec"]
        return found

    @property
    def containers(self) -> list[Manifest]:
        """Return those that stay; `init` comes before them and ends."""
        return list(self.pod["containers"])

    @property
    def init(self) -> list[Manifest]:
        return list(self.pod.get("initContainers", []))

    def volume(self, name: str) -> Manifest:
        claims = {one["metadata"]["name"]: one for one in self.manifest["spec"].get("volumeClaimTemplates", [])}
        volumes = {one["name"]: one for one in self.pod.get("volumes", [])}
        found: Manifest = {**claims, **volumes}[name]
        return found


@cache
def render(folder: str) -> tuple[Manifest, ...]:
    """Return the manifests of a folder under deploy/k8s; skips where there is no kubectl."""
    # A package may have brought it beside the interpreter; any other is as good.
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(folder: str, kind: str) -> list[Manifest]:
    return [one for one in render(folder) if one["kind"] == kind]


def workloads(folder: str) -> list[Workload]:
    return [Workload(one) for one in render(folder) if one["kind"] in _WORKLOADS]


def workload(folder: str, namespace: str, name: str) -> Workload:
    return next(one for one in workloads(folder) if (one.namespace, one.name) == (namespace, name))


def strings(value: object) -> Iterator[str]:
    """Yield every string of a manifest, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
