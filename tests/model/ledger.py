"""The ledger's transactions: an edge with its notices, a refusal, a withdrawal (3.4 (3), (4); 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.state import PARTIES, Hit, Key, Ledger, Notice, State, put

if TYPE_CHECKING:
    from tests.model.rules import Rules

Side = tuple[int, int]
Edge = tuple[Side, Side]


def write_hit(state: State, rules: Rules, asker: Side, hit: Hit) -> State:
    """Open, extend or leave the edge of one answer, and tell whoever was not told."""
    ledger, holder = state.ledger, (hit.holder, hit.reference)
    if rules.dead_references and ledger.dead & {asker, holder}:
        return state
    one, two = sorted((asker, holder))
    told = ledger.told if hit.told is None else hit.told
    parties = (asker[0], hit.holder)
    stale = {edge for edge in ledger.edges if _parties(edge) == set(parties) and (asker in edge or holder in edge)}
    edges = (ledger.edges - stale if rules.new_reference_replaces else ledger.edges) | {(one, two)}
    state = state._replace(ledger=ledger._replace(edges=edges))
    if hit.asker_told:
        state = _tell(state, rules, told, (asker, holder), asked=True)
    if hit.holder_told:
        state = _tell(state, rules, told, (holder, asker), asked=False)
    return state


def _tell(state: State, rules: Rules, told: frozenset[Key], sides: Edge, *, asked: bool) -> State:
    ledger = state.ledger
    (recipient, reference), (other, other_reference) = sides
    key: Key = (recipient, reference, other)
    if not rules.new_reference_replaces:
        key = (*key, other_reference)
    if key in told or (not rules.told_by_reference and _match_is_told(ledger, told, recipient, sides)):
        return state
    if any(one[:3] == key[:3] for one in ledger.told):
        state = state._replace(fault=f"{PARTIES[recipient]} is told twice of {PARTIES[other]}'s record")
    notice = Notice("told", reference, other, other_reference, asked)
    return state._replace(ledger=_notify(ledger, recipient, notice)._replace(told=ledger.told | {key}))


def _match_is_told(ledger: Ledger, told: frozenset[Key], recipient: int, edge: Edge) -> bool:
    """Tell, for the mutant, whether the recipient was told of anything in the match that the edge is part of."""
    match, grown = set(edge), True
    while grown:
        more = {side for one in ledger.edges if match & set(one) for side in one}
        grown = not more <= match
        match |= more
    return any(key[0] == recipient and (key[0], key[1]) in match for key in told)


def _notify(ledger: Ledger, recipient: int, notice: Notice) -> Ledger:
    return ledger._replace(lists=put(ledger.lists, recipient, (*ledger.lists[recipient], notice)))


def _parties(edge: Edge) -> set[int]:
    return {party for party, _ in edge}


def refuse(state: State, party: int, row: tuple[int, int, int]) -> State:
    """Make an edge void that proves nothing to one side: its keys are free, and the other side is told so."""
    reference, other, _ = row
    ledger = state.ledger
    void = {edge for edge in ledger.edges if _parties(edge) == {party, other} and (party, reference) in edge}
    for edge in void:
        (theirs,) = (one for who, one in edge if who == other)
        keys = {key for key in ledger.told if key[:3] in {(party, reference, other), (other, theirs, party)}}
        ledger = ledger._replace(edges=ledger.edges - {edge}, told=ledger.told - keys)
        if any(key[0] == other for key in keys):
            ledger = _notify(ledger, other, Notice("voided", theirs, party, reference))
    return excuse(state._replace(ledger=ledger), party, other)


def withdraw(state: State, rules: Rules, party: int, reference: int) -> State:
    """Bury a reference, make its edges void, and tell whoever was told of them, and the party itself."""
    ledger, side = state.ledger, (party, reference)
    ledger = ledger._replace(dead=ledger.dead | {side})
    for edge in sorted(one for one in ledger.edges if side in one):
        ((other, theirs),) = (one for one in edge if one != side)
        keys = {key for key in ledger.told if key[:3] in {(party, reference, other), (other, theirs, party)}}
        if rules.free_withdrawn_keys:
            ledger = ledger._replace(edges=ledger.edges - {edge}, told=ledger.told - keys)
        if rules.tell_withdrawal and any(key[0] == other for key in keys):
            ledger = _notify(ledger, other, Notice("withdrawn", theirs, party, reference))
        state = excuse(state, party, other)
    if rules.withdrawal_in_own_list:
        ledger = _notify(ledger, party, Notice("own withdrawal", reference))
    return state._replace(ledger=ledger)


def excuse(state: State, one: int, other: int | None = None) -> State:
    """Let no check under way owe anything between parties after what has just changed between them."""

    def spared(key: Key) -> bool:
        return one in (key[0], key[2]) and (other is None or other in (key[0], key[2]))

    gateways = tuple(
        gateway._replace(
            flights=tuple(
                flight and flight._replace(owed=frozenset(due for due in flight.owed if not spared(due[0])))
                for flight in gateway.flights
            )
        )
        for gateway in state.gateways
    )
    return state._replace(gateways=gateways)
