"""What people and accidents do to the parties: each event of a configuration happens at most once, at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.model.ledger import excuse
from tests.model.node import Step, end_session, settle, withdrawn
from tests.model.state import (
    LOCAL,
    PARTIES,
    SILENT,
    UNPUBLISHED,
    VISIBLE,
    Disk,
    Gateway,
    Plane,
    State,
    put,
    with_gateway,
    with_node,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.model.rules import Rules


class Event(NamedTuple):
    """A kind of event, whom it concerns, and with what."""

    kind: str
    party: int = 0
    value: str = ""


def steps(state: State, rules: Rules, events: tuple[Event, ...], *, ordered: bool) -> Iterator[Step]:
    """Yield the events that may happen now; events that are alike happen in their order."""
    seen: set[Event] = set()
    for number in state.events[:1] if ordered else state.events:
        event = events[number]
        if event in seen:
            continue
        seen.add(event)
        after = _HAPPEN[event.kind](state, rules, event)
        if after is not None:
            left = tuple(one for one in state.events if one != number)
            yield _words(event), after._replace(events=left)


def _words(event: Event) -> str:
    name = PARTIES[event.party]
    return {
        "submit": f"{name} submits x, {event.value}",
        "look once": f"{name} looks x up once",
        "other": f"{name} submits another value, y",
        "crash": f"{name} crashes: its disk is as of the last commit",
        "gateway crash": f"G{event.party + 1} crashes: planes and ticks are lost",
        "half-open": f"{name} loses its session with G1, which does not notice",
        "backup": f"{name} is backed up",
        "restore": f"{name}'s store is restored from the backup",
        "restore beside": f"{name}'s store is restored, and the old process still runs",
        "restore without journal": f"{name}'s store is restored from the backup, and its journal is lost",
        "policy": f"{name} sets x to {event.value}",
        "withdraw": f"{name} withdraws x",
        "epoch": "a new epoch begins; the old one overlaps",
        "agree": "the opt-in table lets them be compared",
        "copy ledger": f"the ledger is copied{event.value}",
        "roll back ledger": "the ledger goes back to the copy, and nobody says so",
        "restore ledger": "the ledger is restored from the copy",
        "lag": f"{name}'s index lags behind its disk from now on",
    }[event.kind]


def _submit(state: State, rules: Rules, event: Event) -> State | None:
    node, keep = state.nodes[event.party], event.kind == "submit"
    disk = node.disk
    if not node.up or (disk.reference and (disk.kept or not keep)) or node.uncommitted:
        return None
    reference, policy = disk.reference, event.value or VISIBLE
    if not reference or not rules.reference_reused:
        state = state._replace(references=state.references + 1)
        reference = state.references
    compared = policy != LOCAL or not rules.local_only_apart
    tokens = disk.tokens | {(f"x{disk.epoch}", 0)} if keep and compared else disk.tokens
    changes: dict[str, Any] = {
        "reference": reference,
        "kept": keep,
        "policy": policy,
        "tokens": tokens,
        "to_check": compared,
        "pending": frozenset(),
        "batch": disk.batch + 1,
    }
    belief = state.beliefs[event.party]._replace(holds="held" if keep else "looked", policy=policy)
    state = state._replace(beliefs=put(state.beliefs, event.party, belief))
    if rules.store_before_acknowledge:
        return settle(with_node(state, event.party, disk=disk._replace(**changes)), rules, event.party)
    return with_node(state, event.party, uncommitted=tuple(changes.items()))


def _other(state: State, rules: Rules, event: Event) -> State | None:
    disk = state.nodes[event.party].disk
    if not state.nodes[event.party].up:
        return None
    return settle(
        with_node(state, event.party, disk=disk._replace(tokens=disk.tokens | {("y", 0)})), rules, event.party
    )


def crashed(state: State, party: int) -> State:
    """Return the state without the process of a node."""
    for at, gateway in enumerate(state.gateways):
        if state.nodes[party].links[at] is not None:
            state = end_session(state, at, party, left=2 if gateway.sessions[party] == 2 else 0)
    return with_node(state, party, up=False, uncommitted=(), lagging=None)


def _crash(state: State, rules: Rules, event: Event) -> State | None:
    return crashed(state, event.party) if state.nodes[event.party].up else None


def empty_gateway(parties: int) -> Gateway:
    """Return a gateway that has just started."""
    return Gateway((0,) * parties, (Plane(),) * parties, (None,) * parties, (None,) * parties)


def _gateway_crash(state: State, rules: Rules, event: Event) -> State | None:
    for party, node in enumerate(state.nodes):
        state = with_node(state, party, links=put(node.links, event.party, None))
    return state._replace(gateways=put(state.gateways, event.party, empty_gateway(len(state.nodes))))


def _half_open(state: State, rules: Rules, event: Event) -> State | None:
    if state.nodes[event.party].links[0] is None:
        return None
    session = end_session(state, 0, event.party, left=2)
    # Its plane stays at the gateway, which takes the session for a live one.
    return with_gateway(session, 0, planes=state.gateways[0].planes)


def _backup(state: State, rules: Rules, event: Event) -> State | None:
    return with_node(state, event.party, backup=state.nodes[event.party].disk)


def _restore(state: State, rules: Rules, event: Event) -> State | None:
    old = state.nodes[event.party]
    if old.backup is None:
        return None
    state = excuse(crashed(state, event.party), event.party)
    disk = old.backup._replace(incarnation=old.disk.incarnation + 1)
    twin = old.disk if event.kind == "restore beside" else None
    belief = state.beliefs[event.party]
    if belief.holds != "withdrawn" or not disk.reference:
        holds = (
            ("held" if disk.kept else "looked") if disk.reference else belief.holds if _is_gone(belief.holds) else ""
        )
        belief = belief._replace(holds=holds, policy=old.journal or disk.policy)
    state = state._replace(beliefs=put(state.beliefs, event.party, belief))
    return with_node(state, event.party, disk=disk, backup=None, replayed=False, twin=twin)


def _restore_without_journal(state: State, rules: Rules, event: Event) -> State | None:
    # What the ledger has not buried is in the journal only.
    if state.nodes[event.party].disk.unburied - {ref for _, ref in state.ledger.dead}:
        return None
    return _restore(with_node(state, event.party, journal="", gone=frozenset()), rules, event)


def _is_gone(holds: str) -> bool:
    return holds == "withdrawn"


def _policy(state: State, rules: Rules, event: Event) -> State | None:
    node = state.nodes[event.party]
    disk = node.disk
    if not node.up or not disk.reference or not disk.kept or disk.policy == event.value or node.uncommitted:
        return None
    belief = state.beliefs[event.party]._replace(policy=event.value)
    state = excuse(state._replace(beliefs=put(state.beliefs, event.party, belief)), event.party)
    state = with_node(state, event.party, journal=event.value)
    changes: dict[str, Any] = {"policy": event.value}
    if event.value == VISIBLE or (event.value == SILENT and disk.policy == LOCAL):
        changes |= _widened(disk, rules)
    if event.value == LOCAL:
        changes |= {"to_check": False, "pending": frozenset(), "tokens": _others(disk)}
    if rules.narrow_before_acknowledge or event.value == VISIBLE:
        return settle(with_node(state, event.party, disk=disk._replace(**changes)), rules, event.party)
    return with_node(state, event.party, uncommitted=tuple(changes.items()))


def _others(disk: Disk) -> frozenset[tuple[str, int]]:
    return frozenset(one for one in disk.tokens if one[0] == "y")


def _widened(disk: Disk, rules: Rules) -> dict[str, Any]:
    name = f"x{disk.epoch}"
    number = 0 if rules.widen_republishes else UNPUBLISHED
    changes: dict[str, Any] = {"tokens": frozenset(one for one in disk.tokens if one[0] != name) | {(name, number)}}
    if rules.widen_asks:
        changes |= {"to_check": True, "pending": frozenset(), "batch": disk.batch + 1}
    return changes


def _withdraw(state: State, rules: Rules, event: Event) -> State | None:
    node = state.nodes[event.party]
    if not node.up or not node.disk.reference or node.uncommitted:
        return None
    disk = withdrawn(node.disk)
    disk = disk._replace(unburied=disk.unburied | {node.disk.reference})
    belief = state.beliefs[event.party]._replace(holds="withdrawn")
    state = excuse(state._replace(beliefs=put(state.beliefs, event.party, belief)), event.party)
    return with_node(state, event.party, disk=disk, gone=node.gone | {node.disk.reference})


def _epoch(state: State, rules: Rules, event: Event) -> State | None:
    """Let a manifest name another epoch: every session ends, and nodes come back with the new manifest."""
    for at in range(len(state.gateways)):
        for party in range(len(state.nodes)):
            state = end_session(state, at, party)
    return state._replace(epoch=1)


def _agree(state: State, rules: Rules, event: Event) -> State | None:
    return state._replace(agreed=True)


def _copy_ledger(state: State, rules: Rules, event: Event) -> State | None:
    if event.value and not state.ledger.edges:
        return None
    return state._replace(copy=state.ledger)


def _restore_ledger(state: State, rules: Rules, event: Event) -> State | None:
    if state.copy is None:
        return None
    copy = state.copy
    for at in range(len(state.gateways)):
        after = _gateway_crash(state, rules, Event("gateway crash", at))
        assert after is not None
        state = after
    renewed = rules.renew_ledger and event.kind == "restore ledger"
    incarnation = state.ledger.incarnation + 1 if renewed else copy.incarnation
    return state._replace(ledger=copy._replace(incarnation=incarnation), copy=None)


def _lag(state: State, rules: Rules, event: Event) -> State | None:
    node = state.nodes[event.party]
    if not node.up:
        return None
    names = frozenset(name for name, number in node.disk.tokens if number)
    return with_node(state, event.party, lagging=(node.disk.sequence, names))


_HAPPEN = {
    "submit": _submit,
    "look once": _submit,
    "other": _other,
    "crash": _crash,
    "gateway crash": _gateway_crash,
    "half-open": _half_open,
    "backup": _backup,
    "restore": _restore,
    "restore beside": _restore,
    "restore without journal": _restore_without_journal,
    "policy": _policy,
    "withdraw": _withdraw,
    "epoch": _epoch,
    "agree": _agree,
    "copy ledger": _copy_ledger,
    "restore ledger": _restore_ledger,
    "roll back ledger": _restore_ledger,
    "lag": _lag,
}
