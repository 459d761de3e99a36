"""What the store takes and gives: frozen rows, columns packed as in `concordat.tokens`.

Whatever holds a match secret, a typed or a canonical value shows none of it in its representation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from services.node.case import CaseProfile


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """Tokens that get, or got, one sequence number.

    Attributes:
        sequence: Number after this delta.
        tokens: Packed, 16 bytes each.
    """

    sequence: int
    tokens: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """A token of a question that this node holds; `index` is its place in the question."""

    index: int
    value_id: int
    reference: bytes
    secret: bytes = field(repr=False)
    grade: int
    namespace: str
    kept: bool
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Values that are asked together. All columns are packed and in one order.

    Attributes:
        id: Row id.
        epoch: Epoch of tokens and secrets.
        purpose: Purpose code.
        operation: Operation id; empty for standing work.
        case_id: Row id of the case.
        case: Profile of the case, whose justification the check carries (I5).
        look_once: True where no record is kept that others can find.
        tokens: 16 bytes each.
        references: 16 bytes each.
        secrets: 32 bytes each.
        grades: One byte each (wire Grade).
        exercise: True where all its values are of the exercise that is its operation; else none is of any.
        value_ids: Row ids of the values.
    """

    id: int
    epoch: int
    purpose: str
    operation: str
    case_id: int
    case: CaseProfile = field(repr=False)
    look_once: bool
    tokens: bytes = field(repr=False)
    references: bytes = field(repr=False)
    secrets: bytes = field(repr=False)
    grades: bytes = field(repr=False)
    exercise: bool = False
    value_ids: tuple[int, ...] = field(default=(), repr=False)

    @property
    def count(self) -> int:
        """Return the number of items."""
        return len(self.grades)


class PendingRow(NamedTuple):
    """A holder that has not covered a batch: state is new, offline, timed_out or outside."""

    batch_id: int
    holder: str
    state: str
    attempts: int


@dataclass(frozen=True, slots=True)
class SentCheck:
    """What was signed and sent for a batch."""

    check_id: bytes
    batch_id: int
    header: bytes = field(repr=False)
    header_hash: bytes
    sent_at: float
    certificate: bytes | None = field(repr=False)


class WitnessRow(NamedTuple):
    """An ask that this node verified as a holder."""

    own_reference: bytes
    asker: str
    asker_reference: bytes
    check_id: bytes


class CoincidenceRow(NamedTuple):
    """A coincidence that this node saw as a holder, with the asker's group tags."""

    own_reference: bytes
    asker: str
    asker_reference: bytes
    check_id: bytes
    grade: int
    line_tag: bytes
    record_tag: bytes


class PairRow(NamedTuple):
    """A pair that this node verified in a sweep."""

    own_reference: bytes
    peer: str
    peer_reference: bytes
    sweep_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldRow:
    """An edge that this node was told of; state is shown, refused or voided."""

    edge_id: bytes
    own_reference: bytes
    other: str
    other_reference: bytes
    handle: str
    grade: int
    told_at_ms: int
    asked: bool
    check_id: bytes | None
    sweep_id: bytes | None
    look_once: bool
    state: str = "shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRow:
    """A told edge beside one of the node's own records; nothing of the other side but party and handle."""

    handle: str
    other: str
    grade: int
    told_at_ms: int
    asked: bool
    look_once: bool
    namespace: str
    typed: str = field(repr=False)
    kind: str
    file_name: str
    line: int
    case_reference: str
    operation: str
    edge_id: bytes
    own_reference: bytes
    file_id: int
    exercise: bool = False


class UntokenisedRow(NamedTuple):
    """A value that has no token of an epoch yet."""

    value_id: int
    namespace: str
    rules_version: int
    canonical: str

    def __repr__(self) -> str:
        return f"UntokenisedRow(value_id={self.value_id}, namespace={self.namespace})"


class Wanted(NamedTuple):
    """Which values without a token are looked for: of a key class, real or of an exercise, so many at most."""

    key_class: str
    exercise: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Untokenised:
    """Values of one case and key class, to be tokenised in one request.

    Attributes:
        epoch: Epoch of the key.
        key_class: `strong` or `weak`.
        case_id: Case whose justification the request carries.
        case: Profile of the case.
        rows: The values.
        domain: Of the exercise whose values they are; '' is real.
    """

    epoch: int
    key_class: str
    case_id: int
    case: CaseProfile = field(repr=False)
    rows: tuple[UntokenisedRow, ...]
    domain: str = ""
