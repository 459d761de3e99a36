"""The rules that keep matches from being lost or told twice, and the limits that keep one party from hurting others.

Every rule is on in production. The tests switch them off one at a time and show the lost or doubled match that each
prevents (`tests/unit/gateway/test_rules_matter.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from concordat.config import Settings
from concordat.protocol.check import MAX_ITEMS


@dataclass(frozen=True, slots=True)
class Rules:
    """Switches for tests; the names C1 to C5 are those of the threat model."""

    require_complete_plane: bool = True
    """C1: nobody is covered before its whole plane is installed."""
    compare_with_ledger: bool = True
    """C2: nobody is covered whose plane or index is behind the sequence in the ledger."""
    read_sequence_after_arrival: bool = True
    """C3: that sequence is read after the tick's last check arrived."""
    merge_deltas_into_snapshot: bool = True
    """C4: deltas that come while a snapshot is on its way are merged before it becomes live."""
    reroute_before_barrier: bool = True
    """A party whose plane changed since items were routed is routed again."""
    unique_edges: bool = True
    """C5: live edges are unique, and nobody is told twice."""
    refuse_dead_references: bool = True
    """C12: no edge opens with a withdrawn reference."""
    same_session_answers: bool = True
    """Only the session that carried all of a tick's questions can make its party covered."""
    wait_for_edges: bool = True
    """Nobody is covered where an edge of the tick is not durable at the window's end."""
    catch_up_before_answers: bool = True
    """I9: nobody is covered before it has taken every notice that its list had when it attached."""
    fence_incarnations: bool = True
    """I9: a store that a newer one of its party has replaced may not attach, nor stay attached."""
    free_withdrawn_keys: bool = True
    """C12: a withdrawal makes its edges void, so that a value which is submitted again may be told of again."""
    renew_restored_ledger: bool = True
    """C10: a ledger that holds less than a node knows of it becomes another one, and everything is asked again."""


class Limits(Settings):
    """What one party may ask of the hub's memory and time."""

    sessions: int = Field(
        default=4, ge=2, description="Streams of one party at once, those among them that have not said hello yet."
    )
    max_items: int = Field(default=MAX_ITEMS, ge=1, le=MAX_ITEMS, description="Items in a check.")
    bytes_in_flight: int = Field(
        default=24 << 20, ge=1 << 20, description="Bytes of one party's checks whose certificate has not left."
    )
    checks_in_flight: int = Field(
        default=4096, ge=1, description="Checks of one party whose certificate has not left; more are told 'busy'."
    )
    frames_per_tick: int = Field(
        default=8192, ge=16, description="Frames of one party in one tick; with more its session is closed."
    )
    query_items_alive: int = Field(
        default=100_000,
        ge=2000,
        description="Items of one partner's queries that have not expired, each query counting 16 more; holders"
        " remember them as long.",
    )
    withdrawals_in_flight: int = Field(
        default=1 << 17,
        ge=4096,
        description="References that one party withdraws, with its receipts and feedback, before they are durable.",
    )
    delta_slots: int = Field(default=1 << 18, ge=1, description="Slots in one delta of a plane.")
    chunk_bytes: int = Field(default=4 << 20, ge=1024, description="Bytes in one chunk of a snapshot.")
    unacknowledged_notices: int = Field(
        default=4096, ge=1, description="Notices sent and not yet durable at the node; the rest waits in the ledger."
    )
    queue_frames: int = Field(
        default=16384, ge=16, description="Frames that wait for one party; with more its session is closed."
    )
    queue_bytes: int = Field(
        default=48 << 20, ge=1 << 20, description="Bytes that wait for one party; with more its session is closed."
    )
    absent_after_barriers: int = Field(
        default=3, ge=1, description="Unanswered barriers after which a party is absent and its session is closed."
    )
    absent_after_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds after which an unanswered barrier makes its party absent, or a stream without hello ends.",
    )
