"""The rules that keep matches from being lost or told twice, and the limits that keep one party from hurting others.

Every rule is on in production. The tests switch them off one at a time and show the lost or doubled match that each
prevents (`tests/unit/gateway/test_rules_matter.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Limits:
    """What one party may ask of the hub's memory and time."""

    max_items: int = 4096
    """Items in a check."""
    bytes_in_flight: int = 24 << 20
    """Bytes of one party's checks whose certificate has not left."""
    checks_in_flight: int = 4096
    """Checks of one party whose certificate has not left."""
    frames_per_tick: int = 8192
    """Frames of one party between two barriers; its session ends at the next one."""
    delta_slots: int = 1 << 18
    """Slots in one delta."""
    chunk_bytes: int = 4 << 20
    """Bytes in one chunk of a snapshot."""
    unacknowledged_notices: int = 4096
    """Notices sent and not yet durable at the node; the rest waits in the ledger."""
    absent_after_barriers: int = 3
    """Unanswered barriers after which a party is absent."""
    absent_after_s: float = 5.0
    """Age in seconds of an unanswered barrier at which its party is absent."""
