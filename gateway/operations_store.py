"""Operations in the gateway's database: charters, signatures, sealed keys, states, frozen reports (3.6 (1), (3), (6)).

    store = OperationStore(engine, manifest=lambda: home.manifest, clock=clock)
    digest = store.propose(opener, charter, signature, keys)

Whoever is no participant gets the same refusal as for an operation that does not exist (I8). Every change is one
transaction and repeating it changes nothing; there is one charter an id and one report a charter. The store blocks; the
service calls it from a thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from concordat.errors import ConcordatError, ProtocolError, RefusedError
from concordat.identity.names import Role
from concordat.protocol.charter import accept_charter, accept_sealed_key, accept_signature, charter_hash
from concordat.wire.v1 import operations_pb2 as wire
from gateway.database import READ_ONLY
from gateway.operations_schema import operation_table, participant_table
from gateway.schema_versions import ensure_schema
from gateway.transactions import transact, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest

T = TypeVar("T")

REPORT_VERSION: Final = 1
MAX_CIPHERTEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the database holds it."""

    charter: wire.Charter
    raw: bytes
    state: int
    sweep_id: bytes
    signatures: tuple[wire.PartySignature, ...]
    keys: tuple[wire.SealedKey, ...]

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the charter."""
        return charter_hash(self.raw)

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Return the participants whose signature is missing, ascending."""
        signed = {one.party for one in self.signatures}
        return tuple(party for party in self.charter.participants if party not in signed)


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
            RefusedError: The caller is not the opener, or the id belongs to another charter.
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
            held = _find(connection, charter.operation)
            if held is not None:
                if held.raw != raw:
                    raise RefusedError("the operation's id belongs to another charter")
                return held, False
            _insert(connection, raw, charter, keys)
            _sign(connection, charter.operation, charter.opener, signature)
            return _get(connection, charter.operation, caller), True

        return self._write(work)

    def get(self, caller: str, operation: str) -> Operation:
        """Return an operation of the caller's.

        Raises:
            RefusedError: With code `operation_unknown`, where there is none or the caller takes no part.
        """
        with _translated(), self._reader.begin() as connection:
            return _get(connection, operation, caller)

    def listed(self, caller: str) -> tuple[Operation, ...]:
        """Return the operations in which the caller takes part, ascending by id."""
        query = (
            select(participant_table.c.operation)
            .where(participant_table.c.party == caller)
            .order_by(participant_table.c.operation)
        )
        with _translated(), self._reader.begin() as connection:
            return tuple(_get(connection, name, caller) for name in connection.scalars(query).all())

    def countersign(self, caller: str, operation: str, signature: bytes) -> tuple[Operation, bool]:
        """Add a participant's signature; return the operation, and whether it became active now.

        Raises:
            RefusedError: Unknown to the caller, or ended.
            IdentityError: The signature does not fit.
        """

        def work(connection: Connection) -> tuple[Operation, bool]:
            held = _get(connection, operation, caller)
            accept_signature(held.raw, caller, signature, manifest=self._manifest())
            if caller not in held.unsigned:
                return held, False
            if held.charter.ends_at < self._clock.now():
                raise RefusedError("the charter has ended", code="expired")
            _sign(connection, operation, caller, signature)
            signed = _get(connection, operation, caller)
            active = not signed.unsigned
            if active:
                _set_state(connection, operation, wire.OPERATION_STATE_ACTIVE)
            return _get(connection, operation, caller), active

        return self._write(work)

    def start_sweep(self, caller: str, operation: str, sweep_id: bytes) -> Operation:
        """Note that a sweep runs; one that a stopped gateway left behind gives way to the new one.

        Raises:
            RefusedError: Unknown to the caller, not its opener, not signed by all, reported already, or out of time.
        """

        def work(connection: Connection) -> Operation:
            held = _get(connection, operation, caller)
            if held.charter.opener != caller:
                raise RefusedError("a sweep is started by the operation's opener")
            if held.state not in (wire.OPERATION_STATE_ACTIVE, wire.OPERATION_STATE_SWEEPING):
                raise RefusedError("the operation is not signed by all, or has its report", public_detail="not active")
            now, skew_s = self._clock.now(), self._manifest().max_skew_s
            if not held.charter.starts_at - skew_s <= now <= held.charter.ends_at + skew_s:
                raise RefusedError("the operation has not begun or has ended", code="expired")
            _set_state(connection, operation, wire.OPERATION_STATE_SWEEPING, sweep_id=sweep_id)
            return _get(connection, operation, caller)

        return self._write(work)

    def abandon_sweep(self, operation: str, sweep_id: bytes) -> None:
        """Note that a sweep ended without a report, so that it may be started again."""

        def work(connection: Connection) -> None:
            held = _find(connection, operation)
            if held is not None and _runs(held, sweep_id):
                _set_state(connection, operation, wire.OPERATION_STATE_ACTIVE)

        self._write(work)

    def freeze(self, operation: str, sweep_id: bytes, report: bytes, signature: bytes) -> int:
        """Write the report of a sweep, once and for all; return its version.

        Raises:
            ConcordatError: The sweep is not the one that runs; its report is not taken.
        """

        def work(connection: Connection) -> int:
            held = _find(connection, operation)
            if held is None or not _runs(held, sweep_id):
                raise ConcordatError("a sweep that no longer runs has no report")
            _set_state(connection, operation, wire.OPERATION_STATE_REPORTED, report=report, report_signature=signature)
            return REPORT_VERSION

        return self._write(work)

    def report(self, caller: str, operation: str) -> tuple[bytes, bytes]:
        """Return the frozen report and its signature.

        Raises:
            RefusedError: Unknown to the caller, or there is no report yet.
        """
        with _translated(), self._reader.begin() as connection:
            return _frozen(connection, _get(connection, operation, caller))

    def report_for_reader(self, reader: str, operation: str) -> tuple[bytes, bytes]:
        """Return the frozen report and its signature to a partner that the charter names as a reader.

        Raises:
            RefusedError: With code `operation_unknown` where there is none, where not all participants have signed,
                or where the reader is not named (I8); with `refused`, where there is no report yet.
        """
        with _translated(), self._reader.begin() as connection:
            held = _find(connection, operation)
            # Before all have signed, the readers are what the opener alone wants.
            if held is None or reader not in held.charter.readers or held.unsigned:
                raise RefusedError("no such operation, or the caller is no reader of it", code="operation_unknown")
            return _frozen(connection, held)

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


def _insert(connection: Connection, raw: bytes, charter: wire.Charter, keys: Sequence[wire.SealedKey]) -> None:
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


def _sign(connection: Connection, operation: str, party: str, signature: bytes) -> None:
    table = participant_table
    connection.execute(
        update(table).where(table.c.operation == operation, table.c.party == party).values(signature=signature)
    )


def _set_state(connection: Connection, operation: str, state: int, **columns: bytes) -> None:
    table = operation_table
    connection.execute(update(table).where(table.c.operation == operation).values(state=state, **columns))


def _runs(held: Operation, sweep_id: bytes) -> bool:
    return held.state == wire.OPERATION_STATE_SWEEPING and held.sweep_id == sweep_id


def _get(connection: Connection, operation: str, caller: str) -> Operation:
    held = _find(connection, operation)
    # I8: one refusal, whether the operation does not exist or is not the caller's.
    if held is None or caller not in held.charter.participants:
        raise RefusedError("no such operation, or the caller takes no part in it", code="operation_unknown")
    return held


def _frozen(connection: Connection, held: Operation) -> tuple[bytes, bytes]:
    if held.state != wire.OPERATION_STATE_REPORTED:
        raise RefusedError("the operation has no report yet", public_detail="no report yet")
    table = operation_table.c
    query = select(table.report, table.report_signature).where(table.operation == held.charter.operation)
    row = connection.execute(query).one()
    return row.report, row.report_signature


def _find(connection: Connection, operation: str) -> Operation | None:
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
    )
