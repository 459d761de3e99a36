"""From a row of a file to what is stored of it: read by the canonical rules, handled as line and case say (3.3).

A reader holds no key and no store, so that worker processes may be given one (services.node.worker_pool).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.canon import RULES_VERSIONS, Context, Grade, read
from concordat.errors import InputError
from concordat.vocabulary import Assessment
from services.node.record import Refusal
from services.node.store.records import NewRecord
from services.node.store.values import STRONG, WEAK, CanonicalValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.canon import Kind, Reading
    from services.node.handling import Desk, Handled
    from services.node.record import Row

_GRADES: Final = {Grade.STRONG: STRONG, Grade.WEAK: WEAK}
_ASSESSED: Final = {None: 0, Assessment.CHECKED: 0, Assessment.SUSPECTED: 1, Assessment.CONFIRMED: 2}
Numbered = tuple[int, "Row | Refusal"]


class RowChunk(NamedTuple):
    """Rows as they stand in the file, and how many bytes of it were read for them and all before."""

    rows: list[Numbered]
    read_bytes: int


class ReadChunk(NamedTuple):
    """The records of a chunk of rows."""

    records: list[NewRecord]
    read_bytes: int


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the rows of one case's files; the same rows give the same records in every process."""

    desk: Desk
    reader: Callable[[Kind, str, Context], Reading] = read

    def read_chunk(self, chunk: RowChunk) -> ReadChunk:
        """Return the records of a chunk, in its order."""
        return ReadChunk([self.record(number, item) for number, item in chunk.rows], chunk.read_bytes)

    def record(self, number: int, item: Row | Refusal) -> NewRecord:
        """Return the record of one row; what cannot be read becomes a refused one."""
        if isinstance(item, Refusal):
            return NewRecord(item=number, line=item.line, typed=item.typed, code=item.code, reason=item.reason)
        context = Context(
            home_region=self.desk.own.region or "",
            region=item.region,
            origin=item.context.origin,
            destination=item.context.destination,
            platform=item.platform,
        )
        try:
            reading = self.reader(item.kind, item.typed, context)
            handled = self.desk.handle(item)
        except InputError as error:
            return _refused(number, item, error)
        return _accepted(number, item, reading, handled)


def _refused(number: int, row: Row, error: InputError) -> NewRecord:
    return NewRecord(
        item=number,
        line=row.line,
        typed=row.typed,
        code=error.code,
        reason=error.message,
        kind=row.kind.value,
        region=row.region,
        row=_details(row),
    )


def _accepted(number: int, row: Row, reading: Reading, handled: Handled) -> NewRecord:
    return NewRecord(
        item=number,
        line=row.line,
        typed=row.typed,
        kind=row.kind.value,
        region=reading.region or row.region,
        region_assumed=reading.region_assumed,
        notes=",".join(reading.notes),
        trafficking=_ASSESSED[row.assessment.thb],
        abuse=_ASSESSED[row.assessment.csa],
        row=_details(row),
        policy=handled.policy.content(),
        proposed=None if handled.proposed is None else handled.proposed.content(),
        role=row.role.value,
        keep_until=handled.keep_until.isoformat(),
        values=tuple(
            CanonicalValue(one.namespace.value, RULES_VERSIONS[one.namespace], one.canonical, _GRADES[one.grade])
            for one in reading.values
        ),
    )


def _details(row: Row) -> str:
    """Return what stands beside an identifier as JSON, words as they are written, empty ones left out."""
    context = row.context
    fields: dict[str, object] = {
        "platform": row.platform,
        "platform_category": context.platform_category,
        "exploitation": context.exploitation,
        "use": context.use,
        "at_risk_group": context.at_risk_group,
        "origin": list(context.origin),
        "destination": list(context.destination),
        "role": row.role,
        "evaluation": f"{row.source_evaluation.value}{row.information_evaluation.value}",
        "observed_from": row.observed_from and row.observed_from.isoformat(),
        "observed_to": row.observed_to and row.observed_to.isoformat(),
        "keep_until": row.keep_until and row.keep_until.isoformat(),
        "thb": row.assessment.thb,
        "csa": row.assessment.csa,
        "handling": row.handling,
        "notes": row.notes,
        "client_ref": row.client_ref,
    }
    return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)
