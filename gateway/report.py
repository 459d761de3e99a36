"""The after-action report as the gateway freezes and signs it (docs/report.md, docs/protocol.md 3.6 (6))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.protocol.report import REPORT_DOMAIN, ROW_OF_NAMESPACE, encode_report, listed, totals

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from gateway.operations_store import Operation
    from gateway.sweep import SweepResult

FORMAT_VERSION: Final = 1


def build_report(operation: Operation, result: SweepResult, *, gateway: str, frozen_at: int) -> bytes:
    """Return the canonical JSON of an operation's report.

    Args:
        operation: The operation, with the sweep that was made.
        result: What the sweep counted, and who took part.
        gateway: SPIFFE id of the gateway that freezes it.
        frozen_at: Unix seconds.
    """
    namespaces = listed(result.counts)
    return encode_report(
        {
            "version": FORMAT_VERSION,
            "operation": operation.charter.operation,
            "title": operation.charter.title,
            "charter_hash": operation.hash.hex(),
            "federation": operation.charter.federation,
            "gateway": gateway,
            "sweep_id": operation.sweep_id.hex(),
            "frozen_at": frozen_at,
            "exercise": operation.charter.exercise,
            "totals": totals(result.counts),
            "per_namespace": namespaces,
            "uncounted": sorted(name for name in namespaces if name not in ROW_OF_NAMESPACE),
            "matches": result.shared_values,
            "participants": [
                {"party": one.party, "size": one.size, "state": one.state} for one in result.participations
            ],
        }
    )


def sign_report(report: bytes, key: SigningKey) -> bytes:
    """Return the gateway's signature of a report."""
    return key.sign(REPORT_DOMAIN, report)
