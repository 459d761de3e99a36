"""Every pod of deploy/k8s is closed as far as it goes: no root, no write, no privilege, no secret but in a file."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from gateway.config import GatewaySettings
from gateway.sweep.groups import ROW
from services.node.joining import is_of
from tests.unit.deploy.rendered import (
    BASES,
    OVERLAYS,
    Manifest,
    Workload,
    of_kind,
    render,
    strings,
    workloads,
)

FOLDERS: Final = (*BASES, *OVERLAYS)
# The oldest release in which ReadWriteOncePod, on which the single writers rest, is no preview.
OLDEST: Final = "1.29"
SCHEMAS: Final = (OLDEST, "1.37")
_DIGEST: Final = re.compile(r"registry\.example/[a-z-]+@sha256:[0-9a-f]{64}")
# What the level 'restricted' of the pod security standards lets a volume be.
_VOLUMES: Final = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
_SECRET_ENV: Final = re.compile(r"PASSWORD|SECRET|TOKEN|KEY", re.IGNORECASE)
_ROLES: Final = ("gateway", "console", "custodian", "node", "sweep-shard")


def _has_gateway(folder: str) -> bool:
    return any(one.name == "gateway" for one in workloads(folder))


def _different() -> list[Manifest]:
    """Return what all folders render to, without what differs by its namespace only."""
    found = {}
    for manifest in (one for folder in FOLDERS for one in render(folder)):
        known = copy.deepcopy(manifest)
        known["metadata"].pop("namespace", None)
        found[json.dumps(known)] = manifest
    return list(found.values())


@pytest.mark.parametrize("version", SCHEMAS)
def test_each_manifest_has_the_form_that_kubernetes_publishes(version: str) -> None:
    for manifest in _different():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("kind", "place", "wrong"), [("StatefulSet", "replicaz", 1), ("NetworkPolicy", "policyTypez", ["Ingress"])]
)
def test_a_word_that_kubernetes_does_not_know_is_found(kind: str, place: str, wrong: Any) -> None:
    manifest = copy.deepcopy(of_kind("base/custodian", kind)[0])
    manifest["spec"][place] = wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, SCHEMAS[0], strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_wrong_with_any_pod(folder: str) -> None:
    assert [fault for one in workloads(folder) for fault in faults(one)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_namespace_demands_the_restricted_level(folder: str) -> None:
    namespaces = of_kind(folder, "Namespace")
    assert namespaces
    for one in namespaces:
        labels = one["metadata"]["labels"]
        assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}
    names = {one["metadata"]["name"] for one in namespaces}
    placed = {one["metadata"].get("namespace") for one in render(folder) if one["kind"] != "Namespace"}
    assert placed == names


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_secret_stands_in_a_manifest_and_nobody_gets_rights_on_the_cluster(folder: str) -> None:
    kinds = {one["kind"] for one in render(folder)}
    assert kinds <= {
        *("Namespace", "ServiceAccount", "Service", "ConfigMap", "PersistentVolumeClaim"),
        *("StatefulSet", "Deployment", "Job", "NetworkPolicy"),
    }
    for account in of_kind(folder, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for text in (text for manifest in render(folder) for text in strings(manifest)):
        assert "PRIVATE KEY" not in text
        assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_role_that_writes_alone_has_one_pod_and_a_claim_of_one_pod(folder: str) -> None:
    for one in (one for one in workloads(folder) if one.kind != "Job"):
        spec = one.manifest["spec"]
        assert spec["replicas"] == 1
        if one.kind == "Deployment":
            assert spec["strategy"] == {"type": "Recreate"}
        home = one.volume("data" if one.name == "postgres" else "home")
        claims = {claim["metadata"]["name"]: claim for claim in of_kind(folder, "PersistentVolumeClaim")}
        claim = home if "spec" in home else claims[home["persistentVolumeClaim"]["claimName"]]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if _has_gateway(folder)])
def test_sweeps_have_a_volume_that_holds_two_of_the_largest(folder: str) -> None:
    """Of 26 sets of ten million tokens, all of them shared, as the journal counts; and no other state fills it."""
    (gateway,) = (one for one in workloads(folder) if one.name == "gateway")
    (settings,) = (one["data"] for one in of_kind(folder, "ConfigMap") if "gateway.toml" in one["data"])
    sweeps = GatewaySettings.model_validate(tomllib.loads(settings["gateway.toml"])).sweeps_folder(Path("/home"))
    (mount,) = (one for one in gateway.containers[0]["volumeMounts"] if one["mountPath"] == str(sweeps))
    claim = gateway.volume(mount["name"])["spec"]
    size = re.fullmatch(r"(\d+)Gi", claim["resources"]["requests"]["storage"])
    assert size is not None
    assert int(size[1]) << 30 >= 2 * 26 * 10_000_000 * ROW.itemsize
    assert claim["accessModes"] == ["ReadWriteOncePod"]
    assert sum(str(sweeps).startswith(one["mountPath"] + "/") for one in gateway.containers[0]["volumeMounts"]) == 0


def test_each_pod_of_the_shards_is_one_of_the_gateways_settings_and_nodes_may_dial_it() -> None:
    """The gateway's manifest address is that of its Service, as the page makes it."""
    folder = "overlays/sharded"
    (job,) = (one for one in workloads(folder) if one.kind == "Job")
    (settings,) = (one["data"] for one in of_kind(folder, "ConfigMap") if "gateway.toml" in one["data"])
    named = GatewaySettings.model_validate(tomllib.loads(settings["gateway.toml"]))
    spec, (port,) = job.manifest["spec"], job.containers[0]["ports"]
    (service,) = (one for one in of_kind(folder, "Service") if one["metadata"]["name"] == job.pod["subdomain"])
    assert service["spec"]["clusterIP"] == "None"
    assert (spec["completionMode"], spec["parallelism"]) == ("Indexed", spec["completions"])
    domain = f"{job.pod['subdomain']}.{job.namespace}.svc:{port['containerPort']}"
    assert named.sweep.shards == tuple(f"{job.name}-{index}.{domain}" for index in range(spec["completions"]))
    assert all(is_of(f"gateway.{job.namespace}.svc:7400", one) for one in named.sweep.shards)
    mounts = {one["mountPath"]: one["name"] for one in job.containers[0]["volumeMounts"]}
    assert "emptyDir" in job.volume(mounts[str(named.sweeps_folder(Path("/home")))])
    assert "ledger" not in json.dumps(job.manifest), "a shard opens no ledger"


def test_a_node_opens_no_port_and_has_no_service() -> None:
    (node,) = workloads("base/node")
    assert [port for container in node.containers for port in container.get("ports", [])] == []
    assert of_kind("base/node", "Service") == []


def faults(one: Workload) -> list[str]:
    """Return what is wrong with a workload's pod."""
    pod, security = one.pod, one.pod.get("securityContext", {})
    wanted = {
        "no token": pod.get("automountServiceAccountToken") is False and pod.get("serviceAccountName") == one.name,
        "no service links": pod.get("enableServiceLinks") is False,
        "a user": security.get("runAsNonRoot") is True
        and security.get("runAsUser") == (999 if one.name == "postgres" else 10001),
        "seccomp": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        # 'Always' would change what the volume holds at each start.
        "volume left alone": security.get("fsGroupChangePolicy") == "OnRootMismatch",
        "no host": not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC", "hostAliases"))
        and not pod.get("shareProcessNamespace"),
        "time to end": pod.get("terminationGracePeriodSeconds", 0) >= 30,
        "volumes": all(set(volume) - {"name"} <= _VOLUMES for volume in pod.get("volumes", [])),
        "secrets closed": all(_closed(volume) for volume in pod.get("volumes", [])),
        "no ephemeral containers": "ephemeralContainers" not in pod,
    }
    found = [name for name, holds in wanted.items() if not holds]
    found += [fault for container in [*one.init, *one.containers] for fault in _container_faults(container)]
    found += [f"{one.name} probe" for container in one.containers if not _is_probed(container)]
    return [f"{one.namespace}/{one.name}: {fault}" for fault in found]


def _closed(volume: Manifest) -> bool:
    given = volume.get("secret") or volume.get("projected") or {"defaultMode": 0o440}
    return bool(given.get("defaultMode") == 0o440)


def _container_faults(container: Manifest) -> list[str]:
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    limited = {"cpu", "memory", "ephemeral-storage"}
    environment = container.get("env", [])
    wanted = {
        "read-only": security.get("readOnlyRootFilesystem") is True,
        "no root": security.get("runAsNonRoot") is True and "runAsUser" not in security,
        "no privilege": security.get("privileged") is False and security.get("allowPrivilegeEscalation") is False,
        "no capabilities": security.get("capabilities") == {"drop": ["ALL"]},
        "limits": set(resources.get("limits", {})) == limited == set(resources.get("requests", {})),
        "image": bool(_DIGEST.fullmatch(container["image"])) and container.get("imagePullPolicy") == "IfNotPresent",
        "no secret in the environment": not container.get("envFrom")
        and all("valueFrom" not in one for one in environment)
        and not any(_SECRET_ENV.search(one["name"]) and not one["value"].startswith("/") for one in environment),
        "no host port": not any("hostPort" in port for port in container.get("ports", [])),
        "no device": not container.get("volumeDevices"),
    }
    return [f"{container['name']} {name}" for name, holds in wanted.items() if not holds]


def _is_probed(container: Manifest) -> bool:
    probes = [container.get(f"{one}Probe", {}) for one in ("startup", "readiness", "liveness")]
    commands = [probe.get("exec", {}).get("command", []) for probe in probes]
    # The kubelet's own gRPC, HTTP and TCP probes show no certificate, so a port that asks for one fails them.
    expected = "concordat" if container["name"] in _ROLES else "pg_isready"
    return all(command[:1] == [expected] for command in commands) and all(
        probe.get("timeoutSeconds", 1) >= 5 for probe in probes
    )


def _set(value: Any, *path: str | int) -> Any:
    def change(manifest: Manifest) -> None:
        place: Any = manifest["spec"]["template"]["spec"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_set(False, "containers", 0, "securityContext", "readOnlyRootFilesystem"), "read-only"),
        (_set(True, "initContainers", 0, "securityContext", "allowPrivilegeEscalation"), "no privilege"),
        (_set(0, "containers", 0, "securityContext", "runAsUser"), "no root"),
        (_set(0, "securityContext", "runAsUser"), "a user"),
        (_set({"add": ["NET_RAW"]}, "containers", 0, "securityContext", "capabilities"), "no capabilities"),
        (_set(True, "hostNetwork"), "no host"),
        (_set({}, "containers", 0, "resources", "limits"), "limits"),
        (_set("concordat-custodian:latest", "containers", 0, "image"), "image"),
        (_set([{"secretRef": {"name": "custodian-party"}}], "containers", 0, "envFrom"), "no secret in the env"),
        (_set([{"name": "DB_PASSWORD", "value": "x"}], "containers", 0, "env"), "no secret in the env"),
        (_set({"grpc": {"port": 7401}}, "containers", 0, "livenessProbe"), "probe"),
        (_set([{"name": "host", "hostPath": {"path": "/"}}], "volumes"), "volumes"),
        (_set({"secretName": "custodian-party"}, "volumes", 0, "secret"), "secrets closed"),
        (_set(True, "automountServiceAccountToken"), "no token"),
        (_set("Always", "securityContext", "fsGroupChangePolicy"), "volume left alone"),
    ],
)
def test_each_of_these_faults_is_found(change: Any, fault: str) -> None:
    (custodian,) = workloads("base/custodian")
    broken = copy.deepcopy(custodian.manifest)
    change(broken)
    found = faults(Workload(broken))
    assert len(found) == 1
    assert fault in found[0]
