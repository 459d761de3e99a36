"""What goes into the ledger, and what comes out of a transaction."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.edges import EdgeCandidate


@dataclass(frozen=True, slots=True)
class PublishedSequence:
    """A party's values are published up to this number."""

    party: str
    sequence: int


@dataclass(frozen=True, slots=True)
class LoggedCheck:
    """Who asked for what, without what was asked (I5)."""

    asker: str
    check_id: bytes
    purpose: str
    operation: str
    justification_hash: bytes
    count: int


@dataclass(frozen=True, slots=True)
class VoidEdge:
    """A recipient refuses an edge that it was told of."""

    edge_id: bytes
    refuser: str
    other: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A party has withdrawn a reference: its edges become void, and whoever was told of one hears of it (3.8)."""

    party: str
    reference: bytes


@dataclass(frozen=True, slots=True)
class ReceiptTaken:
    """A told party has taken a withdrawal; `message` is the signed `wire.Receipt`."""

    signer: str
    withdrawer: str
    reference: bytes
    edge_id: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """A told party says that an edge is a false hit; `message` is the signed `wire.Feedback`."""

    signer: str
    other: str
    edge_id: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class Incarnated:
    """A party's store attaches in this incarnation: one that is new replaces those before it.

    The rest is what it knows of the ledger, by which one that was restored is found out (C10).
    """

    party: str
    incarnation: bytes
    ledger_incarnation: bytes = b""
    """Of the ledger that it saw last; empty where it saw none."""
    notice_cursor: int = 0
    published_sequence: int = 0


@dataclass(frozen=True, slots=True)
class WipeExercise:
    """An exercise is over: what the ledger holds of it goes, but for empty entries in recipients' lists."""

    operation: str


LedgerWrite = (
    PublishedSequence
    | LoggedCheck
    | VoidEdge
    | Tombstone
    | ReceiptTaken
    | FeedbackGiven
    | Incarnated
    | WipeExercise
    | EdgeCandidate
)


@dataclass(frozen=True, slots=True)
class LedgerNotice:
    """One entry of a recipient's list: a serialised `Notice`."""

    recipient: str
    cursor: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction made durable."""

    position: int
    """Unix milliseconds, ascending with each transaction."""
    notices: tuple[LedgerNotice, ...] = ()
    refused: tuple[VoidEdge, ...] = ()
    """Edges that became void: the parties named in the log."""
    visible: bool = False
    """Whether an edge came or went that both sides were told of: what the operator's page counts (I11)."""
    dead: frozenset[tuple[str, bytes]] = frozenset()
    """Parties and withdrawn references, of candidates or withdrawn now: no edge is open with one (C12)."""
    superseded: frozenset[tuple[str, bytes]] = frozenset()
    """Parties and incarnations that were replaced by a newer one: they may not attach."""
    doubted: frozenset[tuple[str, bytes]] = frozenset()
    """Parties and incarnations that know more than the ledger, which became another one less than an hour ago."""
    renewed_by: str = ""
    """The party by whom a restored ledger was found out."""
    ledger_incarnation: bytes = b""
    """Which ledger it is after the transaction."""


@dataclass(frozen=True, slots=True)
class TickState:
    """What the barriers of a tick are judged by: published sequences, and who may be attached to which ledger."""

    sequences: dict[str, int]
    incarnations: dict[str, bytes]
    ledger_incarnation: bytes
