from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.manifest import Manifest
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from gateway.database import open_engine
from gateway.ledger import Ledger
from tests.unit.gateway.world import START, Federation, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.rules import Limits, Rules

NAMES = ("NL", "DE", "FR", "RO")
PARTNERS = ("IJM", "ECPAT")


@pytest.fixture(scope="session")
def federation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a federation of four nodes, which all answer partners."""
    folder = tmp_path_factory.mktemp("gateway") / "federation"
    rights = {"investigation": ("e164", "email"), "missing_person": ("account",), "prevention": ()}
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in NAMES),
        partners=tuple(PartnerPlan(name=name, rights=rights) for name in PARTNERS),
        opt_in=dict.fromkeys(NAMES, ASKING_CLASSES),
    )
    init_federation(folder, plan, unsafe_dealer=True)
    return folder


@pytest.fixture(scope="session")
def federation(federation_folder: Path) -> Federation:
    """Its manifest, with small planes, and its keys."""
    folders = dict.fromkeys(NAMES, "node") | dict.fromkeys(PARTNERS, "partner")
    homes = {name: load_home(federation_folder / role / name, clock=SystemClock()) for name, role in folders.items()}
    gateway_folder = next((federation_folder / "gateway").iterdir())
    gateway = load_home(gateway_folder, clock=SystemClock())
    manifest = Manifest.model_validate(gateway.manifest.model_dump() | {"plane_log2_slots": 12})
    keys = {name: home.signing_key for name, home in homes.items()}
    return Federation(manifest, keys | {"gateway": gateway.signing_key})


@pytest.fixture
def make_world(federation: Federation, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make worlds, each with a ledger of its own."""
    numbers, engines = itertools.count(), []

    def make(rules: Rules | None = None, limits: Limits | None = None, manifest: Manifest | None = None) -> World:
        engine = open_engine(tmp_path / f"ledger-{next(numbers)}.db")
        engines.append(engine)
        drawn = itertools.count(1)
        ledger = Ledger(
            engine,
            now_ms=lambda: int(START * 1000),
            random_bytes=lambda size: next(drawn).to_bytes(size, "big"),
            rules=rules,
        )
        mine = federation if manifest is None else Federation(manifest, federation.keys)
        world = World(mine, ledger, rules=rules, limits=limits)
        world.hub()
        return world

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with one hub and all rules on."""
    return make_world()
