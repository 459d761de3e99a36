from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.manifest import PartyClass
from concordat.identity.plan import AUTHORITIES, FederationPlan, NodePlan, PartnerPlan
from tests.unit.custodian.running import free_ports

if TYPE_CHECKING:
    from pathlib import Path

OPEN = (*AUTHORITIES, PartyClass.PARTNER)
RIGHTS = {"investigation": ("e164", "email", "account", "platform", "url"), "missing_person": ("e164",)}


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NL and DE answer partners, FR does not; IJM may query all but app and iban."""
    folder = tmp_path_factory.mktemp("federation") / "f"
    ports = free_ports(5)
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in ("NL", "DE", "FR")),
        partners=(PartnerPlan(name="IJM", rights=RIGHTS), PartnerPlan(name="OTHER", rights={})),
        opt_in={"NL": OPEN, "DE": OPEN},
        custodian_addresses=tuple(f"127.0.0.1:{port}" for port in ports[:3]),
        gateway_address=f"127.0.0.1:{ports[3]}",
        api_address=f"localhost:{ports[4]}",
    )
    init_federation(folder, plan, unsafe_dealer=True)
    return folder


def home(federation: Path, name: str) -> Home:
    return load_home(federation / name, clock=SystemClock())


@pytest.fixture(scope="session")
def partner(federation: Path) -> Home:
    return home(federation, "partner/IJM")


@pytest.fixture(scope="session")
def gateway(federation: Path) -> Home:
    return home(federation, "gateway/g1")
