"""Each container runs as nobody, writes nothing into its root, and reaches only whom it has business with."""

from __future__ import annotations

import pytest

from tests.e2e.docker.containers import HOME, SERVICES, Containers, run

OURS = [one for one in SERVICES if one != "ledger"]
# Service -> whom it must reach by name, and whom it must not reach by any address. A network has no direction: what a
# custodian could dial at the gateway is for mTLS and the table of callers to refuse.
REACHES = {
    "node-nl": (("gateway:7400", "custodian-1:7401"), ("node-ro:7400", "ledger:5432", "console:7480")),
    "custodian-1": ((), ("custodian-2:7401", "ledger:5432", "console:7480")),
    "console": (("gateway:7443",), ("custodian-1:7401", "ledger:5432", "node-nl:7400")),
    "gateway": (("ledger:5432", "custodian-3:7401"), ()),
}
PLACES = ("/", "/opt/own", "/opt/concordat", "/etc", "/tmp", HOME)
# In a shell of its own each, as one that cannot write ends.
TRY = 'for at in "$@"; do (: >"$at/.tried") 2>/dev/null && echo "$at"; done; true'
# A refusal has been there and back.
DIAL = """
import socket, sys
for address in sys.argv[1:]:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        pass
    except OSError:
        continue
    print(address)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_nobody_and_may_nothing(containers: Containers, service: str) -> None:
    found = containers.inspect(service)
    host = found["HostConfig"]
    assert found["Config"]["User"] in ("10001:10001", "999:999")
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidMode"] == host["UTSMode"] == ""
    assert host["IpcMode"] == "private"


@pytest.mark.parametrize("service", SERVICES)
def test_the_process_itself_holds_no_right(containers: Containers, service: str) -> None:
    """What the kernel says of it, and not what was asked for."""
    status = dict(
        line.split(":", 1) for line in containers.execute(service, "cat", "/proc/1/status").splitlines() if ":" in line
    )
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert {status[f"Cap{name}"].strip().strip("0") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()


@pytest.mark.parametrize("service", OURS)
def test_nothing_but_the_partys_folder_and_tmp_can_be_written(containers: Containers, service: str) -> None:
    tried = containers.execute(service, "sh", "-c", TRY, "sh", *PLACES)
    assert tried.split() == ["/tmp", HOME]
    containers.execute(service, "rm", "/tmp/.tried", f"{HOME}/.tried")


@pytest.mark.parametrize("service", REACHES)
def test_a_container_reaches_its_own_and_nobody_else(containers: Containers, service: str) -> None:
    """The arrows of DESIGN §1, from inside."""
    may, may_not = REACHES[service]
    numbers = [
        f"{network['IPAddress']}:{port}"
        for other, _, port in (one.partition(":") for one in may_not)
        for network in containers.inspect(other)["NetworkSettings"]["Networks"].values()
    ]
    reached = containers.execute(service, "python3", "-c", DIAL, *may, *numbers).split()
    assert reached == list(may)


def test_only_the_network_of_published_ports_leads_out(containers: Containers) -> None:
    names = run(
        ("docker", "network", "ls", "--filter", f"name=^{containers.project}_", "--format", "{{.Name}}")
    ).split()
    shape = "{{.Name}} {{.Internal}}"
    rows = [line.split() for line in run(("docker", "network", "inspect", "--format", shape, *names)).splitlines()]
    assert [name for name, internal in rows if internal == "false"] == [f"{containers.project}_edge"]


@pytest.mark.parametrize("service", OURS)
def test_no_secret_stands_in_a_containers_settings(containers: Containers, service: str) -> None:
    """Neither its environment nor its command; keys and passwords are files."""
    password = (containers.local / "ledger" / "password").read_text().strip()
    assert password not in run(("docker", "inspect", containers.container(service)))


def test_an_image_has_no_installer_and_no_other_roles_packages(containers: Containers) -> None:
    look = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    names = ("pip", "setuptools", "fastapi", "sqlalchemy", "numpy", "numba", "phonenumbers", "httpx")
    has = {
        service: set(containers.execute(service, "python3", "-c", look, *names).split())
        for service in ("custodian-1", "gateway", "node-nl", "console")
    }
    assert has["custodian-1"] == {"numpy", "numba"}
    assert has["gateway"] == {"fastapi", "sqlalchemy", "numpy"}
    assert has["node-nl"] == {"numpy", "numba", "phonenumbers"}
    assert has["console"] == {"fastapi", "httpx"}
