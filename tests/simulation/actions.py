"""What may happen, each with its weight and its condition; a seed draws which families of faults it has at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.vocabulary import Handling, Purpose, Tlp
from services.node.policy import DEFAULT, LOCAL_ONLY, SILENT, Policy
from services.node.store.values import STRONG, WEAK
from tests.simulation.truth import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import SimActor as Actor
    from tests.simulation.world import World

PURPOSES: Final = ("investigation", "investigation", "prevention")
OPERATIONS: Final = ("", "", "op-1")
HOUR_S: Final = 3601.0
POLICIES: Final = (
    DEFAULT,
    DEFAULT,
    SILENT,
    LOCAL_ONLY,
    Policy(tell=("DE",)),
    Policy(tell=("eu_state",), not_tell=("NL",)),
    Policy(tell=("eu_state", "FR"), tlp=Tlp.RED),
    Policy(tell=("DE", "NL"), handling=Handling.H3),
    Policy(purposes=(Purpose.INVESTIGATION,)),
    Policy(operations=("op-1",)),
)
DISTURBANCES: Final = ("cuts", "deaths", "hub deaths", "failing writes", "half-open")
FAMILIES: Final = ("policies", "withdrawals", "backups", "ledger copies", "epochs", "opt-in", "partner", "look once")


def _always(_world: World, _actor: Actor) -> bool:
    return True


@dataclass(frozen=True)
class Action:
    """Something that may happen to a node, or to the hub."""

    name: str
    weight: float
    do: Callable[[World, Actor], Any]
    family: str = ""
    may: Callable[[World, Actor], bool] = _always


def _submit(world: World, actor: Actor) -> str:
    rng, name = world.rng, actor.party.name
    policy = rng.choice(POLICIES) if "policies" in world.families else DEFAULT
    once = "look once" in world.families and rng.random() < 0.25
    grade = WEAK if rng.random() < 0.1 else STRONG
    value = rng.choice(world.watch.values)
    record = Record(b"", value, policy, once, rng.choice(PURPOSES), rng.choice(OPERATIONS))
    with world.uncommitted(actor):
        actor.party.put(record, grade)
    if grade == STRONG:
        world.truth.put(name, record)
    else:
        # Kept for the store's own check; no name of a value is its own.
        world.truth.put(name, Record(record.uid, f"weak {value}", policy, once, record.purpose, record.operation))
    return f"{value} {policy.content()} {record.purpose} {record.operation}{' once' if once else ''} grade {grade}"


def _some_record(world: World, actor: Actor) -> Record:
    return world.rng.choice(list(world.truth.records[actor.party.name].values()))


def _has_records(world: World, actor: Actor) -> bool:
    return bool(world.truth.records[actor.party.name])


def _is_asked(_world: World, actor: Actor) -> bool:
    waiting = actor.stream.down if actor.stream is not None else ()
    return any(one is not None and one[1].HasField("question") for one in waiting)


def _decide(world: World, actor: Actor) -> str:
    record, policy = _some_record(world, actor), world.rng.choice(POLICIES)
    actor.party.decide(record.uid, policy, ask=True)
    before, record.policy = record.policy, policy
    world.truth.touch(actor.party.name, [record.value])
    return f"{record.value} {before.content()} -> {policy.content()}"


def _withdraw(world: World, actor: Actor) -> str:
    record = _some_record(world, actor)
    actor.party.withdraw(record.uid)
    world.truth.withdraw(actor.party.name, record.uid)
    return record.value


def _back_up(_world: World, actor: Actor) -> None:
    actor.party.back_up()
    actor.party.held_then = frozenset(actor.party.accepted())


def _restore(world: World, actor: Actor) -> None:
    actor.die(noticed=False, restored=True)
    world.restored = True
    world.truth.restore(actor.party.name, actor.party.held_then)


def _pass_time(world: World, _actor: Actor) -> None:
    moments = [0.0, 0.01, 0.05, 0.1, 0.25, 0.25 if world.rng.random() < 0.7 else 2.0]
    world.pass_time(world.rng.choice(moments))


def _new_epoch(world: World, _actor: Actor) -> str:
    epochs = world.manifest.epochs
    following = {"current": epochs.current, "next": 2} if epochs.next is None else {"current": 2, "next": None}
    world.new_manifest(epochs=following)
    return str(following)


def _opt_in(world: World, actor: Actor) -> str:
    table: dict[str, tuple[str, ...]] = {name: tuple(classes) for name, classes in world.manifest.opt_in.items()}
    name = actor.party.name
    table[name] = () if table[name] else ALL_CLASSES
    world.new_manifest(opt_in=table)
    return "closes" if not table[name] else "opens"


def _restore_ledger(world: World, _actor: Actor) -> None:
    # A renewed ledger becomes another one again after an hour at the earliest.
    world.pass_time(HOUR_S)
    world.restore_ledger()
    for name in world.truth.names:
        world.truth.disturb(name)


ALL_CLASSES: Final = ("eu_state", "third_country", "international_organisation", "eu_agency", "partner")

ACTIONS: Final = (
    Action("frames arrive at the hub", 40, lambda world, _: world.move_up()),
    Action("takes frames", 40, lambda world, actor: world.take(actor)),
    Action("the ledger writes", 20, lambda world, _: world.hub.write()),
    Action("the ledger does not write", 1, lambda world, _: world.hub.write(fails=True), "failing writes"),
    Action("the ledger reads", 16, lambda world, _: world.hub.read()),
    Action("the ledger has read", 16, lambda world, _: world.hub.hand_back()),
    Action("time passes", 12, _pass_time),
    Action("submits", 5, _submit),
    Action("makes tokens", 5, lambda _, actor: actor.tokenise()),
    Action("dials", 6, lambda world, actor: actor.dial(world.hub), may=lambda _, actor: actor.stream is None),
    Action("is cut off", 1, lambda world, actor: world.cut(actor), "cuts"),
    Action("dies", 0.5, lambda world, actor: actor.die(noticed=world.rng.random() < 0.5), "deaths"),
    Action("dies unnoticed", 0.5, lambda _, actor: actor.die(noticed=False), "half-open"),
    Action("dies before it speaks", 1, lambda world, actor: world.take(actor, dies=True), "deaths"),
    Action("dies while it answers", 4, lambda world, actor: world.take(actor, dies=True), "deaths", _is_asked),
    Action("the hub dies", 0.6, lambda world, _: world.restart_hub(), "hub deaths"),
    Action("changes a policy", 3, _decide, "policies", _has_records),
    Action("withdraws", 2, _withdraw, "withdrawals", _has_records),
    Action("backs up", 1, _back_up, "backups"),
    Action("is restored", 0.7, _restore, "backups", lambda _, actor: actor.party.copy is not None),
    Action("the ledger is copied", 1, lambda world, _: world.back_up_ledger(), "ledger copies"),
    Action(
        "the ledger is put back",
        0.7,
        _restore_ledger,
        "ledger copies",
        lambda world, _: world.ledger_copy is not None,
    ),
    Action("a new epoch", 0.7, _new_epoch, "epochs", lambda world, _: world.manifest.epochs.current == 1),
    Action("changes its agreement", 0.7, _opt_in, "opt-in"),
    Action(
        "learns the manifest", 3, lambda world, actor: world.learn(actor), may=lambda _, actor: actor.stream is None
    ),
)
