"""Pairs of holders of one value: each proves to the other that it knows the value before an edge opens (3.6 (5)).

The hub relays proofs and collects verdicts; it can check neither, having no match secret. A pair has two sides, the
participant with the lower index first. An edge opens where both verdicts are good and the decisions that the proofs
cover let somebody be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.macs import ADDRESSEE_MAY_BE_TOLD, MAC_BYTES, SENDER_IS_TOLD
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.edges import EdgeCandidate
from gateway.sweep.groups import NAMESPACE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sweep.declaration import Numbers
    from gateway.sweep.groups import Rows

PAIRS_A_FRAME: Final = 1 << 16
_UNJUDGED, _BAD, _GOOD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Pair:
    """Two holders of one value, in the order of the participants, and each one's reference."""

    parties: tuple[str, str]
    references: tuple[bytes, bytes]
    namespace: int


@dataclass(frozen=True, slots=True)
class ProvenPair:
    """A pair whose holders have verified each other, and which of them are to be told."""

    pair: Pair
    told: tuple[bool, bool]

    def edge(self, sweep_id: bytes, exercise: str = "") -> EdgeCandidate:
        """Return the edge that opens.

        Args:
            sweep_id: Of the sweep.
            exercise: Operation id where it is one, '' for real records.
        """
        pair = self.pair
        return EdgeCandidate(
            party_a=pair.parties[0],
            reference_a=pair.references[0],
            party_b=pair.parties[1],
            reference_b=pair.references[1],
            namespace=pair.namespace,
            told_a=self.told[0],
            told_b=self.told[1],
            sweep_id=sweep_id,
            exercise=exercise,
        )


class PairBoard:
    """State of the pairs of a block of values; pairs are numbered through all blocks of a sweep."""

    def __init__(self, participants: Sequence[str], rows: Rows, first: int = 0) -> None:
        """Make the pairs of some values.

        Args:
            participants: Of the charter.
            rows: Rows of the values, whole groups.
            first: Number of the first pair.
        """
        self._first = first
        self._participants = tuple(participants)
        self._index = {party: at for at, party in enumerate(self._participants)}
        left, right = _pairs_of(rows)
        # Sorted by the two parties, so that what one participant has with another is one slice.
        order = np.lexsort((rows["party"][right], rows["party"][left]))
        sides = np.column_stack((left[order], right[order]))
        self._party = rows["party"][sides].astype(np.int64)
        self._reference = rows["reference"][sides]
        self._row = rows["row"][sides]
        self._namespace = rows["class"][left[order]] & NAMESPACE_BITS
        count = len(sides)
        self._open = np.ones(count, np.bool_)
        self._withdrawn = np.zeros(count, np.bool_)
        self._proven = np.zeros((count, 2), np.bool_)
        self._decision = np.zeros((count, 2), np.uint8)
        self._verdict = np.full((count, 2), _UNJUDGED, np.uint8)
        self._proofs_owed = np.zeros(len(self._participants), np.int64)
        self._verdicts_owed = np.zeros(len(self._participants), np.int64)
        self._gone: set[int] = set()
        self._recount()

    def __len__(self) -> int:
        return len(self._open)

    def pairs(self) -> list[Pair]:
        """Return all pairs by number."""
        return [self._pair(number) for number in range(len(self))]

    def leave_out(self, live: Sequence[bool]) -> None:
        """Take out the pairs that have a live edge already; nobody is asked for them."""
        self._open &= ~np.array(live, np.bool_)
        self._recount()

    def cancel(self, party: int) -> None:
        """Take a dropped participant out; pairs that are verified on both sides stay."""
        self._gone.add(party)
        self._open &= (self._party != party).all(axis=1) | self._verified()
        self._recount()

    def relist(self, party: int) -> list[tuple[int, wire.PairList]]:
        """Ask a participant's pairs that are not verified once more, of both sides, under new numbers.

        Frames about the old numbers may be on their way and count for nothing.
        """
        again = np.flatnonzero(self._open & ~self._verified() & (self._party == party).any(axis=1))
        count, fresh = len(again), len(self)
        self._open[again], self._withdrawn[again] = False, True
        for name in ("_party", "_reference", "_row", "_namespace"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate((column, column[again])))
        self._open = np.append(self._open, np.ones(count, np.bool_))
        self._withdrawn = np.append(self._withdrawn, np.zeros(count, np.bool_))
        self._proven = np.concatenate((self._proven, np.zeros((count, 2), np.bool_)))
        self._decision = np.concatenate((self._decision, np.zeros((count, 2), np.uint8)))
        self._verdict = np.concatenate((self._verdict, np.full((count, 2), _UNJUDGED, np.uint8)))
        self._recount()
        return self.lists(fresh)

    def lists(self, first: int = 0) -> list[tuple[int, wire.PairList]]:
        """Return what each participant is to prove: frames with their recipients.

        Args:
            first: Leave out the pairs before this place.
        """
        numbers = first + np.flatnonzero(self._open[first:])
        party = self._party[numbers]
        borders = np.flatnonzero((party[1:] != party[:-1]).any(axis=1)) + 1
        frames = []
        for between in np.split(numbers, borders) if len(numbers) else []:
            for at in range(0, len(between), PAIRS_A_FRAME):
                part = between[at : at + PAIRS_A_FRAME]
                for side in (0, 1):
                    own, peer = int(self._party[part[0], side]), int(self._party[part[0], 1 - side])
                    frame = wire.PairList(
                        peer=self._participants[peer],
                        pairs=(part + self._first).astype("<u8").tobytes(),
                        own_references=self._reference[part, side].tobytes(),
                        peer_references=self._reference[part, 1 - side].tobytes(),
                        own_rows=self._row[part, side].astype("<u8").tobytes(),
                    )
                    frames.append((own, frame))
        return frames

    def take_proofs(self, sender: int, frame: wire.PairProofs) -> tuple[int, wire.PairProofs] | None:
        """Note a participant's proofs; return the frame for the addressee, None where that one was dropped.

        Raises:
            ProtocolError: An unknown peer, pairs that are not between the two or were proven before, wrong lengths.
        """
        peer = self._peer(sender, frame.peer)
        if peer in self._gone:
            return None
        numbers, side = self._numbers(sender, peer, frame.pairs)
        if self._withdrawn[numbers].any():
            return None
        if (len(frame.macs), len(frame.decisions)) != (len(numbers) * MAC_BYTES, len(numbers)):
            raise ProtocolError("pair proofs: the columns differ in length")
        decisions = np.frombuffer(frame.decisions, np.uint8)
        if (decisions > (ADDRESSEE_MAY_BE_TOLD | SENDER_IS_TOLD)).any() or self._proven[numbers, side].any():
            raise ProtocolError("pair proofs: an unknown decision, or a pair proven before")
        self._proven[numbers, side] = True
        self._decision[numbers, side] = decisions
        self._proofs_owed[sender] -= len(numbers)
        self._verdicts_owed[peer] += len(numbers)
        relayed = wire.PairProofs(
            peer=self._participants[sender], pairs=frame.pairs, macs=frame.macs, decisions=frame.decisions
        )
        return peer, relayed

    def take_verdicts(self, judge: int, frame: wire.PairVerdicts) -> int:
        """Note a participant's verdicts on a peer's proofs; return how many were bad.

        Raises:
            ProtocolError: An unknown peer, pairs whose proof it has not got or has judged before, wrong lengths.
        """
        peer = self._peer(judge, frame.peer)
        if peer in self._gone:
            return 0
        numbers, side = self._numbers(judge, peer, frame.pairs)
        if self._withdrawn[numbers].any():
            return 0
        verdicts = np.frombuffer(frame.verdicts, np.uint8)
        if len(verdicts) != len(numbers) or (verdicts > 1).any():
            raise ProtocolError("pair verdicts: one byte a pair, 0 or 1")
        if not self._proven[numbers, 1 - side].all() or (self._verdict[numbers, side] != _UNJUDGED).any():
            raise ProtocolError("pair verdicts: a pair without a proof, or judged before")
        self._verdict[numbers, side] = np.where(verdicts == 1, _GOOD, _BAD)
        self._verdicts_owed[judge] -= len(numbers)
        return int((verdicts == 0).sum())

    def owes(self, party: int) -> bool:
        """Tell whether something is expected of a participant."""
        return bool(self._proofs_owed[party] or self._verdicts_owed[party])

    def proven(self) -> list[ProvenPair]:
        """Return the pairs that are verified on both sides and of which somebody is told."""
        result = []
        for number in np.flatnonzero(self._open & self._verified()):
            first, second = (int(decision) for decision in self._decision[number])
            told = (
                bool(first & SENDER_IS_TOLD and second & ADDRESSEE_MAY_BE_TOLD),
                bool(second & SENDER_IS_TOLD and first & ADDRESSEE_MAY_BE_TOLD),
            )
            if any(told):
                result.append(ProvenPair(self._pair(int(number)), told))
        return result

    def _verified(self) -> npt.NDArray[np.bool_]:
        result: npt.NDArray[np.bool_] = (self._verdict == _GOOD).all(axis=1)
        return result

    def _pair(self, number: int) -> Pair:
        first, second = self._party[number]
        return Pair(
            (self._participants[first], self._participants[second]),
            (self._reference[number, 0].tobytes(), self._reference[number, 1].tobytes()),
            int(self._namespace[number]),
        )

    def _peer(self, own: int, name: str) -> int:
        peer = self._index.get(name)
        if peer is None or peer == own:
            raise ProtocolError("a pair frame names a peer that is not in the sweep")
        return peer

    def _numbers(self, own: int, peer: int, packed: bytes) -> tuple[Numbers, int]:
        if not packed or len(packed) % 8 or len(packed) > 8 * PAIRS_A_FRAME:
            raise ProtocolError("a pair frame holds no pairs, or too many")
        raw = np.frombuffer(packed, "<u8")
        if raw.min() < self._first or raw.max() >= self._first + len(self) or len(np.unique(raw)) != len(raw):
            raise ProtocolError("a pair frame names pairs that do not exist, or one twice")
        numbers = raw.astype(np.int64) - self._first
        side = 0 if own < peer else 1
        asked = self._open[numbers] | self._withdrawn[numbers]
        fits = (self._party[numbers, side] == own) & (self._party[numbers, 1 - side] == peer) & asked
        if not fits.all():
            raise ProtocolError("a pair frame names pairs that were not asked")
        return numbers, side

    def _recount(self) -> None:
        size = len(self._participants)
        proofs, verdicts = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for side in (0, 1):
            owes_proof = self._open & ~self._proven[:, side]
            owes_verdict = self._open & self._proven[:, 1 - side] & (self._verdict[:, side] == _UNJUDGED)
            proofs += np.bincount(self._party[owes_proof, side], minlength=size)
            verdicts += np.bincount(self._party[owes_verdict, side], minlength=size)
        self._proofs_owed, self._verdicts_owed = proofs, verdicts


def _pairs_of(rows: Rows) -> tuple[Numbers, Numbers]:
    """Return the row numbers of all unordered pairs within each group, groups of one size at a time."""
    starts = np.flatnonzero(rows["start"])
    sizes = np.diff(np.append(starts, len(rows)))
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for size in np.unique(sizes):
        first, second = np.triu_indices(int(size), 1)
        begin = starts[sizes == size][:, None]
        lefts.append((begin + first).ravel())
        rights.append((begin + second).ravel())
    return np.concatenate(lefts), np.concatenate(rights)
