"""One moment of the operator's view, drawn from what the gateway knows: the same facts give the same bytes (I11)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from concordat.api.operator import (
    CustodianState,
    NodeState,
    OperationPhase,
    OperationState,
    OperatorState,
    PairMatches,
    PartnerMatches,
)
from concordat.identity.names import Role, SpiffeId
from concordat.tokens import NAMESPACES_BY_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from concordat.api.operator import SweepProgress
    from concordat.identity.manifest import Manifest
    from gateway.ledger_view import VisibleEdges

T = TypeVar("T")
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Stored:
    """What is read from the database."""

    edges: VisibleEdges
    operations: tuple[OperationState, ...]


@dataclass(slots=True)
class Standing(Generic[T]):
    """What holds of a party, and since which minute; the seconds of an attach could tell how much a node holds."""

    state: T
    since: int | None = None

    def turn(self, state: T, now: float) -> bool:
        """Take what holds now; return whether it is new."""
        if state == self.state:
            return False
        self.state, self.since = state, int(now) // _MINUTE_S * _MINUTE_S
        return True


def draw_state(
    manifest: Manifest,
    stored: Stored,
    *,
    gateway: str,
    nodes: Mapping[str, Standing[bool]],
    custodians: Mapping[int, Standing[bool | None]],
    sweeps: Mapping[str, SweepProgress] | None = None,
) -> OperatorState:
    """Return the state, as its first version without a time.

    Args:
        manifest: In force.
        stored: From the database.
        gateway: Short name of this gateway.
        nodes: By SPIFFE id.
        custodians: By index.
        sweeps: How far the running ones are, by operation.
    """
    pairs, partners = _grouped(stored.edges)
    return OperatorState(
        version=1,
        changed_at=0,
        federation=manifest.federation,
        gateway=gateway,
        nodes=tuple(
            NodeState(name=name, party_class=kind, attached=nodes[party].state, since=nodes[party].since)
            for name, kind, party in sorted((one.name, one.party_class, one.id) for one in manifest.nodes)
        ),
        custodians=tuple(
            CustodianState(name=name, serving=custodians[index].state, since=custodians[index].since)
            for index, name in sorted((one.index, one.spiffe.name) for one in manifest.custodians)
        ),
        threshold=manifest.threshold,
        matches=tuple(
            PairMatches(one=one, other=other, counts=dict(sorted(counts.items())))
            for (one, other), counts in sorted(pairs.items())
        ),
        partners=tuple(
            PartnerMatches(partner=name, counts=dict(sorted(counts.items())))
            for name, counts in sorted(partners.items())
        ),
        operations=tuple(_with_sweep(one, sweeps or {}) for one in stored.operations),
    )


def _with_sweep(one: OperationState, sweeps: Mapping[str, SweepProgress]) -> OperationState:
    if one.phase is not OperationPhase.SWEEPING or one.operation not in sweeps:
        return one
    return one.model_copy(update={"sweep": sweeps[one.operation]})


def _grouped(edges: VisibleEdges) -> tuple[dict[tuple[str, str], Counter[str]], dict[str, Counter[str]]]:
    """Group edges by two nodes, and those of partners by the partner alone."""
    pairs: dict[tuple[str, str], Counter[str]] = {}
    partners: dict[str, Counter[str]] = {}
    for (party_a, party_b, number), count in edges.items():
        sides = [SpiffeId.parse(party_a), SpiffeId.parse(party_b)]
        namespace = NAMESPACES_BY_NUMBER[number]
        asking = _partners(sides)
        if asking:
            for name in asking:
                partners.setdefault(name, Counter())[namespace] += count
        else:
            one, other = sorted(side.name for side in sides)
            pairs.setdefault((one, other), Counter())[namespace] += count
    return pairs, partners


def _partners(sides: Iterable[SpiffeId]) -> list[str]:
    return [side.name for side in sides if side.role is Role.PARTNER]
