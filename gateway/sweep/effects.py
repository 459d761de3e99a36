"""What the core of a sweep wants done, its settings, and what a sweep comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pydantic import Field, field_validator

from concordat.config import Settings
from concordat.identity.manifest import Address
from concordat.protocol.sweep_frames import MAX_SHARDS, WINDOW_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.checkpoint import SweepState
    from gateway.sweep.jobs import Job
    from gateway.sweep.pairs import Pair, ProvenPair


class SweepSettings(Settings):
    """Limits of a sweep, and who takes its windows."""

    join_s: float = Field(default=10.0, gt=0, description="How long attached participants are waited for.")
    prepare_s: float = Field(
        default=900.0, gt=0, description="How long those are waited for that say that they prepare their sets."
    )
    inactivity_s: float = Field(default=10.0, gt=0, description="How long a participant may owe a frame.")
    away_s: float = Field(
        default=30.0, gt=0, description="How long one whose stream broke may stay away while it owes something."
    )
    save_s: float = Field(
        default=1.0, ge=0, description="How often, at most, the state is saved while windows are streamed."
    )
    total_s: float = Field(
        default=600.0, gt=0, description="How long a participant may owe frames in all: a little late is late too."
    )
    step_s: float = Field(
        default=5.0, ge=0, description="How much longer for each window that it sent, and each block of pairs."
    )
    window_tokens: int = Field(
        default=WINDOW_TOKENS, ge=1, le=1 << 24, description="Tokens a participant and window to aim at."
    )
    credits: int = Field(
        default=2, ge=1, le=64, description="Windows that a participant may be ahead of the hub at first."
    )
    ahead_bytes: int = Field(
        default=48 << 20, ge=1 << 12, description="Bytes of windows in credit, of all participants together."
    )
    max_size: int = Field(default=1 << 28, ge=1, le=1 << 32, description="Tokens of the largest set.")
    pair_rows: int = Field(
        default=1 << 13, ge=1, le=1 << 16, description="Rows whose holders prove themselves to each other at a time."
    )
    pairs: bool = Field(
        default=True, description="Whether holders are told of each other; without, a sweep counts only."
    )
    shards: tuple[Address, ...] = Field(
        default=(),
        max_length=MAX_SHARDS,
        description="HOST:PORT of the processes that share the windows, as nodes reach them; none by default.",
    )
    shard_s: float = Field(
        default=300.0, gt=0, description="How long a shard may be out of reach before its sweep fails."
    )

    @field_validator("shards")
    @classmethod
    def _are_different(cls, shards: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(shards)) != len(shards):
            raise ValueError("a shard is named twice")
        return shards


@dataclass(frozen=True, slots=True)
class Part:
    """The windows of a sweep that one hub takes, from `first` up to `end`, where several share them."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Share:
    """A part and the shard that takes it."""

    address: str
    part: Part


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


@dataclass(frozen=True, slots=True)
class GiveParts:
    """Let shards take the parts; answer with `SweepHub.parts_begun`, then with a `JoinJob` of what they hand over.

    Attributes:
        shares: Who takes what, in the order of the windows.
        orders: What each begins with.
    """

    shares: tuple[Share, ...]
    orders: tuple[SweepState, ...] = field(repr=False)


Effect: TypeAlias = Send | Run | LookUp | OpenEdges | Conclude | Abandoned | HandOver | GiveParts
