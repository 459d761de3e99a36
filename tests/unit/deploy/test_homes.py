"""What a pod mounts is what its service loads: settings by the service's own model, keys by its own checks."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from concordat.cli import run
from concordat.clock import SystemClock
from concordat.config import load_toml
from concordat.identity.home import Home, load_home
from concordat.identity.install import install
from concordat.identity.manifest import KeyClass
from concordat.identity.plan import FederationPlan, NodePlan
from gateway.config import GatewaySettings
from services.console.config import ConsoleSettings
from services.custodian.config import CustodianSettings
from services.node.config import NodeSettings
from tests.unit.deploy import readme
from tests.unit.deploy.rendered import BASES, EXAMPLE, OVERLAYS, ROOT, Workload, of_kind, workload, workloads

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.config import Settings

MODELS: Final[dict[str, type[Settings]]] = {
    "gateway": GatewaySettings,
    "console": ConsoleSettings,
    "custodian": CustodianSettings,
    "node": NodeSettings,
}
FOLDERS: Final = (*BASES, *OVERLAYS)
HOME: Final = "/var/lib/concordat"
# Namespace and workload of the example -> the folder that `concordat federation init` makes for the party.
PARTIES: Final = {
    ("concordat-hub", "gateway"): "gateway/g1",
    ("concordat-hub", "console"): "console/console",
    ("concordat-c1", "custodian"): "custodian/c1",
    ("concordat-c2", "custodian"): "custodian/c2",
    ("concordat-c3", "custodian"): "custodian/c3",
    ("concordat-nl", "node"): "node/NL",
    ("concordat-de", "node"): "node/DE",
}


def _settings(folder: str, one: Workload, tmp_path: Path) -> Settings:
    config = one.volume("settings")["configMap"]["name"]
    maps = {
        (found["metadata"]["namespace"], found["metadata"]["name"]): found for found in of_kind(folder, "ConfigMap")
    }
    (container,) = one.containers
    named = container["args"][container["args"].index("--config") + 1]
    path = tmp_path / f"{one.namespace}-{one.name}.toml"
    path.write_text(maps[one.namespace, config]["data"][named.removeprefix("/etc/concordat/")])
    return load_toml(path, MODELS[one.name])


def _roles(folder: str) -> list[Workload]:
    return [one for one in workloads(folder) if one.name in MODELS]


def _ports(one: Workload) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for container in one.containers for port in container.get("ports", [])}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_service_reads_its_settings_and_opens_the_ports_that_its_pod_names(folder: str, tmp_path: Path) -> None:
    assert _roles(folder)
    for one in _roles(folder):
        settings: Any = _settings(folder, one, tmp_path)
        listens = {
            "grpc": getattr(settings, "address", None) if one.name != "console" else None,
            "web": getattr(settings, "address", None) if one.name == "console" else None,
            "api": getattr(settings, "api", None),
            "metrics": getattr(settings, "metrics", None),
        }
        assert {name: _port(address) for name, address in listens.items() if address} == _ports(one)
        assert one.pod["terminationGracePeriodSeconds"] >= 3 * getattr(settings, "drain_s", 0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_probe_asks_the_port_on_which_its_service_listens(folder: str, tmp_path: Path) -> None:
    for one in _roles(folder):
        (container,) = one.containers
        command = container["livenessProbe"]["exec"]["command"]
        assert command[:4] == ["concordat", "health", "--home", HOME]
        if one.name == "node":
            assert command[4:] == []
        else:
            settings: Any = _settings(folder, one, tmp_path)
            assert command[4:] == ["--address", f"127.0.0.1:{_port(settings.address)}"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_service_sends_to_a_port_of_its_pod_and_by_the_same_number(folder: str) -> None:
    for service in of_kind(folder, "Service"):
        one = workload(folder, service["metadata"]["namespace"], service["metadata"]["name"])
        assert service["spec"]["selector"].items() <= one.labels.items()
        for port in service["spec"]["ports"]:
            assert _ports(one)[port["targetPort"]] == port["port"]


def test_the_ports_are_those_of_the_plan_and_of_compose() -> None:
    plan = FederationPlan(nodes=(NodePlan.parse("NL"),))
    found = {name: _ports(workload(EXAMPLE, *key)) for key, name in zip(PARTIES, PARTIES, strict=True)}
    hub = found["concordat-hub", "gateway"]
    assert (hub["grpc"], hub["api"]) == (_port(plan.gateway_address), _port(str(plan.api_address or "localhost:7443")))
    assert found["concordat-c1", "custodian"]["grpc"] == _port(plan.address_of(1))
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    for name, ports in (("gateway", hub), ("console", found["concordat-hub", "console"])):
        published = {_port(text) for text in compose["services"][name]["ports"]}
        assert published <= set(ports.values())
        model: Any = load_toml(ROOT / f"deploy/compose/{name}.toml", MODELS[name])
        assert _port(model.address) in ports.values()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the README's own command, in another folder."""
    folder = tmp_path_factory.mktemp("k8s") / "federation"
    (command,) = readme.commands("concordat federation init")
    assert command[3] == "federation"
    assert run(["federation", "init", str(folder), *command[4:], "--json"]) == 0
    return folder


@pytest.mark.parametrize("key", PARTIES)
def test_the_readmes_secrets_become_a_home_that_the_service_loads(
    key: tuple[str, str], federation: Path, tmp_path: Path
) -> None:
    one, secret = workload(EXAMPLE, *key), tmp_path / "secret"
    readme.mount(one.volume("party"), one.namespace, federation.parent, secret)
    home, keys = tmp_path / "home", tmp_path / "keys"
    home.mkdir()
    keys.mkdir()
    (step,) = one.init
    assert step["args"] == [
        "home",
        "install",
        "--from",
        "/run/concordat/party",
        "--to",
        HOME,
        "--keys",
        "/run/concordat/keys",
    ]
    install(secret, home, keys=keys)
    _mount_over(one, home, keys)
    loaded = load_home(home, clock=SystemClock())
    assert str(loaded.identity) == f"spiffe://concordat.example/{PARTIES[key]}"
    _use(loaded)


def _mount_over(one: Workload, home: Path, keys: Path) -> None:
    """Do what the pod's mounts do: single files and folders of the keys in memory, over the home."""
    (container,) = one.containers
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "keys"]
    installed = {path.name for path in keys.iterdir()}
    assert {mount["subPath"] for mount in mounts} == installed
    for mount in mounts:
        assert mount["mountPath"] == f"{HOME}/{mount['subPath']}"
        assert mount["readOnly"] is True
        source, target = keys / mount["subPath"], home / mount["subPath"]
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)


def _use(home: Home) -> None:
    if home.identity.role == "custodian":
        for key_class in KeyClass:
            home.share(1, key_class)
    if home.identity.role == "node":
        home.mask_key(1)


def test_what_the_manifest_names_is_a_service_of_the_example(federation: Path) -> None:
    manifest = load_home(federation / "node/NL", clock=SystemClock()).manifest
    hub = manifest.gateways[0]
    named = [hub.address, str(hub.api_address), *(one.address for one in manifest.custodians)]
    offered = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc:{port['port']}"
        for one in of_kind(EXAMPLE, "Service")
        for port in one["spec"]["ports"]
    }
    assert set(named) <= offered
    assert len(set(named)) == 5


def test_the_memory_of_the_keys_is_memory_and_the_state_is_not() -> None:
    for one in _roles(EXAMPLE):
        assert one.volume("keys")["emptyDir"]["medium"] == "Memory"
        assert "emptyDir" not in one.volume("home")
