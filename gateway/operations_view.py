"""What of the operations the hub operator may see: title, state, how many signed, totals of the frozen report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, func, select
from sqlalchemy.exc import SQLAlchemyError

from concordat.api.operator import MAX_OPERATIONS, FrozenReport, OperationPhase, OperationState
from concordat.protocol.report import TOTALS
from concordat.wire.v1 import operations_pb2 as wire
from gateway.operations_schema import operation_table, participant_table, report_table
from gateway.transactions import unavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PHASES: Final = {
    wire.OPERATION_STATE_SWEEPING: OperationPhase.SWEEPING,
    wire.OPERATION_STATE_ACTIVE: OperationPhase.ACTIVE,
    wire.OPERATION_STATE_PROPOSED: OperationPhase.PROPOSED,
    wire.OPERATION_STATE_REPORTED: OperationPhase.REPORTED,
}
_ORDER: Final = tuple(_PHASES.values())
_INCLUDED: Final = "included"


def operation_states(reader: Engine) -> tuple[OperationState, ...]:
    """Return the operations, those in progress first and the newest of each phase first.

    Args:
        reader: An engine for reading.

    Raises:
        UnavailableError: The database cannot be read.
    """
    table, signature = operation_table.c, participant_table.c.signature
    signed = (
        select(participant_table.c.operation, func.count(signature).label("signed"))
        .group_by(participant_table.c.operation)
        .subquery()
    )
    newest = (
        select(report_table.c.operation, func.max(report_table.c.version).label("version"))
        .group_by(report_table.c.operation)
        .subquery()
    )
    newest_report = and_(report_table.c.operation == newest.c.operation, report_table.c.version == newest.c.version)
    query = (
        select(table.charter, table.state, report_table.c.report, signed.c.signed)
        .join(signed, signed.c.operation == table.operation)
        .outerjoin(newest, newest.c.operation == table.operation)
        .outerjoin(report_table, newest_report)
    )
    try:
        with reader.begin() as connection:
            found = [_state(row) for row in connection.execute(query)]
    except SQLAlchemyError as error:
        raise unavailable(error, "the operations cannot be read") from error
    found.sort(key=lambda one: (_ORDER.index(one.phase), -one.starts_at, one.operation))
    return tuple(found[:MAX_OPERATIONS])


def _state(row: Any) -> OperationState:
    charter = wire.Charter.FromString(row.charter)
    return OperationState(
        operation=charter.operation,
        title=charter.title,
        purpose=charter.purpose,
        exercise=charter.exercise,
        phase=_PHASES[row.state],
        starts_at=charter.starts_at,
        ends_at=charter.ends_at,
        participants=len(charter.participants),
        signed=row.signed,
        report=None if row.report is None else _report(row.report),
    )


def _report(raw: bytes) -> FrozenReport:
    report = json.loads(raw)
    return FrozenReport(
        frozen_at=report["frozen_at"],
        totals={name: report["totals"][name] for name in TOTALS},
        matches=report["matches"],
        included=sum(one["state"] == _INCLUDED for one in report["participants"]),
    )
