"""What must hold: in every state, and once all have come back and nothing is under way (I3, I6, I9; 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.state import LOCAL, OUTSIDE, PARTIES, VISIBLE

if TYPE_CHECKING:
    from tests.model.state import Node, State


def violation(state: State) -> str | None:
    """Return why a state must not be; None where it may."""
    if state.fault:
        return state.fault
    for edge in state.ledger.edges:
        if set(edge) & state.ledger.dead:
            return "a live edge has a dead reference"
    return _at_rest(state) if rests(state) else None


def rests(state: State) -> bool:
    """Tell whether all are attached, everything is asked and answered, and nobody waits."""
    if any(flight for gateway in state.gateways for flight in gateway.flights):
        return False
    return all(_node_rests(state, party, node) for party, node in enumerate(state.nodes))


def _node_rests(state: State, party: int, node: Node) -> bool:
    disk = node.disk
    links = [link for at, link in enumerate(node.links) if (party, at) not in state.cut]
    attached = all(link is not None and link.stage == 2 for link in links)
    waits = [why for _, why in disk.pending if why != OUTSIDE or state.agreed]
    busy = node.uncommitted or node.lagging or node.twin or disk.to_check or waits or disk.refusals
    unread = disk.cursor < len(state.ledger.lists[party])
    buried = all((party, reference) in state.ledger.dead for reference in disk.unburied)
    return node.up and attached and not busy and not unread and buried and disk.through >= disk.sequence


def _at_rest(state: State) -> str | None:
    for party, node in enumerate(state.nodes):
        held, belief = node.disk.reference, state.beliefs[party]
        if belief.holds == "held" and not held:
            return f"{PARTIES[party]}'s acknowledged record is lost"
        if belief.holds == "withdrawn" and held:
            return f"{PARTIES[party]}'s withdrawn record lives again"
        if held and node.disk.policy != belief.policy:
            return f"{PARTIES[party]}'s policy is not the one that was acknowledged"
        for other in range(len(state.nodes)):
            found = None if other == party else _between(state, party, other)
            if found:
                return found
    return None


def _between(state: State, party: int, other: int) -> str | None:
    """Return what is wrong in what a party's people see of another's record (I3)."""
    mine, theirs = state.nodes[party].disk, state.nodes[other].disk
    rows = [row for row in mine.shown if row[1] == other]
    name, whom = PARTIES[party], PARTIES[other]
    if len(rows) > 1:
        return f"{name}'s people see {whom}'s record twice"
    if rows and state.beliefs[other].holds == "withdrawn":
        return f"{name}'s people still see {whom}'s record, which was withdrawn"
    compared = mine.reference and theirs.reference and LOCAL not in {mine.policy, theirs.policy} and state.agreed
    # Whoever looked once is compared with what was there then.
    if compared and mine.kept and theirs.kept and theirs.policy == VISIBLE and not rows:
        return f"lost: {name}'s people are never told of {whom}'s record"
    return None
