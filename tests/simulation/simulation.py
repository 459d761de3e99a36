"""A seeded discrete-event simulation of a whole federation (docs/simulation.md): one seed is one history.

    outcome = simulate(7, federation)
    outcome.broken          # invariants that did not hold, with the events at which they did not; see `watch`

The protocol code of nodes and gateway is the real one, and so are stores, journals and ledger; transport, clock, disk
and dice are injected. Histories are short, and each has some families of faults only, so that rare orders are met.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.manifest import Manifest
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from gateway.ledger import Ledger
from tests.simulation.actions import ACTIONS, DISTURBANCES, FAMILIES
from tests.simulation.watch import EPOCHS, Watch
from tests.simulation.world import SimActor, SimParty, World, quick_engine
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from gateway.rules import Rules
    from services.node.store.store import Store

NAMES: Final = ("NL", "DE", "FR", "RO")
PARTNER: Final = "IJM"
CALM_S: Final = 150.0
STEPS: Final = (120, 200, 320)
MEMORY: Final = Path("/dev/shm")
"""Each history has a folder of its own in it, where it is there."""


@dataclass(frozen=True)
class Mutant:
    """A program with one of its rules taken out."""

    name: str = ""
    rules: Rules | None = None
    store: type[Store] | None = None
    ledger: type[Ledger] = Ledger
    parts: dict[str, type[Any]] = field(default_factory=dict)
    unacknowledged: bool = False
    steps: int = 0
    """Length of the histories in which it is looked for, where they are longer than usual."""


REAL: Final = Mutant()


@dataclass(frozen=True)
class Outcome:
    """What one history came to."""

    seed: int
    broken: tuple[str, ...]
    events: int
    families: tuple[str, ...]


def make_federation(folder: Path) -> parties.Federation:
    """Make keys and manifest of four nodes and a partner, with small planes."""
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(NodePlan.parse(name) for name in NAMES),
        partners=(PartnerPlan.parse(PARTNER),),
        opt_in=dict.fromkeys(NAMES, ASKING_CLASSES),
    )
    init_federation(folder, plan, unsafe_dealer=True)
    folders = dict.fromkeys(NAMES, "node") | {PARTNER: "partner"}
    homes = {name: load_home(folder / role / name, clock=SystemClock()) for name, role in folders.items()}
    gateway = load_home(next((folder / "gateway").iterdir()), clock=SystemClock())
    manifest = gateway.manifest.model_dump()
    masks = {str(epoch): manifest["mask_keys"]["1"] for epoch in EPOCHS}
    small = Manifest.model_validate(manifest | {"plane_log2_slots": 12, "mask_keys": masks})
    keys = {name: home.signing_key for name, home in homes.items()}
    return parties.Federation(small, keys | {"gateway": gateway.signing_key})


def simulate(
    seed: int,
    federation: parties.Federation,
    *,
    mutant: Mutant = REAL,
    trace: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Let one history happen, end all faults, wait until nothing is to be done, and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None))
    engines: list[Engine] = []
    world: World | None = None
    try:
        world = _make(seed, federation, folder, engines=engines, mutant=mutant, trace=trace)
        _happen(world, mutant.steps)
        return Outcome(seed, tuple(world.watch.broken), world.truth.now, tuple(sorted(world.families)))
    finally:
        for actor in world.actors.values() if world is not None else ():
            actor.party.store.close()
        for engine in engines:
            engine.dispose()
        shutil.rmtree(folder)


def _make(
    seed: int,
    federation: parties.Federation,
    folder: Path,
    *,
    engines: list[Engine],
    mutant: Mutant,
    trace: Callable[[str], None],
) -> World:
    rng, clock, drawn = random.Random(seed), ManualClock(parties.START), itertools.count(1)

    def new_engine(path: Path) -> Engine:
        engines.append(quick_engine(path))
        return engines[-1]

    def open_ledger(engine: Engine) -> Ledger:
        return mutant.ledger(
            engine,
            now_ms=lambda: int(clock.now() * 1000),
            random_bytes=lambda size: next(drawn).to_bytes(size, "big"),
            rules=mutant.rules,
        )

    kind = type("Party", (SimParty,), {"parts": mutant.parts} | ({"store_class": mutant.store} if mutant.store else {}))
    names = NAMES[: rng.choice((2, 2, 3, 3, 4))]
    actors = {name: SimActor(kind(name, federation, folder, clock), rng) for name in names}
    world = World(
        federation,
        lambda: open_ledger(new_engine(folder / "ledger-0.db")),
        clock,
        rng,
        actors,
        rules=mutant.rules,
        folder=folder,
        new_engine=new_engine,
        open_ledger=open_ledger,
        trace=trace,
        unacknowledged=mutant.unacknowledged,
    )
    # Few values meet often.
    world.watch = Watch(world, tuple(f"+44770090000{number}" for number in range(rng.choice((1, 2, 3)))))
    world.families = {one for one in DISTURBANCES if rng.random() < 0.6} | {
        one for one in FAMILIES if rng.random() < 0.4
    }
    trace(f"seed {seed}: {', '.join(names)}; {', '.join(sorted(world.families)) or 'no faults'}")
    return world


def _happen(world: World, steps: int) -> None:
    rng, everybody = world.rng, list(world.actors.values())
    chosen = [one for one in ACTIONS if not one.family or one.family in world.families]
    weights = [one.weight for one in chosen]
    drawn = rng.choice(STEPS)
    for _ in range(steps or drawn):
        action, actor = rng.choices(chosen, weights)[0], rng.choice(everybody)
        if not action.may(world, actor):
            continue
        world.truth.now += 1
        at = f"{world.truth.now:4} {world.clock.monotonic():8.2f}"
        said = action.do(world, actor)
        world.trace(f"{at} {actor.party.name} {action.name}{f': {said}' if isinstance(said, str) else ''}")
    world.truth.now += 1
    world.trace(f"{world.truth.now:4} all faults end")
    took_s = world.calm(limit_s=CALM_S)
    world.watch.at_rest(took_s=took_s, limit_s=CALM_S)
