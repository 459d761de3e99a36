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
