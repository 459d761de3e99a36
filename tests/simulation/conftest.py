from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.manifest import Manifest
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from gateway.database import open_engine
from gateway.ledger import Ledger
from tests.simulation.live import Live, RealNode
from tests.unit.exchange import parties
from tests.unit.gateway import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.rules import Rules

NAMES = ("NL", "DE", "FR", "RO")
PARTNER = "IJM"


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> parties.Federation:
    """A federation of four nodes, with small planes; all but RO answer its partner."""
    folder = tmp_path_factory.mktemp("simulation") / "federation"
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in NAMES),
        partners=(PartnerPlan.parse(PARTNER),),
        opt_in=dict.fromkeys(NAMES[:-1], ASKING_CLASSES),
    )
    init_federation(folder, plan, unsafe_dealer=True)
    folders = dict.fromkeys(NAMES, "node") | {PARTNER: "partner"}
    homes = {name: load_home(folder / role / name, clock=SystemClock()) for name, role in folders.items()}
    gateway = load_home(next((folder / "gateway").iterdir()), clock=SystemClock())
    manifest = Manifest.model_validate(gateway.manifest.model_dump() | {"plane_log2_slots": 12})
    keys = {name: home.signing_key for name, home in homes.items()}
    return parties.Federation(manifest, keys | {"gateway": gateway.signing_key})


@pytest.fixture
def make_live(federation: parties.Federation, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Make worlds of real cores, each with its own ledger and stores."""
    numbers, made, engines = itertools.count(), list[Live](), []
    shared = world.Federation(federation.manifest, federation.keys)

    def make(*names: str, rules: Rules | None = None) -> Live:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        engines.append(open_engine(folder / "ledger.db"))
        drawn = itertools.count(1)
        ledger = Ledger(
            engines[-1],
            now_ms=lambda: int(parties.START * 1000),
            random_bytes=lambda size: next(drawn).to_bytes(size, "big"),
            rules=rules,
        )
        hubs = world.World(shared, ledger, clock=ManualClock(parties.START), rules=rules)
        hubs.hub()
        nodes = {
            name: RealNode(name, shared, hubs.clock, party=parties.Party(name, federation, folder, hubs.clock))
            for name in names
        }
        made.append(Live(hubs, federation, nodes))
        return made[-1]

    yield make
    for live in made:
        for node in live.nodes.values():
            node.party.store.close()
    for engine in engines:
        engine.dispose()
