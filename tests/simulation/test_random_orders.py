"""Any order of events, thrown with a die (docs/protocol.md 3.2 to 3.5), over two to four nodes.

Values are submitted at random times, kept, looked up once or both, under two purposes, and get their tokens later;
frames wait; sessions break, on one side or on both; nodes and the gateway are killed between any two events; the ledger
fails to write. Then all faults end, everybody attaches, and time passes until nothing is to be done. Then:

- I3: for every strong value that two parties keep, each was told of the other exactly once, on disk and by event.
- I6: whenever a certificate said 'covered', the edges with all that the holder had published before were durable.
- Nobody who is there is pending, nothing waits, and the hub holds no token (I2).
- No edge became void, and nobody was named: all parties are honest.

`SEEDS=500 pytest tests/simulation/test_random_orders.py` throws more dice, `SEED=17 ...` one certain order again.
"""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import event

from concordat.clock import ManualClock
from gateway.database import open_engine
from gateway.ledger import Ledger
from services.node.events import EdgeVoided, PartyRefused
from tests.simulation.asking import AskingPartner
from tests.simulation.conftest import PARTNER
from tests.simulation.orders import GRADES, Actor, DisklessParty, Orders
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Engine

NAMES = ("NL", "DE", "FR", "RO")
STEPS = 900
CALM_S = 400.0
VALUES = [f"+4477009000{number:02}" for number in range(9)]
# Orders that once broke an invariant.
FAILED_ONCE: tuple[int, ...] = ()
# A holder that was restored between its answer and the certificate disowned what it had answered.
PARTNER_FAILED_ONCE: tuple[int, ...] = (15, 49)


def seeds(number: str = "30", failed_once: tuple[int, ...] = FAILED_ONCE) -> list[int]:
    """Return the seeds to run."""
    if "SEED" in os.environ:
        return [int(os.environ["SEED"])]
    first = range(int(os.environ.get("SEEDS", number)))
    return [*first, *(seed for seed in failed_once if seed not in first)]


@pytest.fixture
def make_orders(federation: parties.Federation, tmp_path: Path) -> Iterator[Callable[[int], Orders]]:
    """Make the federation of a seed."""
    made: list[Orders] = []
    engines: list[Engine] = []
    drawn = itertools.count(1)

    def make(seed: int) -> Orders:
        rng, clock = random.Random(seed), ManualClock(parties.START)

        def new_ledger() -> Ledger:
            engines.append(open_engine(tmp_path / f"ledger-{len(engines)}.db"))
            event.listen(engines[-1], "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF"))
            return Ledger(
                engines[-1],
                now_ms=lambda: int(clock.now() * 1000),
                random_bytes=lambda size: next(drawn).to_bytes(size, "big"),
            )

        names = NAMES[: rng.randint(2, 4)]
        actors = {name: Actor(DisklessParty(name, federation, tmp_path, clock), rng) for name in names}
        made.append(Orders(federation, new_ledger, clock, rng, actors))
        return made[-1]

    yield make
    for orders in made:
        for actor in orders.actors.values():
            actor.party.store.close()
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("seed", seeds())
def test_any_order_tells_each_side_once_and_claims_nothing_unfounded(
    make_orders: Callable[[int], Orders], seed: int
) -> None:
    orders = make_orders(seed)
    happen(orders, EVENTS)
    assert orders.unfounded == []
    assert set(orders.told_by_the_hub().values()) <= {1}
    assert orders.unlike_events() == []
    assert_nobody_was_blamed(orders)


@pytest.mark.parametrize("seed", seeds("6"))
def test_ledgers_that_are_lost_lose_no_match_and_tell_nobody_twice(
    make_orders: Callable[[int], Orders], seed: int
) -> None:
    """C10: an empty ledger has another incarnation, and everybody asks for everything again."""
    orders = make_orders(seed)
    happen(orders, EVENTS | {lambda orders, _: orders.lose_ledger(): 0.3})
    assert orders.unfounded == []
    assert set(orders.told_by_the_hub().values()) <= {1}
    assert orders.unlike_events() == []
    assert_nobody_was_blamed(orders)


@pytest.mark.parametrize("seed", seeds("6"))
def test_nodes_that_are_restored_show_every_match_once(make_orders: Callable[[int], Orders], seed: int) -> None:
    """C8, C9: what a restored node cannot prove any more becomes void, and is asked for and shown anew."""
    happen(make_orders(seed), EVENTS | RESTORES)


@pytest.mark.parametrize("seed", seeds("12", PARTNER_FAILED_ONCE))
@pytest.mark.parametrize("fault", ["none", "ledger", "restored"])
def test_a_partner_that_asks_in_between_is_told_the_truth_and_changes_nothing_for_nodes(
    make_orders: Callable[[int], Orders], seed: int, fault: str
) -> None:
    """I3 and I6: what holds without it holds with it; each holder shows that it looked, once."""
    orders = make_orders(seed)
    asker = AskingPartner(PARTNER, orders)
    faults: dict[str, dict[Callable[[Orders, Actor], object], float]] = {
        "none": {},
        "ledger": {lambda orders, _: orders.lose_ledger(): 0.3},
        "restored": RESTORES,
    }
    happen(orders, EVENTS | {lambda orders, _: asker.ask(orders.rng.sample(VALUES, 3)): 3} | faults[fault])
    asker.ask(VALUES)
    orders.calm(limit_s=CALM_S)
    assert asker.wrong == []
    answered = {name for name in orders.actors if name != "RO"}
    for value, names in asker.outcomes[-1].items():
        holders = asker.shown(value)
        assert names == answered & set(holders)
        assert holders == {name: int(name in answered) for name in holders}
    assert orders.ledger.notices_above(asker.id, 0, limit=1) == []
    if fault != "restored":
        assert orders.unfounded == []
        assert set(orders.told_by_the_hub().values()) <= {1}
        assert orders.unlike_events() == []
        assert_nobody_was_blamed(orders)


def happen(orders: Orders, events: Mapping[Callable[[Orders, Actor], object], float]) -> None:
    """Let things happen and end, and check what holds whatever they were."""
    rng = orders.rng
    for _ in range(STEPS):
        rng.choices(list(events), list(events.values()))[0](orders, rng.choice(list(orders.actors.values())))
    took_s = orders.calm(limit_s=CALM_S)
    assert [one for one in orders.told() if one[3] != 1] == []
    assert took_s < CALM_S, "somebody is pending, or something waits, for ever"


def assert_nobody_was_blamed(orders: Orders) -> None:
    """Check that no edge was refused or became void."""
    for actor in orders.actors.values():
        assert {row.state for row in actor.party.store.all_told()} <= {"shown"}
        assert actor.party.store.incidents() == []
        assert not [one for one in actor.party.events if isinstance(one, EdgeVoided | PartyRefused)]
    assert not [note for note in orders.notes if "refused" in note.text]


def submit(orders: Orders, actor: Actor) -> None:
    """Let somebody submit one of few values."""
    rng = orders.rng
    actor.submit(
        rng.choice(VALUES),
        grade=rng.choice(GRADES),
        look_once=rng.random() < 0.2,
        purpose=rng.choice(["investigation", "investigation", "prevention"]),
        operation=rng.choice(["", "", "op-1"]),
    )


def pass_time(orders: Orders, _: Actor) -> None:
    """Let a moment pass, seldom a long one."""
    moments = [0.0, 0.01, 0.02, 0.05, 0.1, 0.25 if orders.rng.random() < 0.8 else 2.0]
    orders.pass_time(orders.rng.choice(moments))


EVENTS: Final[dict[Callable[[Orders, Actor], object], float]] = {
    lambda orders, _: orders.move_up(): 40,
    lambda _, actor: actor.take(): 40,
    lambda orders, _: orders.hub.write(fails=orders.rng.random() < 0.02): 20,
    lambda orders, _: orders.hub.read(): 16,
    lambda orders, _: orders.hub.hand_back(): 16,
    pass_time: 12,
    submit: 4,
    lambda _, actor: actor.tokenise(): 5,
    lambda orders, actor: actor.dial(orders.hub): 6,
    lambda orders, actor: orders.cut(actor): 0.4,
    lambda orders, actor: actor.die(noticed=orders.rng.random() < 0.5): 0.3,
    lambda _, actor: actor.take(dies=True): 0.3,
    lambda orders, _: orders.restart_hub(): 0.3,
}
"""What may happen, and how often."""

RESTORES: Final[dict[Callable[[Orders, Actor], object], float]] = {
    lambda _, actor: actor.party.back_up(): 0.5,
    lambda _, actor: actor.die(noticed=False, restored=True): 0.5,
}
"""What happens where backups are used."""
