"""A federation of two nodes, three custodians and a gateway, for tests; and an authority that tests can misuse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from concordat.clock import SystemClock
from concordat.identity.certificates import LocalAuthority
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.plan import FederationPlan, NodePlan

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.names import SpiffeId

FEDERATION: Final = "test.example"
PLAN: Final = FederationPlan(name=FEDERATION, nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")))


def make(directory: Path) -> Path:
    """Make the federation's folders and return where they are."""
    init_federation(directory, PLAN, unsafe_dealer=True)
    return directory


def home(federation: Path, role_and_name: str) -> Home:
    """Load one party's folder."""
    return load_home(federation / role_and_name, clock=SystemClock())


def authority(federation: str = FEDERATION) -> LocalAuthority:
    """Return an authority whose key the test holds; `init_federation` forgets its own."""
    return LocalAuthority.create(federation, clock=SystemClock())


def under(home: Home, issuer: LocalAuthority, *, spiffe: SpiffeId | None = None, days: float = 1) -> Home:
    """Return the home with a certificate of `issuer`, maybe for another name or ended already."""
    return replace(home, tls=issuer.issue(spiffe or home.identity, days=days), tls_roots_pem=issuer.root_pem)
