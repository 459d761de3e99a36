"""A tick: the checks that came in it, its barriers and replies, and what its certificates say (3.4 (5), (6))."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from opentelemetry.trace import INVALID_SPAN, Span

from concordat.protocol.check import may_have
from concordat.protocol.macs import MAC_BYTES, TAG_BYTES
from concordat.tokens import REFERENCE_BYTES, TOKEN_BYTES
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from concordat.protocol.check import SignedHeader
    from gateway.query import Query


@dataclass(slots=True, eq=False)
class LiveCheck:
    """A check until its certificate leaves; nothing else at the hub holds its tokens."""

    header: SignedHeader
    message: wire.Check
    allowed: NDArray[np.uint64]
    """Parties that may be asked: by the opt-in table, `only_holders`, and not the asker; one mask, or one an item."""
    outside: frozenset[str]
    listed: tuple[str, ...]
    """Holders that the certificate names."""
    tick: int
    query: Query | None = None
    """Set where a partner asks."""
    sent: NDArray[np.uint64] = field(init=False)
    """Parties that each item was sent to, on the session that counts: a mask an item."""
    answered: NDArray[np.uint64] = field(init=False)
    versions: NDArray[np.int64] | None = None
    """Versions of the planes when the items were routed."""
    span: Span = field(default=INVALID_SPAN, repr=False)
    """From here to the certificate, whatever is asked and answered in between (I11)."""

    def __post_init__(self) -> None:
        shape = (self.count, self.allowed.shape[-1])
        self.sent = np.zeros(shape, dtype=np.uint64)
        self.answered = np.zeros(shape, dtype=np.uint64)

    def __repr__(self) -> str:
        return f"LiveCheck(count={self.count}, tick={self.tick})"

    @property
    def asker(self) -> str:
        """Return the asker's SPIFFE id."""
        return self.header.fields.asker

    @property
    def check_id(self) -> bytes:
        """Return the check's id."""
        return self.header.fields.check_id

    @property
    def count(self) -> int:
        """Return the number of items."""
        return self.header.fields.count

    def reference(self, position: int) -> bytes:
        """Return the asker's reference of an item."""
        return self.message.items.references[position * REFERENCE_BYTES : (position + 1) * REFERENCE_BYTES]

    def grade(self, position: int) -> int:
        """Return the grade of an item (wire Grade)."""
        return self.message.items.grades[position]

    def audience_has(self, position: int, holder: str) -> bool:
        """Tell whether a holder may be told of the asker's record, if only on conditions that it tests itself."""
        audiences = self.message.items.audiences
        return may_have(self.message.audience_sets[audiences[position] if audiences else 0], holder)

    def questions(self, parts: Sequence[NDArray[np.intp]]) -> Iterator[wire.Question]:
        """Yield the question with the items at some positions, for each of some parts.

        Each column is taken once, for all parts one after the other.
        """
        items, message = self.message.items, self.message
        every = np.concatenate(parts)
        columns = {name: _rows(getattr(items, name), width, every) for name, width in _COLUMNS.items()}
        places = every.astype("<u4").tobytes()
        start = 0
        for part in parts:
            end = start + len(part)
            yield wire.Question(
                tick=self.tick,
                header=message.header,
                signature=message.signature,
                items=wire.CheckItems(
                    **{name: rows[start * _COLUMNS[name] : end * _COLUMNS[name]] for name, rows in columns.items()}
                ),
                positions=places[start * 4 : end * 4],
                audience_salt=message.audience_salt,
                audience_sets=message.audience_sets,
            )
            start = end


_COLUMNS: Final = {
    "tokens": TOKEN_BYTES,
    "references": REFERENCE_BYTES,
    "ask_macs": MAC_BYTES,
    "grades": 1,
    "audiences": 1,
    "group_tags": TAG_BYTES,
}


def _rows(column: bytes, width: int, positions: NDArray[np.intp]) -> bytes:
    if not column:
        return b""
    return np.frombuffer(column, dtype=np.uint8).reshape(-1, width)[positions].tobytes()


@dataclass(slots=True)
class Asked:
    """One party at a tick's barrier."""

    session: int
    required: int
    ready: bool
    """Its plane was complete and at or above the required sequence when the last items were routed."""
    epochs: frozenset[int]
    replied: bool = False
    withdrawn: bool = False
    """It broke the order of answers and barrier, or refused a question: it is not covered."""


@dataclass(slots=True, eq=False)
class Tick:
    """Checks, barriers and replies of one tick. Times are readings of the monotonic clock."""

    number: int
    ends_at: float
    window_s: float
    checks: list[LiveCheck] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    """Parties with a session when the barriers left."""
    withdrawn: set[str] = field(default_factory=set)
    """Parties that refused a question before the barriers left."""
    barriers_sent: bool = False
    writes_open: int = 0
    failed: bool = False

    @property
    def window_ends_at(self) -> float:
        """Return when the certificates leave, never earlier or later."""
        return self.ends_at + self.window_s

    @property
    def durable(self) -> bool:
        """Tell whether all edges of the tick are durable, as far as they can be known by now."""
        return self.barriers_sent and not self.failed and not self.writes_open

    def state(self, check: LiveCheck, holder: str, *, wait_for_edges: bool) -> wire.HolderState.ValueType:
        """Return what a certificate says of a holder (3.4 (6))."""
        if holder in check.outside:
            return wire.HOLDER_STATE_OUTSIDE
        asked = self.asked.get(holder)
        if not self.durable and wait_for_edges:
            return wire.HOLDER_STATE_TIMED_OUT
        if asked is None:
            return wire.HOLDER_STATE_TIMED_OUT if holder in self.present else wire.HOLDER_STATE_OFFLINE
        covered = asked.ready and asked.replied and not asked.withdrawn and check.header.fields.epoch in asked.epochs
        return wire.HOLDER_STATE_COVERED if covered else wire.HOLDER_STATE_TIMED_OUT
