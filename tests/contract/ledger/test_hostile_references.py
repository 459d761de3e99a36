"""A party that chooses its references to do harm changes nothing between others, and breaks no group of writes.

References are few and the same for all parties, values are named wrongly, edges become void, references die: in any
order, and several in one group. A ledger with a partner in all of it is held against one without.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from concordat.wire.v1 import check_pb2 as wire
from gateway.ledger import EdgeCandidate, Tombstone, VoidEdge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ledger import Ledger, LedgerNotice, LedgerWrite

ROUNDS = 40
REFERENCES = [bytes([number]) * 16 for number in range(1, 5)]


def party(role: str, name: str) -> str:
    return f"spiffe://test.example/{role}/{name}"


def candidate(rng: random.Random, asker: str, holder: str) -> EdgeCandidate:
    decision = rng.choice((1, 2, 3, 3, 3))
    return EdgeCandidate(
        party_a=asker,
        reference_a=rng.choice(REFERENCES),
        party_b=holder,
        reference_b=rng.choice(REFERENCES),
        namespace=rng.randint(1, 3),
        told_a=bool(decision & 1),
        told_b=bool(decision & 2),
        check_id=b"c" * 16,
        decision=decision,
        look_once="/partner/" in asker,
    )


def writes(rng: random.Random, nodes: list[str], asker: str | None) -> list[LedgerWrite]:
    """Return one group of writes among nodes, or of a partner's questions and the graves of its holders."""
    found: list[LedgerWrite] = []
    for _ in range(rng.randint(1, 6)):
        one, other = rng.sample(nodes, 2)
        found.append(candidate(rng, asker or one, other))
    if asker is None and rng.random() < 0.1:
        found.append(Tombstone(rng.choice(nodes), rng.choice(REFERENCES)))
    return found


def told(notices: Iterable[LedgerNotice], among: set[str]) -> list[tuple[str, bytes, str]]:
    read = [(one.recipient, wire.Notice.FromString(one.content)) for one in notices]
    return [
        (recipient, notice.told.own_reference, notice.told.other)
        for recipient, notice in read
        if notice.HasField("told") and {recipient, notice.told.other} <= among
    ]


def withdrawn(notices: Iterable[LedgerNotice]) -> set[tuple[str, bytes, str]]:
    read = [(one.recipient, wire.Notice.FromString(one.content).withdrawn) for one in notices]
    return {(recipient, one.own_reference, one.party) for recipient, one in read if one.edge_id}


def rows(ledger: Ledger, query: str) -> list[Any]:
    with ledger._engine.connect() as connection:
        return list(connection.exec_driver_sql(query))


def live(ledger: Ledger, among: set[str]) -> list[tuple[str, bytes, str, bytes]]:
    found = rows(ledger, "SELECT party_a, reference_a, party_b, reference_b FROM edge WHERE state = 'live'")
    return sorted((a, bytes(ref_a), b, bytes(ref_b)) for a, ref_a, b, ref_b in found if {a, b} <= among)


def assert_whole(ledger: Ledger) -> None:
    """Hold every row against what the ledger promises of it."""
    edges = {bytes(row[0]): row[1:] for row in rows(ledger, "SELECT edge_id, state, merged_into, visible FROM edge")}
    roots = {edge_id: bytes(row[1]) if row[1] is not None else edge_id for edge_id, row in edges.items()}
    assert all(edges[root][1] is None for root in roots.values()), "whoever was merged is in a family by one step"
    recipients: dict[bytes, set[str]] = {}
    for recipient, edge_id in rows(ledger, "SELECT recipient, edge_id FROM told"):
        recipients.setdefault(roots[bytes(edge_id)], set()).add(recipient)
        assert edges[bytes(edge_id)][0] != "void", "a void edge frees its keys"
    for edge_id, (state, _, visible) in edges.items():
        if state == "live":
            assert bool(visible) == (len(recipients.get(edge_id, ())) == 2), "visible is what both sides know (I11)"


def void(ledger: Ledger, rng: random.Random, among: set[str]) -> list[VoidEdge]:
    """Return a refusal by somebody who was told of an edge among these parties."""
    known = sorted(
        (recipient, bytes(reference), other, bytes(edge_id))
        for recipient, reference, other, edge_id in rows(
            ledger, "SELECT recipient, reference, other, edge_id FROM told"
        )
        if recipient in among and "/partner/" not in recipient
    )
    by_key = {one[:3]: one for one in known}
    if not by_key:
        return []
    recipient, _, other, edge_id = by_key[rng.choice(sorted(by_key))]
    return [VoidEdge(edge_id, recipient, other, "never_asked")]


@pytest.mark.parametrize("seed", range(10))
def test_a_partner_s_references_change_nothing_between_nodes(ledger: Ledger, seed: int) -> None:
    """I3: the same happens among two nodes whether or not a partner asks both, under whatever references."""
    rng = random.Random(seed)
    with_it = [party("node", f"{name}1") for name in "ABC"]
    without = [party("node", f"{name}2") for name in "ABC"]
    asker = party("partner", "P1")
    said: dict[str, list[tuple[str, bytes, str]]] = {"1": [], "2": []}
    open_keys: set[tuple[str, bytes, str]] = set()
    for number in range(ROUNDS):
        if rng.random() < 0.6:
            ledger.write(writes(rng, with_it, asker))
        if rng.random() < 0.2:
            ledger.write([one for one in void(ledger, rng, set(with_it)) if asker in {one.refuser, one.other}])
        seeded = [random.Random(f"{seed} {number}") for _ in "12"]
        for one, nodes in zip(seeded, (with_it, without), strict=True):
            notices = ledger.write(writes(one, nodes, None)).notices
            said[nodes[0][-1]] += told(notices, set(nodes))
            if nodes is with_it:
                # A withdrawal frees the keys of whoever hears of it, and the withdrawing party's own (3.8).
                freed = withdrawn(notices)
                sides = {(other, recipient) for recipient, _, other in freed}
                open_keys = {key for key in open_keys - freed if (key[0], key[2]) not in sides}
                fresh = told(notices, set(nodes))
                assert len(set(fresh)) == len(fresh), "nobody is told twice"
                assert not open_keys & set(fresh), "nobody is told twice"
                open_keys |= set(fresh)
        assert_whole(ledger)
    renamed = [(one.replace("2", "1"), reference, other.replace("2", "1")) for one, reference, other in said["2"]]
    assert said["1"] == renamed
    assert len(said["1"]) > 10
    expected = live(ledger, set(without))
    assert live(ledger, set(with_it)) == [
        (a.replace("2", "1"), ref_a, b.replace("2", "1"), ref_b) for a, ref_a, b, ref_b in expected
    ]
    assert ledger.notices_above(asker, 0, limit=1) == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_becomes_void_in_between_every_row_keeps_its_promise(ledger: Ledger, seed: int) -> None:
    """A key is told once between two refusals, and no order of writes is one that the ledger cannot take."""
    rng = random.Random(seed)
    nodes = [party("node", name) for name in "ABC"]
    everybody = {*nodes, party("partner", "P")}
    open_keys: set[tuple[str, bytes, str]] = set()
    for _ in range(ROUNDS):
        group = writes(rng, nodes, rng.choice((None, party("partner", "P"))))
        if rng.random() < 0.3:
            group += void(ledger, rng, everybody)
        notices = ledger.write(group).notices
        kept = {(a, bytes(ref), b) for a, ref, b in rows(ledger, "SELECT recipient, reference, other FROM told")}
        for key in told(notices, everybody):
            assert key in kept, "what was told is a key"
            if not any(isinstance(one, VoidEdge | Tombstone) for one in group):
                assert key not in open_keys, "nobody is told twice by one key"
        open_keys = kept
        assert_whole(ledger)


def test_edges_that_are_merged_twice_in_one_group_are_one_family(ledger: Ledger) -> None:
    """One query with one reference for three values; what refuses any of it makes all of it void."""
    node, asker = party("node", "A"), party("partner", "P")

    def answer(asked: int, held: int) -> EdgeCandidate:
        return EdgeCandidate(
            party_a=asker,
            reference_a=REFERENCES[asked],
            party_b=node,
            reference_b=REFERENCES[held],
            namespace=1,
            told_a=True,
            told_b=True,
            check_id=b"c" * 16,
            decision=3,
        )

    notices = ledger.write([answer(0, 0), answer(1, 1), answer(2, 2), answer(1, 2), answer(0, 2)]).notices
    assert_whole(ledger)
    first = wire.Notice.FromString(notices[0].content).told.edge_id
    ledger.write([VoidEdge(first, node, asker)])
    assert rows(ledger, "SELECT count(*) FROM edge WHERE state <> 'void'") == [(0,)]
    assert rows(ledger, "SELECT count(*) FROM told") == [(0,)]
    assert len(ledger.write([answer(0, 0), answer(1, 1), answer(2, 2)]).notices) == 3
