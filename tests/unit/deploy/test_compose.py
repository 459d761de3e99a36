"""deploy/compose.yaml: every container closed, one network an arrow of DESIGN §1, settings that the services read."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from concordat.config import Settings, load_toml
from gateway.config import GatewaySettings
from services.console.config import ConsoleSettings
from services.custodian.config import CustodianSettings
from tests.unit.deploy.rendered import ROOT

DEPLOY: Final = ROOT / "deploy"
FILE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, dict[str, Any]]] = FILE["services"]
CUSTODIANS: Final = ("custodian-1", "custodian-2", "custodian-3")
NODES: Final = ("node-nl", "node-ro")
ARROWS: Final = {
    *(frozenset({node, "gateway"}) for node in NODES),
    *(frozenset({client, custodian}) for client in (*NODES, "gateway") for custodian in CUSTODIANS),
    frozenset({"gateway", "ledger"}),
    frozenset({"gateway", "console"}),
    frozenset({"gateway", "partner"}),
}
PUBLISHED: Final = {"gateway", "console"}
SETTINGS: Final[dict[str, type[Settings]]] = {
    "custodian": CustodianSettings,
    "gateway": GatewaySettings,
    "console": ConsoleSettings,
}


def members(network: str) -> set[str]:
    """Return the services in a network."""
    return {name for name, service in SERVICES.items() if network in service["networks"]}


def test_two_services_share_a_network_only_where_there_is_an_arrow() -> None:
    shared = {frozenset(pair) for name in FILE["networks"] for pair in combinations(members(name), 2)}
    assert shared == ARROWS


def test_a_network_is_one_arrow_and_leads_nowhere_else() -> None:
    """A third member could speak to both; only published ports need a way out."""
    for name, network in FILE["networks"].items():
        if name == "edge":
            assert members(name) == PUBLISHED
        else:
            assert len(members(name)) == 2, name
            assert network == {"internal": True}, name


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_closed_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] in ("10001:10001", "999:999")
    assert all("noexec" in one or one.startswith("/var/run/postgresql") for one in service["tmpfs"])
    assert {"pids_limit", "mem_limit", "cpus", "healthcheck"} <= service.keys()
    assert not {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "env_file"} & service.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_published_on_this_machine_only(name: str) -> None:
    """Under the default of the file; who widens it says so in a variable."""
    ports = SERVICES[name].get("ports", [])
    assert bool(ports) == (name in PUBLISHED)
    assert all(":-127.0.0.1:" in port for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_file(name: str) -> None:
    """What is a password is the name of a file."""
    settings = SERVICES[name].get("environment", {})
    assert not [one for one in settings if "PASSWORD" in one and not one.endswith("_FILE")]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_sees_no_partys_folder_but_its_own(name: str) -> None:
    folders = [one.partition("}/")[2].partition(":")[0] for one in SERVICES[name]["volumes"] if "LOCAL" in one]
    assert len(folders) == 1
    sharing = [other for other, service in SERVICES.items() if any(folders[0] in one for one in service["volumes"])]
    assert sharing == [name]


@pytest.mark.parametrize("role", SETTINGS)
def test_the_settings_are_what_the_service_reads(role: str) -> None:
    file = DEPLOY / FILE["configs"][role]["file"]
    load_toml(file, SETTINGS[role])


def test_services_start_after_those_that_they_need() -> None:
    needs = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    assert needs["gateway"] == {"ledger"}
    assert needs["console"] == {"gateway"}
    assert all(needs[node] == {"gateway", *CUSTODIANS} for node in NODES)
    conditions = {one["condition"] for service in SERVICES.values() for one in service.get("depends_on", {}).values()}
    assert conditions == {"service_healthy"}
