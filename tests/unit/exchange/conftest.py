from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.manifest import Manifest
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from tests.unit.exchange.parties import START, AskerByHand, Federation, Party

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("NL", "DE", "FR")
PARTNER = "IJM"


@pytest.fixture(scope="session")
def federation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "federation"
    rights = {"investigation": ("e164",), "missing_person": ("account",), "prevention": ()}
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in NAMES),
        partners=(PartnerPlan(name=PARTNER, rights=rights),),
        opt_in={"NL": ASKING_CLASSES},
    )
    init_federation(folder, plan, unsafe_dealer=True)
    return folder


@pytest.fixture(scope="session")
def federation(federation_folder: Path) -> Federation:
    """The manifest, with small planes, and the keys."""
    folders = dict.fromkeys(NAMES, "node") | {PARTNER: "partner", "console": "console"}
    homes = {name: load_home(federation_folder / role / name, clock=SystemClock()) for name, role in folders.items()}
    gateway = load_home(next((federation_folder / "gateway").iterdir()), clock=SystemClock())
    manifest = Manifest.model_validate(gateway.manifest.model_dump() | {"plane_log2_slots": 12})
    keys = {name: home.signing_key for name, home in homes.items()}
    return Federation(manifest, keys | {"gateway": gateway.signing_key})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def party(federation: Federation, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[[str], Party]]:
    """Make nodes by name."""
    made: list[Party] = []

    def make(name: str) -> Party:
        made.append(Party(name, federation, tmp_path, clock))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def holder(party: Callable[[str], Party]) -> Party:
    return party("NL")


@pytest.fixture
def asker(federation: Federation, clock: ManualClock) -> AskerByHand:
    return AskerByHand("DE", federation, clock)
