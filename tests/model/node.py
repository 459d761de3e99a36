"""What a node does: attach, publish, take notices, ask, answer (3.2 to 3.5, 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.ledger import refuse, withdraw
from tests.model.state import (
    AWAY,
    LATE,
    LOCAL,
    NEW,
    OUTSIDE,
    PARTIES,
    VISIBLE,
    Build,
    Disk,
    Flight,
    Ledger,
    Link,
    Names,
    Notice,
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

Step = tuple[str, State]


def index(disk: Disk, rules: Rules) -> Names:
    """Return the names of the tokens that others may be compared with."""
    compared = disk.reference and disk.kept and not (rules.local_only_apart and disk.policy == LOCAL)
    return frozenset(name for name, _ in disk.tokens if compared or name == "y")


def end_session(state: State, at: int, party: int, *, left: int = 0) -> State:
    """End a session at a gateway; what it carried is lost, `left` is what the gateway believes of it."""
    gateway = state.gateways[at]
    flights = [flight and flight._replace(broken=flight.broken | {party}) for flight in gateway.flights]
    own = flights[party]
    if own is not None:
        # No certificate can come to it any more; its questions go on.
        flights[party] = own._replace(holders=frozenset())
    builds, sessions = put(gateway.builds, party, None), put(gateway.sessions, party, left)
    state = with_gateway(state, at, sessions=sessions, builds=builds, flights=tuple(flights))
    return with_node(state, party, links=put(state.nodes[party].links, at, None))


def settle(state: State, rules: Rules, party: int) -> State:
    """Note what all attached gateways have, and give the next batch its number: both are local."""
    node = state.nodes[party]
    disk = node.disk
    installed = [link.acknowledged for link in node.links if link is not None and link.stage == 2]
    if installed:
        reached = min(installed) if rules.publish_everywhere else max(installed)
        disk = disk._replace(through=max(disk.through, min(reached, disk.sequence)))
    if disk.through >= disk.sequence and any(not number for _, number in disk.tokens):
        number = disk.sequence + 1
        tokens = frozenset((name, was or number) for name, was in disk.tokens)
        disk = disk._replace(sequence=number, tokens=tokens)
    return with_node(state, party, disk=disk)


def steps(state: State, rules: Rules, party: int) -> Iterator[Step]:
    """Yield what a node can do by itself."""
    node, name = state.nodes[party], PARTIES[party]
    if not node.up:
        yield f"{name} starts again from its disk", _start(state, rules, party)
        return
    if node.uncommitted:
        committed = with_node(state, party, disk=node.disk._replace(**dict(node.uncommitted)), uncommitted=())
        yield f"{name} commits", settle(committed, rules, party)
    if node.lagging is not None:
        yield f"{name}'s index reaches its disk", with_node(state, party, lagging=None)
    disk, token = node.disk, f"x{node.disk.epoch}"
    compared = disk.reference and disk.kept and disk.policy != LOCAL
    if compared and token not in {one for one, _ in disk.tokens}:
        after = settle(with_disk(state, party, tokens=disk.tokens | {(token, 0)}), rules, party)
        yield f"{name} tokenises x under epoch {disk.epoch}", after
    if any(node.links):
        yield from _say(state, rules, party)
    for at in range(len(state.gateways)):
        yield from _at_gateway(state, rules, party, at)


def _start(state: State, rules: Rules, party: int) -> State:
    node = state.nodes[party]
    if not node.replayed and rules.replay_journal and node.journal:
        state = with_disk(state, party, policy=node.journal)
    disk = state.nodes[party].disk
    if not node.replayed and rules.replay_withdrawals and disk.reference in node.gone:
        state = with_node(state, party, disk=withdrawn(disk)._replace(unburied=disk.unburied | {disk.reference}))
    return with_node(state, party, up=True, replayed=True)


def _say(state: State, rules: Rules, party: int) -> Iterator[Step]:
    node, name = state.nodes[party], PARTIES[party]
    disk = node.disk
    for row in sorted(disk.refusals):
        after = with_disk(state, party, refusals=disk.refusals - {row})
        yield f"{name} refuses an edge with {PARTIES[row[1]]}: it is void", refuse(after, party, row)
    for reference in sorted(disk.unburied):
        if (party, reference) not in state.ledger.dead:
            after = state
            if not rules.withdrawal_in_own_list:
                after = with_disk(state, party, unburied=disk.unburied - {reference})
            buried = withdraw(after, rules, party, reference)
            yield f"the ledger buries {name}'s reference {reference}", buried
    if has_notice(state, party):
        yield notice_step(state, rules, party)


def has_notice(state: State, party: int) -> bool:
    """Tell whether a notice is there that the node can take."""
    node = state.nodes[party]
    return node.up and any(node.links) and not node.uncommitted and node.disk.cursor < len(state.ledger.lists[party])


def notice_step(state: State, rules: Rules, party: int) -> Step:
    """Take the next notice."""
    cursor = state.nodes[party].disk.cursor
    notice = state.ledger.lists[party][cursor]
    return f"{PARTIES[party]} takes notice {cursor + 1}: {_words(notice)}", _take(state, rules, party, notice)


def _words(notice: Notice) -> str:
    if notice.kind == "own withdrawal":
        return f"its reference {notice.reference} is buried"
    return f"{notice.kind}, own reference {notice.reference}, {PARTIES[notice.other]}'s {notice.other_reference}"


def _take(state: State, rules: Rules, party: int, notice: Notice) -> State:
    before = state.nodes[party].disk
    state = with_disk(state, party, cursor=before.cursor + 1)
    state = {"told": _told, "voided": _voided, "withdrawn": _withdrawn, "own withdrawal": _buried}[notice.kind](
        state, rules, party, notice
    )
    if rules.cursor_with_inbox:
        return state
    after = state.nodes[party].disk
    late = (("shown", after.shown), ("pending", after.pending), ("refusals", after.refusals))
    return with_node(state, party, disk=before._replace(cursor=before.cursor + 1), uncommitted=late)


def _told(state: State, rules: Rules, party: int, notice: Notice) -> State:
    disk = state.nodes[party].disk
    row = (notice.reference, notice.other, notice.other_reference)
    known = notice.reference in disk.asked if notice.asked else row in disk.witness
    if known and disk.reference == notice.reference:
        return with_disk(state, party, shown=(*_without(disk, notice), row))
    if rules.refuse_unproven:
        state = with_disk(state, party, refusals=disk.refusals | {row})
    return _reopen(state, rules, party, notice)


def _voided(state: State, rules: Rules, party: int, notice: Notice) -> State:
    disk = state.nodes[party].disk
    return _reopen(with_disk(state, party, shown=_without(disk, notice)), rules, party, notice)


def _withdrawn(state: State, rules: Rules, party: int, notice: Notice) -> State:
    return with_disk(state, party, shown=_without(state.nodes[party].disk, notice))


def _buried(state: State, rules: Rules, party: int, notice: Notice) -> State:
    disk = state.nodes[party].disk
    if disk.reference == notice.reference:
        disk = withdrawn(disk)
    return with_node(state, party, disk=disk._replace(unburied=disk.unburied - {notice.reference}))


def withdrawn(disk: Disk) -> Disk:
    """Return a store without its record: out of the index at once."""
    return disk._replace(
        reference=0,
        tokens=frozenset(one for one in disk.tokens if one[0] == "y"),
        to_check=False,
        pending=frozenset(),
        shown=tuple(row for row in disk.shown if row[0] != disk.reference),
        witness=frozenset(row for row in disk.witness if row[0] != disk.reference),
    )


def _without(disk: Disk, notice: Notice) -> tuple[tuple[int, int, int], ...]:
    return tuple(row for row in disk.shown if row[:2] != (notice.reference, notice.other))


def _reopen(state: State, rules: Rules, party: int, notice: Notice) -> State:
    disk = state.nodes[party].disk
    if not rules.refused_is_pending or disk.reference != notice.reference or disk.to_check:
        return state
    rest = frozenset(row for row in disk.pending if row[0] != notice.other)
    state = with_disk(state, party, pending=rest | {(notice.other, LATE)})
    for at, gateway in enumerate(state.gateways):
        flight = gateway.flights[party]
        if flight is not None:
            state = with_flight(state, at, party, flight._replace(refused=flight.refused | {notice.other}))
    return state


def _at_gateway(state: State, rules: Rules, party: int, at: int) -> Iterator[Step]:
    node, name, where = state.nodes[party], PARTIES[party], f"G{at + 1}"
    link, gateway = node.links[at], state.gateways[at]
    if link is None:
        if (party, at) in state.cut:
            return
        yield f"{name} attaches at {where}", _attach(state, rules, party, at)
        return
    build = gateway.builds[party]
    if link.stage == 0 and (node.disk.cursor >= link.due or not rules.catch_up_first):
        names = index(node.disk, rules)
        after = with_gateway(state, at, builds=put(gateway.builds, party, Build(node.disk.sequence, names)))
        links = put(node.links, at, link._replace(base=node.disk.sequence, stage=1))
        yield (
            f"{name} sends {where} its snapshot, complete up to {node.disk.sequence}",
            with_node(after, party, links=links),
        )
    if build is not None:
        yield f"{where} installs {name}'s plane", settle(_install(state, rules, party, at), rules, party)
    owes = rules.publish_everywhere or node.disk.through < node.disk.sequence
    if link.stage and owes and node.disk.sequence > max(link.base, link.acknowledged):
        label = f"{name} publishes batch {node.disk.sequence} at {where}"
        yield label, settle(_publish(state, rules, party, at), rules, party)
    if link.stage == 2:
        yield from _ask(state, rules, party, at)


def _attach(state: State, rules: Rules, party: int, at: int) -> State:
    book = state.ledger
    state = end_session(state, at, party)
    disk = state.nodes[party].disk
    if rules.renew_ledger and disk.ledger == book.incarnation and _knows_more(book, party, disk):
        return _renewed(state)
    if disk.ledger != book.incarnation:
        disk = disk._replace(ledger=book.incarnation, cursor=0 if rules.notices_restart else disk.cursor)
        if rules.ask_again_of_new_ledger and disk.reference and not disk.to_check:
            disk = disk._replace(pending=frozenset((one, NEW) for one in _peers(state, party)))
        if rules.bury_again:
            disk = disk._replace(unburied=disk.unburied | state.nodes[party].gone)
    if disk.epoch != state.epoch:
        disk, state = _adopt(state, rules, disk)
    if rules.raise_sequence:
        disk = disk._replace(sequence=max(disk.sequence, book.sequences[party]))
    gateway = state.gateways[at]
    state = with_gateway(
        state, at, sessions=put(gateway.sessions, party, 1), planes=put(gateway.planes, party, Plane())
    )
    stores = put(book.stores, party, max(book.stores[party], disk.incarnation))
    links = put(state.nodes[party].links, at, Link(len(book.lists[party])))
    return with_node(state._replace(ledger=book._replace(stores=stores)), party, disk=disk, links=links)


def _knows_more(book: Ledger, party: int, disk: Disk) -> bool:
    return disk.cursor > len(book.lists[party]) or disk.through > book.sequences[party]


def _renewed(state: State) -> State:
    """Make a ledger another one that holds less than a node knows of it; all sessions end."""
    for at in range(len(state.gateways)):
        for party in range(len(state.nodes)):
            state = end_session(state, at, party)
    return state._replace(ledger=state.ledger._replace(incarnation=state.ledger.incarnation + 1))


def _adopt(state: State, rules: Rules, disk: Disk) -> tuple[Disk, State]:
    """Go on under another epoch: its tokens come by and by, and everything is asked again under it."""
    disk = disk._replace(epoch=state.epoch)
    if not disk.reference:
        return disk, state
    if rules.ask_again_in_epoch:
        disk = disk._replace(to_check=True, pending=frozenset(), batch=disk.batch + 1)
    if not rules.reference_survives_epochs:
        state = state._replace(references=state.references + 1)
        disk = disk._replace(reference=state.references)
    return disk, state


def _peers(state: State, party: int) -> list[int]:
    return [one for one in range(len(state.nodes)) if one != party]


def _install(state: State, rules: Rules, party: int, at: int) -> State:
    gateway, node = state.gateways[at], state.nodes[party]
    build, plane, link = gateway.builds[party], gateway.planes[party], node.links[at]
    assert build is not None
    assert link is not None
    names = build.names | build.deltas if rules.merge_deltas else build.names
    plane = Plane(complete=True, sequence=max(plane.sequence, build.sequence), names=names)
    builds, planes = put(gateway.builds, party, None), put(gateway.planes, party, plane)
    state = with_gateway(state, at, builds=builds, planes=planes)
    link = link._replace(stage=2, acknowledged=max(link.acknowledged, plane.sequence))
    state = with_node(state, party, links=put(node.links, at, link))
    return _sequence(state, rules, party, plane.sequence)


def _publish(state: State, rules: Rules, party: int, at: int) -> State:
    gateway, node = state.gateways[at], state.nodes[party]
    plane, build, link = gateway.planes[party], gateway.builds[party], node.links[at]
    assert link is not None
    above = max(link.base, link.acknowledged)
    names = frozenset(name for name, number in node.disk.tokens if number > above)
    plane = plane._replace(sequence=node.disk.sequence, names=plane.names | names)
    state = with_gateway(state, at, planes=put(gateway.planes, party, plane))
    if build is not None:
        build = build._replace(deltas=build.deltas | names)
        state = with_gateway(state, at, builds=put(gateway.builds, party, build))
    link = link._replace(acknowledged=node.disk.sequence)
    state = with_node(state, party, links=put(node.links, at, link))
    return _sequence(state, rules, party, node.disk.sequence)


def _sequence(state: State, rules: Rules, party: int, sequence: int) -> State:
    state = state._replace(published=put(state.published, party, max(sequence, state.published[party])))
    if not rules.sequence_in_ledger:
        return state
    sequences = put(state.ledger.sequences, party, max(sequence, state.ledger.sequences[party]))
    return state._replace(ledger=state.ledger._replace(sequences=sequences))


def _ask(state: State, rules: Rules, party: int, at: int) -> Iterator[Step]:
    disk, gateway = state.nodes[party].disk, state.gateways[at]
    name = f"x{disk.epoch}"
    if not disk.reference or any(one.flights[party] for one in state.gateways) or disk.refusals:
        return
    if disk.policy == LOCAL and rules.local_only_apart:
        return
    number = dict(disk.tokens).get(name, 0)
    if disk.kept and (not number or (number > disk.through and rules.publish_before_check)):
        return
    if disk.to_check:
        due = frozenset(_peers(state, party))
    else:
        due = frozenset(peer for peer, why in disk.pending if _is_due(state, rules, at, peer, why))
    if not due:
        return
    pending = disk.pending
    if disk.to_check:
        pending = frozenset((peer, NEW) for peer in due) if rules.pending_before_check else frozenset()
    after = with_disk(state, party, to_check=False, pending=pending, asked=disk.asked | {disk.reference})
    flight = Flight(
        reference=disk.reference,
        batch=disk.batch,
        name=name,
        holders=due,
        audience=disk.policy == VISIBLE or not rules.local_only_apart,
        kept=disk.kept,
        outside=not state.agreed,
        known=state.ledger.sequences,
    )
    flight = flight._replace(routed=route(state, rules, at, flight))
    if flight.audience and state.beliefs[party].policy != VISIBLE:
        after = after._replace(
            fault=f"{PARTIES[party]} asks so that others are told of its record, and they may not be"
        )
    asked = ", ".join(PARTIES[one] for one in sorted(flight.routed)) or "nobody"
    after = with_gateway(after, at, flights=put(gateway.flights, party, flight))
    yield f"{PARTIES[party]} checks x at G{at + 1}; its planes route it to {asked}", after


def _is_due(state: State, rules: Rules, at: int, peer: int, why: str) -> bool:
    if why == OUTSIDE:
        return state.agreed and rules.wake_on_manifest
    if why == AWAY:
        gateway = state.gateways[at]
        return rules.wake_on_return and gateway.sessions[peer] != 0 and gateway.planes[peer].complete
    return True


def route(state: State, rules: Rules, at: int, flight: Flight) -> frozenset[int]:
    """Return the holders whose plane says 'maybe'."""
    gateway = state.gateways[at]
    return frozenset(
        holder
        for holder in flight.holders
        if not flight.outside
        and gateway.sessions[holder]
        and (gateway.planes[holder].complete or not rules.complete_plane)
        and flight.name in gateway.planes[holder].names
    )
