"""A pod of deploy/k8s, run by a container engine as a kubelet would: its volumes, its init containers, its limits.

    cluster = Cluster(folder, where the README's commands were typed)
    pod = cluster.pod(workload)
    pod.start(); pod.probe(); pod.remove()

It does what the manifests rest on and no test without it would see: links and groups of mounted secrets, single files
of a memory volume mounted over a claim, a root that cannot be written, no capability. It enforces no policy.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from tests.unit.deploy import readme
from tests.unit.deploy.rendered import EXAMPLE, of_kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.deploy.rendered import Manifest, Workload

_LIMIT_S: Final = 120


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """Run the engine's client and return what it prints."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=_LIMIT_S, input=stdin
    )
    if check and done.returncode != 0:
        raise AssertionError(f"docker {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


@dataclass
class Cluster:
    """A network, and a folder for volumes."""

    folder: Path
    typed_in: Path
    name: str = ""

    def __enter__(self) -> Self:
        self.name = f"concordat-pods-{uuid.uuid4().hex[:8]}"
        docker("network", "create", "--internal", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        left = docker("ps", "-aq", "--filter", f"network={self.name}").split()
        if left:
            docker("rm", "-f", *left, check=False)
        docker("network", "rm", self.name, check=False)

    def pod(self, workload: Workload) -> Pod:
        """Return a workload's pod, not started; its claims outlive it."""
        return Pod(self, workload, self.folder / workload.namespace / workload.name)


@dataclass
class Pod:
    """One pod, and where its volumes are."""

    cluster: Cluster
    workload: Workload
    folder: Path
    generation: int = 0

    @property
    def container(self) -> str:
        return f"{self.cluster.name}-{self.workload.namespace}-{self.workload.name}"

    @property
    def home(self) -> Path:
        """Return the claim's folder."""
        return self.folder / "home"

    def start(self) -> None:
        """Make what lives as long as the pod, run the init containers, start the container."""
        volumes = self._prepare()
        (main,) = self.workload.containers
        alias = f"{self.workload.name}.{self.workload.namespace}.svc"
        network = ["--network", self.cluster.name, "--network-alias", alias, "--name", self.container]
        docker(
            "run", "-d", "--restart", "always", *self._flags(main, volumes), *network, self._image(main), *main["args"]
        )

    def once(self, *command: str) -> str:
        """Run a pod that does one thing with the claims and ends; the pod itself must not be there."""
        volumes = self._prepare()
        (main,) = self.workload.containers
        return docker("run", "--rm", *self._flags(main, volumes), "--network", "none", self._image(main), *command)

    def probe(self, which: str) -> bool:
        """Run one of the container's probes as it is written."""
        (main,) = self.workload.containers
        done = subprocess.run(
            ["docker", "exec", self.container, *main[f"{which}Probe"]["exec"]["command"]],
            capture_output=True,
            check=False,
            timeout=_LIMIT_S,
        )
        return done.returncode == 0

    def call(self, *command: str, stdin: str | None = None) -> str:
        """Run a command in the container, as `kubectl exec` does."""
        return docker("exec", *(["-i"] if stdin is not None else []), self.container, *command, stdin=stdin)

    def logs(self) -> str:
        done = subprocess.run(["docker", "logs", self.container], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def remove(self) -> int:
        """End the pod within its grace period and return its exit code; its claims stay."""
        docker("stop", "--time", str(self.workload.pod["terminationGracePeriodSeconds"]), self.container)
        code = int(docker("inspect", "--format", "{{.State.ExitCode}}", self.container))
        docker("rm", self.container)
        return code

    def _prepare(self) -> dict[str, Path]:
        self.generation += 1
        volumes = {name: self._volume(name) for name in self._volume_names()}
        for step in self.workload.init:
            docker("run", "--rm", *self._flags(step, volumes), "--network", "none", self._image(step), *step["args"])
        return volumes

    def _volume_names(self) -> set[str]:
        everyone = [*self.workload.init, *self.workload.containers]
        return {mount["name"] for container in everyone for mount in container["volumeMounts"]}

    def _volume(self, name: str) -> Path:
        group = self.workload.pod["securityContext"]["fsGroup"]
        volume = self.workload.volume(name)
        if "spec" in volume or "persistentVolumeClaim" in volume:
            where = self.folder / name
            where.mkdir(parents=True, exist_ok=True)
            _give(where, group, 0o2775)
            return where
        where = self.folder / f"{name}-{self.generation}"
        if "secret" in volume or "projected" in volume:
            readme.mount(volume, self.workload.namespace, self.cluster.typed_in, where)
            for path in where.rglob("*"):
                os.chown(path, 0, group, follow_symlinks=False)
        elif "configMap" in volume:
            where.mkdir(parents=True)
            for file, text in self._config_map(volume["configMap"]["name"]).items():
                (where / file).write_text(text)
        else:
            where.mkdir(parents=True)
            _give(where, group, 0o2777)
        return where

    def _config_map(self, name: str) -> dict[str, str]:
        found: dict[str, str] = next(
            one["data"]
            for one in of_kind(EXAMPLE, "ConfigMap")
            if (one["metadata"]["namespace"], one["metadata"]["name"]) == (self.workload.namespace, name)
        )
        return found

    def _flags(self, container: Manifest, volumes: dict[str, Path]) -> list[str]:
        security, limits = self.workload.pod["securityContext"], container["resources"]["limits"]
        flags = ["--user", f"{security['runAsUser']}:{security['runAsGroup']}", "--security-opt", "no-new-privileges"]
        flags += ["--group-add", str(security["fsGroup"]), "--read-only", "--cap-drop", "ALL"]
        flags += [
            "--memory",
            limits["memory"].removesuffix("i").lower(),
            "--cpus",
            str(min(int(limits["cpu"]), os.cpu_count() or 1)),
        ]
        for variable in container.get("env", []):
            flags += ["--env", f"{variable['name']}={variable['value']}"]
        for mount in container["volumeMounts"]:
            flags += ["--volume", _binding(mount, volumes[mount["name"]])]
        return flags

    def _image(self, container: Manifest) -> str:
        name = container["image"].partition("@")[0].rpartition("/")[2]
        return os.environ.get("CONCORDAT_POSTGRES", "postgres:15") if name == "postgres" else f"{name}:local"


def _binding(mount: dict[str, Any], source: Path) -> str:
    path = source / mount["subPath"] if "subPath" in mount else source
    assert path.exists(), f"{path} is to be mounted and is not there"
    return f"{path}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"


def _give(folder: Path, group: int, mode: int) -> None:
    """Do what fsGroup does to the root of a volume, and no more: OnRootMismatch."""
    os.chown(folder, 0, group)
    folder.chmod(mode)
