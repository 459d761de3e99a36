"""What a group of answers changes in the ledger, decided on rows in memory (3.4 (3)).

Live edges are unique per (reference, other party), and told is keyed by (recipient, its reference, other party): so a
repeated answer changes nothing, a party that enters where it already is replaces its reference and tells nobody else
(C9), and nobody is told twice whatever the order (C5, C14). No edge opens with a dead reference (C12).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOTH: Final = 2
Side = tuple[str, bytes, str]
"""A party, its reference, and the other party."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCandidate:
    """Two parties whose references stand for one value, as a holder's answer or a sweep found it.

    In a check party a is the asker and party b the holder that answered; in a sweep the order means nothing.
    """

    party_a: str
    reference_a: bytes
    party_b: str
    reference_b: bytes
    namespace: int
    told_a: bool
    told_b: bool
    grade: int = wire.GRADE_STRONG
    check_id: bytes = b""
    sweep_id: bytes = b""
    decision: int = 0
    answer_mac: bytes = b""
    look_once: bool = False
    asked_as: bytes = b""
    """What the asker called its value, where the ledger has its own name for that (`gateway.answers`)."""
    exercise: str = ""
    """The operation, where it is an exercise: its edges are in no count, and go at its end."""

    def __post_init__(self) -> None:
        if self.party_a == self.party_b:
            raise ProtocolError("a party has no edge with itself")
        if bool(self.check_id) == bool(self.sweep_id):
            raise ProtocolError("an edge comes from a check or from a sweep")


@dataclass(slots=True)
class Edge:
    """A live edge; the sides change when a party replaces its reference."""

    edge_id: bytes
    references: dict[str, bytes]
    origin: EdgeCandidate

    def sides(self) -> tuple[Side, Side]:
        """Return both sides."""
        (one, reference_one), (two, reference_two) = sorted(self.references.items())
        return (one, reference_one, two), (two, reference_two, one)


@dataclass(frozen=True, slots=True)
class Telling:
    """One recipient is told of one edge."""

    recipient: str
    reference: bytes
    other: str
    other_reference: bytes
    edge_id: bytes
    asked: bool
    candidate: EdgeCandidate
    exercise: str
    """Of the edge."""


@dataclass(slots=True)
class EdgeBook:
    """The rows that concern a group of candidates, and what the group changes in them."""

    new_id: Callable[[], bytes]
    unique: bool = True
    told: set[Side] = field(default_factory=set)
    dead: set[tuple[str, bytes]] = field(default_factory=set)
    opened: dict[bytes, Edge] = field(default_factory=dict)
    changed: dict[bytes, Edge] = field(default_factory=dict)
    merged: dict[bytes, bytes] = field(default_factory=dict)
    tellings: list[Telling] = field(default_factory=list)
    _by_side: dict[Side, Edge] = field(default_factory=dict)

    def know(self, edges: Iterable[Edge]) -> None:
        """Take the live edges that the ledger holds for the candidates' references."""
        for edge in edges:
            self._index(edge)

    def take(self, candidate: EdgeCandidate) -> None:
        """Open, extend or leave the edge of one candidate, and note who is to be told."""
        a, b = (candidate.party_a, candidate.reference_a), (candidate.party_b, candidate.reference_b)
        if a in self.dead or b in self.dead:
            return
        # An edge of which nobody may know is none.
        if not (candidate.told_a or candidate.told_b):
            return
        edge = self._edge(candidate)
        if candidate.told_a:
            self._tell(candidate, edge, a, b)
        if candidate.told_b:
            self._tell(candidate, edge, b, a)

    def flatten(self) -> None:
        """Name for each merged edge the one that is left, where the group merged that one in turn.

        A family is found by one step: what is left out of it would keep its keys when an edge becomes void.
        """
        # Whoever an edge was merged into was merged later, if at all.
        for edge_id in reversed(self.merged):
            root = self.merged[edge_id]
            self.merged[edge_id] = self.merged.get(root, root)

    def alone(self) -> set[bytes]:
        """Return the edges that the group opens and merges with no other: all that is told of them is told now."""
        return self.opened.keys() - self.merged.keys() - set(self.merged.values())

    def visible(self) -> set[bytes]:
        """Return those of them of which both sides are told; an exercise's are in no view (I11)."""
        recipients: dict[bytes, set[str]] = {edge_id: set() for edge_id in self.alone()}
        for telling in self.tellings:
            if telling.edge_id in recipients and not telling.exercise:
                recipients[telling.edge_id].add(telling.recipient)
        return {edge_id for edge_id, told in recipients.items() if len(told) == BOTH}

    def _edge(self, candidate: EdgeCandidate) -> Edge:
        side_a = (candidate.party_a, candidate.reference_a, candidate.party_b)
        side_b = (candidate.party_b, candidate.reference_b, candidate.party_a)
        one, two = self._by_side.get(side_a), self._by_side.get(side_b)
        edge = one or two
        if edge is None or not self.unique:
            references = {candidate.party_a: candidate.reference_a, candidate.party_b: candidate.reference_b}
            edge = Edge(self.new_id(), references, candidate)
            self.opened[edge.edge_id] = edge
            self._index(edge)
            return edge
        if one is two:
            return edge
        if one is not None and two is not None:
            # Both parties entered anew where they already were: two live edges are one value.
            self._forget(two)
            self.merged[two.edge_id] = one.edge_id
            self.changed.pop(two.edge_id, None)
        self._replace(edge, candidate)
        return edge

    def _replace(self, edge: Edge, candidate: EdgeCandidate) -> None:
        self._forget(edge)
        edge.references = {candidate.party_a: candidate.reference_a, candidate.party_b: candidate.reference_b}
        self._index(edge)
        if edge.edge_id not in self.opened:
            self.changed[edge.edge_id] = edge

    def _tell(self, candidate: EdgeCandidate, edge: Edge, own: tuple[str, bytes], other: tuple[str, bytes]) -> None:
        key = (*own, other[0])
        if self.unique and key in self.told:
            return
        self.told.add(key)
        asked = bool(candidate.check_id) and own[0] == candidate.party_a
        self.tellings.append(Telling(*own, *other, edge.edge_id, asked, candidate, edge.origin.exercise))

    def _index(self, edge: Edge) -> None:
        for side in edge.sides():
            self._by_side[side] = edge

    def _forget(self, edge: Edge) -> None:
        for side in edge.sides():
            self._by_side.pop(side, None)
