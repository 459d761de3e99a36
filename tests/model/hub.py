"""What a gateway does with a check: questions, edges, barrier, certificate (3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.ledger import write_hit
from tests.model.node import Step, end_session, index, route
from tests.model.state import (
    AWAY,
    COVERED,
    LATE,
    LOCAL,
    OUTSIDE,
    PARTIES,
    SILENT,
    VISIBLE,
    Disk,
    Flight,
    Hit,
    Key,
    Names,
    Plane,
    State,
    put,
    with_disk,
    with_flight,
    with_gateway,
    with_node,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.rules import Rules


def steps(state: State, rules: Rules, at: int) -> Iterator[Step]:
    """Yield what can happen at a gateway."""
    gateway = state.gateways[at]
    for party, session in enumerate(gateway.sessions):
        if session == 2:
            yield f"G{at + 1} closes {PARTIES[party]}'s half-open session", end_session(state, at, party)
        yield from _twin(state, rules, at, party)
    yield from check_steps(state, rules, at)


def check_steps(state: State, rules: Rules, at: int) -> Iterator[Step]:
    """Yield the next steps of the checks at a gateway, a certificate last."""
    gateway = state.gateways[at]
    for asker, flight in enumerate(gateway.flights):
        if flight is not None:
            yield from _flight(state, rules, at, asker, flight)


def _twin(state: State, rules: Rules, at: int, party: int) -> Iterator[Step]:
    twin, gateway = state.nodes[party].twin, state.gateways[at]
    if twin is None:
        return
    name = PARTIES[party]
    gone = end_session(state, at, party) if gateway.sessions[party] == 3 else state
    yield f"the old process of {name} ends", with_node(gone, party, twin=None)
    # Until the new store attaches, the ledger knows of no other.
    if gateway.sessions[party] != 3 and not (rules.fence and state.ledger.stores[party] > twin.incarnation):
        after = end_session(state, at, party)
        plane = Plane(complete=True, sequence=state.ledger.sequences[party], names=index(twin, rules))
        gateway = after.gateways[at]
        sessions, planes = put(gateway.sessions, party, 3), put(gateway.planes, party, plane)
        yield (
            f"the old process of {name} attaches at G{at + 1}",
            with_gateway(after, at, sessions=sessions, planes=planes),
        )


def _reader(state: State, at: int, holder: int) -> tuple[Disk, int, Names | None] | None:
    """Return disk, sequence and index of the process that reads a holder's session; None where nobody does."""
    node, session = state.nodes[holder], state.gateways[at].sessions[holder]
    if session == 3 and node.twin is not None:
        return node.twin, state.ledger.sequences[holder], None
    if session != 1 or not node.up:
        return None
    return (node.disk, *node.lagging) if node.lagging is not None else (node.disk, node.disk.sequence, None)


def _flight(state: State, rules: Rules, at: int, asker: int, flight: Flight) -> Iterator[Step]:
    for holder in sorted(flight.routed - flight.answered - flight.broken):
        if _reader(state, at, holder) is not None:
            label, after = _answer(state, rules, at, asker, holder)
            yield f"{PARTIES[holder]} answers {PARTIES[asker]}: {label}", after
    yield from _edges(state, rules, at, asker, flight)
    if not flight.holders:
        # The asker has gone; nobody waits for a certificate.
        if not flight.hits:
            yield f"G{at + 1} forgets {PARTIES[asker]}'s check", with_flight(state, at, asker, None)
        return
    if not flight.barrier:
        yield f"G{at + 1} sends the barrier of {PARTIES[asker]}'s tick", _barrier(state, rules, at, asker)
        return
    for holder in sorted(flight.ready - flight.replied):
        if holder in flight.routed - flight.answered - flight.broken:
            continue
        if _reader(state, at, holder) is not None:
            yield f"{PARTIES[holder]} answers the barrier", _reply(state, rules, at, asker, holder)
    yield _certificate(state, rules, at, asker, flight)


def _answer(state: State, rules: Rules, at: int, asker: int, holder: int) -> Step:
    flight, reader = state.gateways[at].flights[asker], _reader(state, at, holder)
    assert flight is not None
    assert reader is not None
    disk, _, names = reader
    flight = flight._replace(answered=flight.answered | {holder})
    silent = disk.policy == SILENT and not rules.answer_from_all_records
    if flight.name not in (index(disk, rules) if names is None else names) or silent:
        flight = flight._replace(empty=flight.empty | {holder})
        return "nothing", _judged(with_flight(state, at, asker, flight), at, holder)
    asker_told = disk.policy == VISIBLE or not rules.asker_policy
    holder_told = (flight.audience or not rules.audience) and rules.both_told
    hit = Hit(holder, disk.reference, asker_told, holder_told)
    if asker_told and state.beliefs[holder].policy != VISIBLE:
        state = state._replace(fault=f"{PARTIES[asker]} is to be told of {PARTIES[holder]}'s record and may not be")
    if holder_told and not flight.audience:
        state = state._replace(fault=f"{PARTIES[holder]} is to be told of {PARTIES[asker]}'s record and may not be")
    if holder_told and state.gateways[at].sessions[holder] == 1:
        row = (disk.reference, asker, flight.reference)
        state = with_disk(state, holder, witness=state.nodes[holder].disk.witness | {row})
    if asker_told or holder_told:
        flight = flight._replace(hits=(*flight.hits, hit))
    if state.nodes[asker].disk.reference == flight.reference and (holder, disk.reference) not in state.ledger.dead:
        flight = flight._replace(owed=flight.owed | _owed(asker, flight, holder, disk))
    words = {(True, True): "a hit, both are told", (True, False): "a hit, the asker is told"}
    label = words.get((asker_told, holder_told), "a hit, it alone is told" if holder_told else "a hit, nobody is told")
    return label, _judged(with_flight(state, at, asker, flight), at, holder)


def _judged(state: State, at: int, holder: int) -> State:
    link = state.nodes[holder].links[at]
    if link is not None and state.nodes[holder].disk.cursor < link.due:
        return state._replace(fault=f"{PARTIES[holder]} answers before it has caught up")
    return state


def _edges(state: State, rules: Rules, at: int, asker: int, flight: Flight) -> Iterator[Step]:
    for number, hit in enumerate(flight.hits):
        what = f"the edge of {PARTIES[asker]} and {PARTIES[hit.holder]}"
        if not rules.unique_edges and hit.told is None:
            read = hit._replace(told=state.ledger.told)
            after = flight._replace(hits=put(flight.hits, number, read))
            yield f"G{at + 1} reads in the ledger what {what} concerns", with_flight(state, at, asker, after)
            continue
        rest = flight._replace(hits=flight.hits[:number] + flight.hits[number + 1 :])
        written = write_hit(state, rules, (asker, flight.reference), hit)
        yield f"G{at + 1} writes {what} and its notices", with_flight(written, at, asker, rest)


def _barrier(state: State, rules: Rules, at: int, asker: int) -> State:
    gateway = state.gateways[at]
    flight = gateway.flights[asker]
    assert flight is not None
    required = state.ledger.sequences if rules.read_after_arrival else flight.known
    if rules.reroute:
        # A session that broke carried its question; the one after it gets what its own plane says.
        flight = flight._replace(routed=flight.routed | route(state, rules, at, flight))
    if not rules.required_from_ledger:
        required = (0,) * len(required)
    ready = frozenset(
        holder
        for holder in flight.holders
        if gateway.sessions[holder]
        and (gateway.planes[holder].complete or not rules.complete_plane)
        and gateway.planes[holder].sequence >= required[holder]
    )
    flight = flight._replace(barrier=True, required=required, ready=ready)
    if state.nodes[asker].disk.reference == flight.reference and not flight.outside:
        for holder in flight.holders - (flight.answered - flight.empty):
            if _published(state, flight, holder):
                owed = _owed(asker, flight, holder, state.nodes[holder].disk)
                flight = flight._replace(owed=flight.owed | owed)
    return with_flight(state, at, asker, flight)


def _owed(asker: int, flight: Flight, holder: int, disk: Disk) -> frozenset[tuple[Key, int]]:
    """Return what must be told, by the policies of now, if this holder turns out to be covered."""
    owed: set[tuple[Key, int]] = set()
    if disk.policy == VISIBLE:
        owed.add(((asker, flight.reference, holder), holder))
    if flight.audience:
        owed.add(((holder, disk.reference, asker), holder))
    return frozenset(owed)


def _published(state: State, flight: Flight, holder: int) -> bool:
    """Tell whether a holder has said that this is published."""
    disk = state.nodes[holder].disk
    number = dict(disk.tokens).get(flight.name, 0)
    return bool(disk.reference and disk.kept and disk.policy != LOCAL and 0 < number <= state.published[holder])


def _reply(state: State, rules: Rules, at: int, asker: int, holder: int) -> State:
    flight, reader = state.gateways[at].flights[asker], _reader(state, at, holder)
    assert flight is not None
    assert reader is not None
    disk, sequence, names = reader
    found = flight.name in (index(disk, rules) if names is None else names)
    if rules.look_again and found and holder in flight.empty:
        flight = flight._replace(empty=flight.empty - {holder})
        state = _answer(with_flight(state, at, asker, flight), rules, at, asker, holder)[1]
        flight = state.gateways[at].flights[asker]
        assert flight is not None
    flight = flight._replace(replied=flight.replied | {holder})
    if rules.index_reaches_sequence and sequence < flight.required[holder]:
        flight = flight._replace(ready=flight.ready - {holder})
    return with_flight(state, at, asker, flight)


def _certificate(state: State, rules: Rules, at: int, asker: int, flight: Flight) -> Step:
    durable = not flight.hits or not rules.edges_durable
    states = {holder: _state_of(state, rules, at, flight, holder, durable=durable) for holder in flight.holders}
    rest = flight._replace(holders=frozenset(), owed=frozenset()) if flight.hits else None
    after = with_flight(state, at, asker, rest)
    disk = after.nodes[asker].disk
    if disk.batch == flight.batch and disk.reference == flight.reference:
        after = with_disk(after, asker, pending=_pending(rules, disk, flight, states))
    told = {key[:3] for key in state.ledger.told}
    for key, holder in sorted(flight.owed):
        if states.get(holder) == COVERED and key not in told and rules.edges_durable:
            fault = f"{PARTIES[holder]} is said to be covered, and {PARTIES[key[0]]} is not told of {PARTIES[key[2]]}"
            after = after._replace(fault=fault)
    words = ", ".join(f"{PARTIES[holder]} {what}" for holder, what in sorted(states.items()))
    return f"the certificate of {PARTIES[asker]}'s check leaves G{at + 1}: {words}", after


def _state_of(state: State, rules: Rules, at: int, flight: Flight, holder: int, *, durable: bool) -> str:
    if flight.outside:
        return OUTSIDE
    carried = holder not in flight.broken or not rules.same_session
    if holder in flight.ready & flight.replied and carried and durable:
        return COVERED
    return LATE if state.gateways[at].sessions[holder] else AWAY


def _pending(rules: Rules, disk: Disk, flight: Flight, states: dict[int, str]) -> frozenset[tuple[int, str]]:
    rows = dict(disk.pending)
    for holder, what in states.items():
        cleared = (
            (what == COVERED and holder not in flight.refused)
            or (what in {LATE, AWAY} and not rules.only_covered_clears)
            or (what == OUTSIDE and (not rules.outside_is_pending or not flight.kept))
        )
        if cleared:
            rows.pop(holder, None)
        elif holder in rows or not rules.pending_before_check:
            rows[holder] = LATE if what == COVERED else what
    return frozenset(rows.items())
