"""What the gateway tells the hub operator's console (docs/console.md): numbers, names of parties and operations.

It says nothing that a silent or local-only holding could move (I11): matches are edges of which both sides were told,
and there is no number of checks, questions, published values or notices anywhere in it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from concordat.api.model import Form
from concordat.identity.manifest import MAX_CUSTODIANS, MAX_PARTIES, Name, PartyClass, Word

MAX_OPERATIONS: Final = 32
MAX_SHARDS: Final = 64
"""As in `concordat.protocol.sweep_frames`, which a console need not load with its arrays."""
HEARTBEAT_S: Final = 2.0
"""The stream of events says at least so often that it is alive."""
STATE_EVENT: Final = "state"
ALIVE_EVENT: Final = "alive"

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[int, Field(ge=0, description="Unix seconds.")]
Counts = Mapping[Word, Count]
"""Namespace -> number; a namespace without any is left out."""


class OperationPhase(StrEnum):
    """Where an operation stands."""

    PROPOSED = "proposed"
    """Not signed by all participants yet."""
    ACTIVE = "active"
    SWEEPING = "sweeping"
    REPORTED = "reported"
    """Its report is frozen."""


class NodeState(Form):
    """One node."""

    name: Name
    party_class: PartyClass
    attached: bool
    since: Seconds | None = Field(description="Start of the minute; null where it never attached to this gateway.")


class CustodianState(Form):
    """One custodian, as the gateway's health probes see it."""

    name: Name
    serving: bool | None = Field(description="Null before the first probe came back.")
    since: Seconds | None = Field(description="Start of the minute.")


class PairMatches(Form):
    """Edges between two nodes that both were told of; a value that three hold counts in three pairs."""

    one: Name
    other: Name = Field(description="Later in the alphabet than `one`.")
    counts: Counts


class PartnerMatches(Form):
    """Edges between a partner and any node that both were told of."""

    partner: Name
    counts: Counts


class FrozenReport(Form):
    """Totals of an operation's report (docs/report.md)."""

    frozen_at: Seconds
    totals: Mapping[Word, Count]
    matches: Count = Field(description="Values that two or more included participants hold.")
    included: Count = Field(description="Participants whose values are in the counts.")


class SweepPhase(StrEnum):
    """Where a running sweep stands."""

    JOINING = "joining"
    WINDOWS = "windows"
    PAIRS = "pairs"
    """Holders of one value prove themselves to each other."""
    COUNTING = "counting"


class SweepStanding(StrEnum):
    """How a participant stands in a running sweep."""

    ABSENT = "absent"
    """It was not attached when the sweep began, and has not joined."""
    AWAITED = "awaited"
    """It was attached, and has said nothing yet."""
    PREPARING = "preparing"
    """It makes its set."""
    JOINED = "joined"
    AWAY = "away"
    """Its line broke; it may come back in time."""
    DROPPED = "dropped"
    """Left out, as the coverage of the report will say."""


class SweepParty(Form):
    """One participant of a running sweep."""

    name: Name
    standing: SweepStanding
    owes: bool = Field(default=False, description="The sweep waits for it.")
    prepared_percent: int | None = Field(
        default=None, ge=0, le=100, description="Of its set, in tens, where it has said so."
    )
    code: str = Field(default="", max_length=64, description="Of the catalogue, where it was dropped.")


class SweepProgress(Form):
    """How far a running sweep is; nothing of what the participants hold, but that it is much or little."""

    phase: SweepPhase
    windows_done: Count
    windows: Count = Field(description="In all; 0 before the participants have joined.")
    pairs_percent: int = Field(ge=0, le=100, description="Of the shared rows whose holders were told, in tens.")
    rows_about: Count = Field(
        description="Rows of shared values so far, in thousands, less up to a thousand that are the gateway's secret."
    )
    shards_away: tuple[Count, ...] = Field(
        default=(), max_length=MAX_SHARDS, description="Numbers of the shards that share its windows and do not answer."
    )
    parties: tuple[SweepParty, ...] = Field(max_length=MAX_PARTIES, description="The participants by name.")


class OperationState(Form):
    """One operation."""

    operation: str = Field(max_length=64)
    title: str = Field(max_length=400)
    purpose: str = Field(max_length=64)
    exercise: bool
    phase: OperationPhase
    starts_at: Seconds
    ends_at: Seconds
    participants: Count
    signed: Count
    report: FrozenReport | None = None
    sweep: SweepProgress | None = Field(default=None, description="Where one runs in this gateway's process.")


class OperatorState(Form):
    """All that the operator may see at one moment."""

    version: int = Field(ge=1, description="Rises by one with each change, and begins anew with the gateway's process.")
    changed_at: Seconds
    federation: str = Field(max_length=253)
    gateway: Name
    nodes: tuple[NodeState, ...] = Field(max_length=MAX_PARTIES)
    custodians: tuple[CustodianState, ...] = Field(max_length=MAX_CUSTODIANS)
    threshold: int = Field(ge=1, description="Custodians that are needed.")
    matches: tuple[PairMatches, ...]
    partners: tuple[PartnerMatches, ...] = Field(max_length=MAX_PARTIES)
    operations: tuple[OperationState, ...] = Field(max_length=MAX_OPERATIONS, description="Most pressing first.")


class Alive(Form):
    """Nothing has changed, and the gateway still answers."""

    version: int = Field(ge=1)
