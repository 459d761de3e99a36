from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from gateway.database import open_engine
from gateway.ledger import Ledger
from gateway.operations_store import OperationStore
from gateway.schema_versions import ensure_schema
from tests.twoworlds.readers import Loop, Readers
from tests.twoworlds.story import Told
from tests.twoworlds.surfaces import Drawn, Surfaces
from tests.twoworlds.twin import OBSERVERS, SILENT, Twin, WatchedNode, WatchedWorld, fix_tag_key
from tests.unit.exchange import parties
from tests.unit.gateway import world as small_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.live import RealNode
    from tests.twoworlds.story import Silence

NODES = (*OBSERVERS, SILENT)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five nodes, of which UA is a third country's, and a partner; all agree with all."""
    directory = tmp_path_factory.mktemp("twoworlds") / "federation"
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in NODES),
        partners=(PartnerPlan.parse("IJM"),),
        opt_in=dict.fromkeys(NODES, ASKING_CLASSES),
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@pytest.fixture(scope="session")
def federation(folder: Path) -> parties.Federation:
    paths = {name: f"node/{name}" for name in NODES} | {"IJM": "partner/IJM", "gateway": "gateway/g1"}
    homes = {name: load_home(folder / path, clock=SystemClock()) for name, path in paths.items()}
    return parties.Federation(homes["NL"].manifest, {name: home.signing_key for name, home in homes.items()})


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    engine = open_engine(path)
    ensure_schema(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def make_world(
    federation: parties.Federation, folder: Path, tmp_path_factory: pytest.TempPathFactory, empty_ledger: Path
) -> Iterator[Callable[[], Told]]:
    """Make worlds that are equal to the last byte until somebody does something else in one of them."""
    numbers, made, engines, loop = itertools.count(), list[Told](), [], Loop()
    shared = small_world.Federation(federation.manifest, federation.keys)

    def make(ledger_kind: type[Ledger] = Ledger) -> Told:
        home = tmp_path_factory.mktemp(f"world-{next(numbers)}")
        clock = ManualClock(parties.START)
        surfaces, drawn, rng = Surfaces(clock), Drawn(), random.Random("ledger")
        engine = open_engine(Path(shutil.copy(empty_ledger, home / "ledger.db")))
        engines.append(engine)
        ledger = ledger_kind(engine, now_ms=lambda: int(clock.now() * 1000), random_bytes=drawn.drawing(rng.randbytes))
        world = WatchedWorld(shared, ledger, clock=clock)
        world.surfaces = surfaces
        nodes: dict[str, RealNode] = {}
        for name in NODES:
            party = parties.Party(name, federation, home, clock)
            # What RO's people and pages see is nobody else's: nothing of it is compared.
            seen = Surfaces(clock) if name == SILENT else surfaces
            nodes[name] = WatchedNode(name, shared, clock, party=party, surfaces=seen)
            fix_tag_key(nodes[name])
        world.hub()
        twin = Twin(world, federation, nodes, surfaces=surfaces, drawn=drawn, ledger_rng=rng)
        store = OperationStore(engine, manifest=lambda: federation.manifest, clock=clock)
        readers = Readers(twin, store, lambda name: load_home(folder / name, clock=SystemClock()), loop)
        made.append(Told(twin, readers, store))
        return made[-1]

    yield make
    loop.close()
    for told in made:
        for node in told.twin.nodes.values():
            node.party.store.close()
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="session")
def tale(make_world: Callable[[], Told]) -> Callable[[str, Silence], Told]:
    """Tell a story once, however many tests hold it against another."""
    known: dict[str, Told] = {}

    def tell(name: str, silence: Silence) -> Told:
        if name not in known:
            known[name] = make_world()
            known[name].tell(silence)
        return known[name]

    return tell
