"""Rows of operations: what `gateway.operations_store` reads and writes inside a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from concordat.errors import RefusedError
from concordat.protocol.charter import charter_hash
from concordat.protocol.near import near
from concordat.wire.v1 import operations_pb2 as wire
from gateway.operations_schema import operation_table, participant_table, report_table
from gateway.report import ReportBasis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

SIGNED_BY_ALL: Final = (
    wire.OPERATION_STATE_ACTIVE,
    wire.OPERATION_STATE_SWEEPING,
    wire.OPERATION_STATE_REPORTED,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the database holds it; `number` is 0 until all have signed."""

    charter: wire.Charter
    raw: bytes
    state: int
    sweep_id: bytes
    signatures: tuple[wire.PartySignature, ...]
    keys: tuple[wire.SealedKey, ...]
    number: int = 0

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the charter."""
        return charter_hash(self.raw)

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Return the participants whose signature is missing, ascending."""
        signed = {one.party for one in self.signatures}
        return tuple(party for party in self.charter.participants if party not in signed)


class Frozen(NamedTuple):
    """A version of a report, exactly as signed, and how many versions there are."""

    report: bytes
    signature: bytes
    versions: int


class Signed(NamedTuple):
    """A charter that all have signed, and how many reports it has."""

    charter: wire.Charter
    raw: bytes
    number: int
    versions: int


def find(connection: Connection, operation: str) -> Operation | None:
    """Return an operation, None where there is none."""
    row = connection.execute(select(operation_table).where(operation_table.c.operation == operation)).first()
    if row is None:
        return None
    table = participant_table.c
    parties = connection.execute(
        select(participant_table).where(table.operation == operation).order_by(table.party)
    ).all()
    return Operation(
        charter=wire.Charter.FromString(row.charter),
        raw=row.charter,
        state=row.state,
        sweep_id=row.sweep_id or b"",
        signatures=tuple(
            wire.PartySignature(party=one.party, signature=one.signature) for one in parties if one.signature
        ),
        keys=tuple(
            wire.SealedKey(recipient=one.party, ciphertext=one.key_ciphertext, signature=one.key_signature)
            for one in parties
        ),
        number=row.number or 0,
    )


def get(connection: Connection, operation: str, caller: str) -> Operation:
    """Return an operation of the caller's.

    Raises:
        RefusedError: With code `operation_unknown`; one refusal, whether it does not exist or is not the caller's (I8).
    """
    held = find(connection, operation)
    if held is None or caller not in held.charter.participants:
        raise RefusedError("no such operation, or the caller takes no part in it", code="operation_unknown")
    return held


def add(connection: Connection, raw: bytes, charter: wire.Charter, keys: Sequence[wire.SealedKey]) -> None:
    """Write a charter that was proposed, with a sealed key for each participant."""
    connection.execute(
        insert(operation_table).values(
            operation=charter.operation,
            charter=raw,
            charter_hash=charter_hash(raw),
            opener=charter.opener,
            state=wire.OPERATION_STATE_PROPOSED,
        )
    )
    rows = [
        {
            "operation": charter.operation,
            "party": key.recipient,
            "key_ciphertext": key.ciphertext,
            "key_signature": key.signature,
        }
        for key in keys
    ]
    connection.execute(insert(participant_table), rows)


def sign(connection: Connection, operation: str, party: str, signature: bytes) -> None:
    """Write a participant's signature."""
    table = participant_table
    connection.execute(
        update(table).where(table.c.operation == operation, table.c.party == party).values(signature=signature)
    )


def set_state(connection: Connection, operation: str, state: int, **columns: Any) -> None:
    """Write an operation's state, and other columns."""
    table = operation_table
    connection.execute(update(table).where(table.c.operation == operation).values(state=state, **columns))


def activate(connection: Connection, operation: str) -> None:
    """Note that all have signed; later ones have higher numbers."""
    highest = connection.execute(select(func.max(operation_table.c.number))).scalar() or 0
    set_state(connection, operation, wire.OPERATION_STATE_ACTIVE, number=highest + 1)


def add_report(connection: Connection, operation: str, report: bytes, signature: bytes) -> int:
    """Write the next version of a report; return its number."""
    version = versions(connection, operation) + 1
    row = {"operation": operation, "version": version, "report": report, "signature": signature}
    connection.execute(insert(report_table).values(**row))
    return version


def versions(connection: Connection, operation: str) -> int:
    """Return how many versions of a report there are."""
    query = select(func.max(report_table.c.version)).where(report_table.c.operation == operation)
    return connection.execute(query).scalar() or 0


def frozen(connection: Connection, operation: str, version: int = 0) -> Frozen:
    """Return a version of a report; 0 is the newest.

    Raises:
        RefusedError: There is no such version.
    """
    newest = versions(connection, operation)
    if not newest:
        raise RefusedError("the operation has no report yet", public_detail="no report yet")
    table = report_table.c
    query = select(table.report, table.signature).where(
        table.operation == operation, table.version == (version or newest)
    )
    row = connection.execute(query).first()
    if row is None:
        raise RefusedError("the report has no such version", public_detail=f"the newest version is {newest}")
    return Frozen(row.report, row.signature, newest)


def near_ones(connection: Connection, held: wire.Charter) -> list[Signed]:
    """Return the charters near to one that all have signed, those that were signed first before the others."""
    table = operation_table.c
    counts = (
        select(report_table.c.operation, func.count().label("versions")).group_by(report_table.c.operation).subquery()
    )
    query = (
        select(table.charter, table.number, counts.c.versions)
        .outerjoin(counts, counts.c.operation == table.operation)
        .where(table.number.is_not(None))
        .order_by(table.number)
    )
    found = []
    for row in connection.execute(query):
        charter = wire.Charter.FromString(row.charter)
        if near(held, charter):
            found.append(Signed(charter, row.charter, row.number, row.versions or 0))
    return found


def basis_of(connection: Connection, held: Operation) -> ReportBasis:
    """Return what the next version of an operation's report is held against."""
    last = versions(connection, held.charter.operation)
    previous = frozen(connection, held.charter.operation).report if last else None
    earlier = [one for one in near_ones(connection, held.charter) if one.number < held.number]
    if not earlier:
        return ReportBasis(previous)
    # The first that has a report: its figures are the ones that the later ones are held against, and stay so.
    first = next((one for one in earlier if one.versions), None)
    if first is None:
        return ReportBasis(previous, near=True, family=charter_hash(earlier[0].raw))
    return ReportBasis(
        previous,
        near=True,
        earlier=frozen(connection, first.charter.operation, 1).report,
        family=charter_hash(first.raw),
    )


def remove(connection: Connection, operation: str) -> None:
    """Delete an operation, its keys, signatures and reports."""
    for table in (report_table, participant_table, operation_table):
        connection.execute(delete(table).where(table.c.operation == operation))
