"""The after-action report as the gateway freezes and signs it (docs/report.md, docs/protocol.md 3.6 (6), (7))."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.protocol.report import REPORT_DOMAIN, ROW_OF_NAMESPACE, TOTALS, difference, encode_report, listed, totals
from gateway.report_rounding import Rounding

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from gateway.operations_rows import Operation
    from gateway.sweep.effects import SweepResult

FORMAT_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class ReportBasis:
    """What a report is held against.

    Attributes:
        previous: The version before, exactly as signed; None for the first.
        near: Whether the charter is near to an earlier one, so that its figures are rounded.
        earlier: The report of that one, exactly as signed; None where there is none.
        family: Hash of the charter that the figures are held against.
    """

    previous: bytes | None = None
    near: bool = False
    earlier: bytes | None = None
    family: bytes = b""


@dataclass(frozen=True, slots=True)
class _Figures:
    totals: dict[str, int]
    per_namespace: dict[str, int]
    matches: int
    sizes: list[int | None]


def build_report(
    operation: Operation, result: SweepResult, basis: ReportBasis, *, gateway: str, key: SigningKey, frozen_at: int
) -> bytes:
    """Return the canonical JSON of a version of an operation's report.

    Args:
        operation: The operation, with the sweep that was made.
        result: What the sweep counted, and who took part.
        basis: Earlier reports.
        gateway: SPIFFE id of the gateway that freezes it.
        key: The gateway's; the secret of rounding comes from it.
        frozen_at: Unix seconds.
    """
    charter = operation.charter
    figures = _figures(operation, result, basis, key)
    previous = None if basis.previous is None else json.loads(basis.previous)
    report: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "version": 1 if previous is None else previous["version"] + 1,
        "previous": None if basis.previous is None else hashlib.sha256(basis.previous).hexdigest(),
        "operation": charter.operation,
        "title": charter.title,
        "charter_hash": operation.hash.hex(),
        "federation": charter.federation,
        "gateway": gateway,
        "sweep_id": operation.sweep_id.hex(),
        "frozen_at": frozen_at,
        "exercise": charter.exercise,
        "rounded": basis.near,
        "totals": figures.totals,
        "per_namespace": figures.per_namespace,
        "uncounted": sorted(name for name in figures.per_namespace if name not in ROW_OF_NAMESPACE),
        "matches": figures.matches,
        "participants": [
            {"party": one.party, "state": one.state, "size": size, "commitment": one.commitment}
            for one, size in zip(result.participations, figures.sizes, strict=True)
        ],
    }
    report["difference"] = None if previous is None else difference(previous, report)
    return encode_report(report)


def sign_report(report: bytes, key: SigningKey) -> bytes:
    """Return the gateway's signature of a report."""
    return key.sign(REPORT_DOMAIN, report)


def _figures(operation: Operation, result: SweepResult, basis: ReportBasis, key: SigningKey) -> _Figures:
    exact = _Figures(
        totals(result.counts),
        listed(result.counts),
        result.shared_values,
        [one.size for one in result.participations],
    )
    if not basis.near:
        return exact
    earlier = None if basis.earlier is None else json.loads(basis.earlier)
    rounding = Rounding(key, basis.family, earlier)
    return _Figures(
        rounding.figures("totals", exact.totals, TOTALS),
        rounding.figures("per_namespace", exact.per_namespace, operation.charter.namespaces),
        rounding.matches(exact.matches),
        [rounding.size(one.party, one.size) for one in result.participations],
    )
