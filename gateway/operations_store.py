"""Operations in the gateway's database: charters, signatures, sealed keys, states, frozen reports (3.6 (1), (3), (6)).

    store = OperationStore(engine, manifest=lambda: home.manifest, clock=clock)
    digest = store.propose(opener, charter, signature, keys)

Whoever is no participant gets the same refusal as for an operation that does not exist (I8). Every change is one
transaction and repeating it changes nothing; there is one charter an id and one report a charter, in versions of which
each is kept. A charter that is near to an earlier one needs a second officer (3.6 (7)). The store blocks; the service
calls it from a thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from concordat.errors import ConcordatError, ProtocolError, RefusedError
from concordat.identity.names import Role
from concordat.protocol.charter import accept_charter, accept_sealed_key, accept_signature
from concordat.protocol.near import require_four_eyes
from concordat.wire.v1 import operations_pb2 as wire
from gateway import operations_rows as rows
from gateway.database import READ_ONLY
from gateway.operations_schema import operation_table, participant_table
from gateway.schema_versions import ensure_schema
from gateway.transactions import transact, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest
    from gateway.operations_rows import Frozen, Operation
    from gateway.report import ReportBasis

T = TypeVar("T")

MAX_VERSIONS: Final = 100
WIPE_GRACE_S: Final = 900.0
"""A sweep that began in time may run this long after the end of its exercise."""
MAX_CIPHERTEXT: Final = 4096


class OperationStore:
    """All operations of a hub."""

    def __init__(self, engine: Engine, *, manifest: Callable[[], Manifest], clock: Clock) -> None:
        """Open the tables.

        Raises:
            ConfigError: The tables must be migrated first.
            UnavailableError: The database cannot be reached.
        """
        self._engine = engine
        self._reader = engine.execution_options(**READ_ONLY)
        self._manifest = manifest
        self._clock = clock
        self._changed: Callable[[], object] | None = None
        ensure_schema(engine)

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed`, in the thread that wrote, after each change."""
        self._changed = changed

    def propose(
        self, caller: str, raw: bytes, signature: bytes, keys: Sequence[wire.SealedKey]
    ) -> tuple[Operation, bool]:
        """Take a charter of its opener; return the operation, and whether it is new.

        Raises:
            ProtocolError: The charter is out of its limits, or the keys are not one a participant.
            IdentityError: A signature does not fit.
            RefusedError: The caller is not the opener, the id belongs to another charter, or, with code
                `near_duplicate`, the charter is near to one that all have signed and names no second officer.
        """
        manifest = self._manifest()
        charter = accept_charter(raw, signature, manifest=manifest)
        if charter.opener != caller:
            raise RefusedError("a charter is proposed by its opener")
        if charter.manifest_hash != manifest.hash:
            raise RefusedError("the charter names another manifest", code="stale_manifest")
        if any(manifest.party_by_id(party).spiffe.role is not Role.NODE for party in charter.participants):
            raise RefusedError("a participant is no node")
        if charter.ends_at < self._clock.now():
            raise RefusedError("the charter has ended", code="expired")
        _check_keys(raw, charter, keys, manifest)

        def work(connection: Connection) -> tuple[Operation, bool]:
            held = rows.find(connection, charter.operation)
            if held is not None:
                if held.raw != raw:
                    raise RefusedError("the operation's id belongs to another charter")
                return held, False
            require_four_eyes(charter, [one.charter for one in rows.near_ones(connection, charter)])
            rows.add(connection, raw, charter, keys)
            rows.sign(connection, charter.operation, charter.opener, signature)
            return rows.get(connection, charter.operation, caller), True

        return self._write(work)

    def get(self, caller: str, operation: str) -> Operation:
        """Return an operation of the caller's.

        Raises:
            RefusedError: With code `operation_unknown`, where there is none or the caller takes no part.
        """
        with _translated(), self._reader.begin() as connection:
            return rows.get(connection, operation, caller)

    def listed(self, caller: str) -> tuple[Operation, ...]:
        """Return the operations in which the caller takes part, ascending by id."""
        query = (
            select(participant_table.c.operation)
            .where(participant_table.c.party == caller)
            .order_by(participant_table.c.operation)
        )
        with _translated(), self._reader.begin() as connection:
            return tuple(rows.get(connection, name, caller) for name in connection.scalars(query).all())

    def countersign(self, caller: str, operation: str, signature: bytes) -> tuple[Operation, bool]:
        """Add a participant's signature; return the operation, and whether it became active now.

        Raises:
            RefusedError: Unknown to the caller, or ended; `near_duplicate` where a charter that is near was signed by
                all since this one was proposed.
            IdentityError: The signature does not fit.
        """

        def work(connection: Connection) -> tuple[Operation, bool]:
            held = rows.get(connection, operation, caller)
            accept_signature(held.raw, caller, signature, manifest=self._manifest())
            if caller not in held.unsigned:
                return held, False
            if held.charter.ends_at < self._clock.now():
                raise RefusedError("the charter has ended", code="expired")
            require_four_eyes(held.charter, [one.charter for one in rows.near_ones(connection, held.charter)])
            rows.sign(connection, operation, caller, signature)
            signed = rows.get(connection, operation, caller)
            active = not signed.unsigned
            if active:
                rows.activate(connection, operation)
            return rows.get(connection, operation, caller), active

        return self._write(work)

    def start_sweep(self, caller: str, operation: str, sweep_id: bytes) -> Operation:
        """Note that a sweep runs; one that a stopped gateway left behind gives way to the new one.

        Raises:
            RefusedError: Unknown to the caller, not its opener, not signed by all, or out of time; `near_duplicate`
                where one that is near was signed before, may still be swept, and has no report to round against.
        """

        def work(connection: Connection) -> Operation:
            held = rows.get(connection, operation, caller)
            if held.charter.opener != caller:
                raise RefusedError("a sweep is started by the operation's opener")
            if held.state not in rows.SIGNED_BY_ALL:
                raise RefusedError("the operation is not signed by all", public_detail="not active")
            now, skew_s = self._clock.now(), self._manifest().max_skew_s
            if not held.charter.starts_at - skew_s <= now <= held.charter.ends_at + skew_s:
                raise RefusedError("the operation has not begun or has ended", code="expired")
            if rows.versions(connection, operation) >= MAX_VERSIONS:
                raise RefusedError("the operation has too many reports", code="too_large")
            _require_basis(connection, held, now - skew_s)
            rows.set_state(connection, operation, wire.OPERATION_STATE_SWEEPING, sweep_id=sweep_id)
            return rows.get(connection, operation, caller)

        return self._write(work)

    def sweeping(self) -> tuple[Operation, ...]:
        """Return the operations of which a sweep runs, or ran when a gateway stopped; ascending by id."""
        query = (
            select(operation_table.c.operation)
            .where(operation_table.c.state == wire.OPERATION_STATE_SWEEPING)
            .order_by(operation_table.c.operation)
        )
        with _translated(), self._reader.begin() as connection:
            found = [rows.find(connection, name) for name in connection.scalars(query).all()]
        return tuple(one for one in found if one is not None)

    def abandon_sweep(self, operation: str, sweep_id: bytes) -> None:
        """Note that a sweep ended without a report, so that it may be started again."""

        def work(connection: Connection) -> None:
            held = rows.find(connection, operation)
            if held is not None and _runs(held, sweep_id):
                reported = rows.versions(connection, operation)
                state = wire.OPERATION_STATE_REPORTED if reported else wire.OPERATION_STATE_ACTIVE
                rows.set_state(connection, operation, state)

        self._write(work)

    def basis(self, operation: str) -> ReportBasis:
        """Return what the next version of a report is held against; it stays so while the sweep runs.

        Raises:
            ConcordatError: There is no such operation any more.
        """
        with _translated(), self._reader.begin() as connection:
            held = rows.find(connection, operation)
            if held is None:
                raise ConcordatError("an operation that is gone has no report")
            return rows.basis_of(connection, held)

    def freeze(self, operation: str, sweep_id: bytes, report: bytes, signature: bytes) -> int:
        """Write the report of a sweep, once and for all, as the next version; return its number.

        Raises:
            ConcordatError: The sweep is not the one that runs; its report is not taken.
        """

        def work(connection: Connection) -> int:
            held = rows.find(connection, operation)
            if held is None or not _runs(held, sweep_id):
                raise ConcordatError("a sweep that no longer runs has no report")
            rows.set_state(connection, operation, wire.OPERATION_STATE_REPORTED)
            return rows.add_report(connection, operation, report, signature)

        return self._write(work)

    def report(self, caller: str, operation: str, version: int = 0) -> Frozen:
        """Return a version of the frozen report; 0 is the newest.

        Raises:
            RefusedError: Unknown to the caller, no report yet, or no such version.
        """
        with _translated(), self._reader.begin() as connection:
            rows.get(connection, operation, caller)
            return rows.frozen(connection, operation, version)

    def report_for_reader(self, reader: str, operation: str, version: int = 0) -> Frozen:
        """Return a version of the frozen report to a partner that the charter names as a reader.

        Raises:
            RefusedError: With code `operation_unknown` where there is none, where not all participants have signed,
                or where the reader is not named (I8); with `refused`, where there is no report or version yet.
        """
        with _translated(), self._reader.begin() as connection:
            held = rows.find(connection, operation)
            # Before all have signed, the readers are what the opener alone wants.
            if held is None or reader not in held.charter.readers or held.unsigned:
                raise RefusedError("no such operation, or the caller is no reader of it", code="operation_unknown")
            return rows.frozen(connection, operation, version)

    def running_exercises(self) -> dict[str, frozenset[str]]:
        """Return the participants of each exercise that all have signed, that has begun and that is not over."""
        now, skew_s = self._clock.now(), self._manifest().max_skew_s
        query = select(operation_table.c.charter).where(operation_table.c.number.is_not(None))
        with _translated(), self._reader.begin() as connection:
            charters = [wire.Charter.FromString(raw) for raw in connection.scalars(query)]
        return {
            one.operation: frozenset(one.participants)
            for one in charters
            if one.exercise and one.starts_at - skew_s <= now <= one.ends_at + skew_s
        }

    def ended_exercises(self) -> tuple[str, ...]:
        """Return the exercises that are to be wiped, ascending by id."""
        before = self._clock.now() - self._manifest().max_skew_s - WIPE_GRACE_S
        query = select(operation_table.c.operation, operation_table.c.charter).order_by(operation_table.c.operation)
        with _translated(), self._reader.begin() as connection:
            found = [(row.operation, wire.Charter.FromString(row.charter)) for row in connection.execute(query)]
        return tuple(name for name, charter in found if charter.exercise and charter.ends_at < before)

    def wipe(self, operation: str) -> None:
        """Delete an exercise that has ended: charter, keys, signatures, all versions of its report.

        Raises:
            ConcordatError: It is no exercise, or has not ended.
        """
        if operation not in self.ended_exercises():
            raise ConcordatError("only exercises that have ended are wiped")
        self._write(lambda connection: rows.remove(connection, operation))

    def _write(self, work: Callable[[Connection], T]) -> T:
        with _translated():
            result = transact(self._engine, work)
        if self._changed is not None:
            self._changed()
        return result


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise unavailable(error, "the database of operations cannot be reached") from error


def _check_keys(raw: bytes, charter: wire.Charter, keys: Sequence[wire.SealedKey], manifest: Manifest) -> None:
    if sorted(key.recipient for key in keys) != list(charter.participants):
        raise ProtocolError("the operation's keys are not one a participant")
    for key in keys:
        if len(key.ciphertext) > MAX_CIPHERTEXT:
            raise ProtocolError("a sealed operation key is too long", code="too_large")
        accept_sealed_key(key, raw, manifest=manifest)


def _require_basis(connection: Connection, held: Operation, now: float) -> None:
    """Have what is near and was signed before report first: held against each other later, both would be exact."""
    for one in rows.near_ones(connection, held.charter):
        if one.number < held.number and not one.versions and one.charter.ends_at >= now:
            raise RefusedError(
                "an earlier operation that is nearly the same has no report yet",
                code="near_duplicate",
                public_detail="the earlier operation has no report yet",
            )


def _runs(held: Operation, sweep_id: bytes) -> bool:
    return held.state == wire.OPERATION_STATE_SWEEPING and held.sweep_id == sweep_id
