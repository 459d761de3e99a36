"""I11: what the ledger counts for the operator is edges that both sides were told of; nothing hints at others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.wire.v1 import check_pb2 as wire
from gateway.ledger import EdgeCandidate, Tombstone, VoidEdge

if TYPE_CHECKING:
    from gateway.ledger import Ledger

A, B, C = (f"spiffe://test.example/node/{name}" for name in ("A", "B", "C"))


def ref(text: str) -> bytes:
    return text.encode().ljust(16, b".")


def edge(
    a: str, ref_a: str, b: str, ref_b: str, *, told: str, namespace: int = 1, grade: int = wire.GRADE_STRONG
) -> EdgeCandidate:
    return EdgeCandidate(
        party_a=a,
        reference_a=ref(ref_a),
        party_b=b,
        reference_b=ref(ref_b),
        namespace=namespace,
        told_a="a" in told,
        told_b="b" in told,
        grade=grade,
        check_id=b"c" * 16,
    )


def test_an_edge_counts_once_both_were_told(ledger: Ledger) -> None:
    assert ledger.visible_edges() == {}
    assert not ledger.write([edge(A, "a1", B, "b1", told="a")]).visible, "I11: B holds silently"
    assert ledger.visible_edges() == {}
    assert ledger.write([edge(A, "a1", B, "b1", told="b")]).visible, "the other side follows later"
    assert ledger.visible_edges() == {(A, B, 1): 1}
    assert ledger.write([edge(B, "b2", A, "a2", told="ab", namespace=4), edge(A, "a3", C, "c1", told="ab")]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1, (A, B, 4): 1, (A, C, 1): 1}


def test_what_nobody_is_told_of_leaves_no_trace(ledger: Ledger) -> None:
    assert not ledger.write([edge(A, "a1", B, "b1", told="")]).visible
    assert not ledger.write([Tombstone(A, ref("a1"))]).visible
    assert not ledger.write([edge(A, "a1", B, "b1", told="ab")]).visible
    assert ledger.visible_edges() == {}


def test_the_same_again_is_no_change_and_counts_once(ledger: Ledger) -> None:
    ledger.write([edge(A, "a1", B, "b1", told="ab")])
    assert not ledger.write([edge(A, "a1", B, "b1", told="ab")]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1}


def test_an_edge_stays_visible_when_a_side_enters_anew_and_is_silent_then(ledger: Ledger) -> None:
    """I11: a later narrower policy must not take back a number that both know."""
    ledger.write([edge(A, "a1", B, "b1", told="ab")])
    ledger.write([edge(A, "a2", B, "b1", told="b")])
    assert ledger.visible_edges() == {(A, B, 1): 1}


def test_two_halves_that_turn_out_to_be_one_value_are_visible_once(ledger: Ledger) -> None:
    ledger.write([edge(A, "a2", B, "b1", told="a"), edge(A, "a1", B, "b2", told="b")])
    assert ledger.visible_edges() == {}
    assert ledger.write([edge(A, "a2", B, "b2", told="a")]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1}


def test_a_merged_half_makes_its_edge_visible_later_on(ledger: Ledger) -> None:
    ledger.write([edge(A, "a2", B, "b1", told="a"), edge(A, "a1", B, "b2", told="a")])
    assert not ledger.write([edge(A, "a2", B, "b2", told="a")]).visible
    assert ledger.write([edge(A, "a2", B, "b3", told="b")]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1}


def test_a_void_edge_counts_no_more_and_a_void_one_sided_edge_changes_nothing(ledger: Ledger) -> None:
    told = ledger.open_edges([edge(A, "a1", B, "b1", told="ab"), edge(A, "a2", B, "b2", told="a")])
    both, one_sided = sorted({wire.Notice.FromString(one.content).told.edge_id for one in told})
    assert not ledger.write([VoidEdge(one_sided, A, B)]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1}
    assert ledger.write([VoidEdge(both, A, B)]).visible
    assert ledger.visible_edges() == {}


def test_two_visible_edges_that_are_one_value_count_once_and_show_the_change(ledger: Ledger) -> None:
    ledger.write([edge(A, "a2", B, "b1", told="ab"), edge(A, "a1", B, "b2", told="ab")])
    assert ledger.visible_edges() == {(A, B, 1): 2}
    assert ledger.write([edge(A, "a2", B, "b2", told="ab")]).visible
    assert ledger.visible_edges() == {(A, B, 1): 1}
