"""The board of pairs takes each frame once, in its place, and only about pairs that were asked."""

from __future__ import annotations

import numpy as np
import pytest

from concordat.errors import ProtocolError
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.groups import ROW
from gateway.sweep.pairs import PairBoard

PARTIES = ("a", "b", "c")


def board() -> PairBoard:
    """Return pairs 0: a-b, 1: a-c, 2: b-c of one value, and 3... of none."""
    rows = np.zeros(3, ROW)
    rows["start"], rows["party"], rows["class"], rows["row"] = [1, 0, 0], [0, 1, 2], 1, [7, 8, 9]
    rows["reference"] = np.arange(48, dtype=np.uint8).reshape(3, 16)
    return PairBoard(PARTIES, rows)


def proofs(peer: str, *pairs: int, decision: int = 3) -> wire.PairProofs:
    numbers = np.array(pairs, "<u8").tobytes()
    return wire.PairProofs(
        peer=peer, pairs=numbers, macs=bytes(32 * len(pairs)), decisions=bytes([decision]) * len(pairs)
    )


def verdicts(peer: str, *pairs: int, good: int = 1) -> wire.PairVerdicts:
    return wire.PairVerdicts(peer=peer, pairs=np.array(pairs, "<u8").tobytes(), verdicts=bytes([good]) * len(pairs))


def test_pairs_are_numbered_by_their_parties() -> None:
    assert [pair.parties for pair in board().pairs()] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_each_holder_is_told_its_own_row_and_reference() -> None:
    listed = {(PARTIES[own], frame.peer): frame for own, frame in board().lists()}
    frame = listed["b", "c"]
    assert frame.own_rows == (8).to_bytes(8, "little")
    assert (frame.own_references, frame.peer_references) == (bytes(range(16, 32)), bytes(range(32, 48)))


def test_a_pair_with_a_live_edge_is_no_pair() -> None:
    state = board()
    state.leave_out([True, False, False])
    assert sorted((PARTIES[own], frame.peer) for own, frame in state.lists()) == [
        ("a", "c"),
        ("b", "c"),
        ("c", "a"),
        ("c", "b"),
    ]
    with pytest.raises(ProtocolError):
        state.take_proofs(0, proofs("b", 0))


def test_a_verdict_needs_a_proof() -> None:
    state = board()
    with pytest.raises(ProtocolError):
        state.take_verdicts(0, verdicts("b", 0))
    state.take_proofs(0, proofs("b", 0))
    with pytest.raises(ProtocolError):
        state.take_verdicts(0, verdicts("b", 0))
    assert state.take_verdicts(1, verdicts("a", 0)) == 0


def test_debts_are_settled_one_by_one() -> None:
    state = board()
    state.leave_out([False, True, True])
    assert [state.owes(party) for party in range(3)] == [True, True, False]
    state.take_proofs(0, proofs("b", 0))
    assert [state.owes(party) for party in range(3)] == [False, True, False]
    state.take_proofs(1, proofs("a", 0))
    assert [state.owes(party) for party in range(3)] == [True, True, False]
    state.take_verdicts(0, verdicts("b", 0))
    state.take_verdicts(1, verdicts("a", 0))
    assert [state.owes(party) for party in range(3)] == [False, False, False]
    assert [proven.told for proven in state.proven()] == [(True, True)]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (3, 3, (True, True)),
        (1, 3, (False, True)),
        (3, 2, (False, True)),
        (2, 3, (True, False)),
        (0, 3, None),
        (1, 1, None),
    ],
)
def test_who_is_told_follows_both_decisions(first: int, second: int, told: tuple[bool, bool] | None) -> None:
    """Bit 0 lets the addressee be told, bit 1 has the sender told; each needs the other side's word."""
    state = board()
    state.leave_out([False, True, True])
    state.take_proofs(0, proofs("b", 0, decision=first))
    state.take_proofs(1, proofs("a", 0, decision=second))
    state.take_verdicts(0, verdicts("b", 0))
    state.take_verdicts(1, verdicts("a", 0))
    assert [proven.told for proven in state.proven()] == ([] if told is None else [told])


def test_frames_about_a_dropped_peer_count_for_nothing() -> None:
    state = board()
    state.cancel(2)
    assert state.take_proofs(0, proofs("c", 1)) is None
    assert state.take_verdicts(0, verdicts("c", 1)) == 0
    assert [state.owes(party) for party in range(3)] == [True, True, False]
