"""What the core of a sweep wants done, its settings, and what a sweep comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from concordat.protocol.sweep_frames import WINDOW_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concordat.protocol.sweep_frames import Cut
    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.checkpoint import SweepState
    from gateway.sweep.jobs import Job
    from gateway.sweep.pairs import Pair, ProvenPair


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Limits of a sweep.

    Attributes:
        join_s: How long the hub waits for attached participants to join.
        prepare_s: How long it waits for those that say that they are preparing their sets, at least every `join_s`.
        inactivity_s: How long a participant may owe a frame.
        away_s: How long one whose stream broke may stay away while it owes something.
        save_s: How often, at most, the state of a sweep is saved while windows are streamed; 0 is after each window.
        total_s: How long a participant may owe frames in all: a little late each time is late too.
        step_s: How much longer for each window that it has sent, and each block of pairs that was opened.
        window_tokens: Tokens a participant and window to aim at.
        credits: Windows that a participant may be ahead of the hub at first.
        ahead_bytes: Windows in credit may hold so many bytes of all participants together: what bounds the credit that
            grows on slow lines.
        max_size: Largest set.
        pair_rows: Rows of values whose holders prove themselves to each other at a time.
        pairs: Whether holders are told of each other. Without, a sweep counts only: no pair is listed, no edge opens.
    """

    join_s: float = 10.0
    prepare_s: float = 900.0
    inactivity_s: float = 10.0
    away_s: float = 30.0
    save_s: float = 1.0
    total_s: float = 600.0
    step_s: float = 5.0
    window_tokens: int = WINDOW_TOKENS
    credits: int = 2
    ahead_bytes: int = 48 << 20
    max_size: int = 1 << 28
    pair_rows: int = 1 << 13
    pairs: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """The windows of a sweep that one hub takes, from `first` up to `end`, where several share them."""

    cut: Cut
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Participation:
    """How one participant of the charter took part.

    The state is `included`, `absent` or `dropped:CODE`; size and commitment (hexadecimal) are there only where it is
    included.
    """

    party: str
    state: str
    size: int | None = None
    commitment: str | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What the report is made of: distinct values a class byte, values that several hold, and the coverage."""

    counts: Mapping[int, int]
    shared_values: int
    participations: tuple[Participation, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to a participant; `last` closes its stream."""

    party: str
    frame: wire.SweepDown = field(repr=False)
    last: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Run a job beside the event loop, after those before it; answer with `SweepHub.ran`."""

    job: Job


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find out which of these pairs have a live edge; answer with `SweepHub.live_known`."""

    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class OpenEdges:
    """Open these edges durably; answer with `SweepHub.edges_open`."""

    edges: Sequence[ProvenPair]


@dataclass(frozen=True, slots=True)
class Conclude:
    """Freeze the report; answer with `SweepHub.frozen`."""

    result: SweepResult


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Fewer than two participants are left; there is no report and the sweep may be started again."""

    participations: tuple[Participation, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """A part of a sweep is streamed: keep its state and journal for who joins them (gateway.sweep.parts)."""

    state: SweepState = field(repr=False)


Effect: TypeAlias = Send | Run | LookUp | OpenEdges | Conclude | Abandoned | HandOver
