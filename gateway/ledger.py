"""The ledger: edges, notices, published sequences, the log of checks. One serialisable transaction a group of writes.

    ledger = Ledger(open_engine(path), now_ms=..., random_bytes=...)
    committed = ledger.write([PublishedSequence(party, 7), EdgeCandidate(...)])
    committed.notices       # durable, in each recipient's order; send them now

Everything is idempotent: a write that is repeated after a crash changes nothing and tells nobody. `Ledger` blocks;
`gateway.writer` calls it from one thread and groups what waits meanwhile.
"""

from __future__ import annotations

import hmac
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from concordat.errors import ConfigError
from concordat.wire.v1 import check_pb2 as wire
from gateway import ledger_schema as schema
from gateway.database import READ_ONLY
from gateway.edges import EdgeBook, EdgeCandidate, Telling
from gateway.ledger_drafts import Draft, Grouped
from gateway.ledger_exercises import wipe_exercise
from gateway.ledger_incarnations import INCARNATION_BYTES, Renewal, current_incarnations, incarnate, renew
from gateway.ledger_rows import (
    append_notices,
    has_list,
    know_told,
    last_cursor,
    live_edges,
    log_checks,
    raise_sequences,
    read_marks,
    read_sequences,
    set_position,
    store_edges,
)
from gateway.ledger_view import show_edges, visible_edges
from gateway.ledger_voids import void
from gateway.ledger_withdrawals import take_feedback, take_receipts, withdraw
from gateway.ledger_writes import (
    Committed,
    FeedbackGiven,
    Incarnated,
    LedgerNotice,
    LedgerWrite,
    LoggedCheck,
    PublishedSequence,
    ReceiptTaken,
    TickState,
    Tombstone,
    VoidEdge,
    WipeExercise,
)
from gateway.rules import Rules
from gateway.schema_versions import LEDGER_VERSION, ensure_schema
from gateway.transactions import transact, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.ledger_view import VisibleEdges

__all__ = [
    "Committed",
    "EdgeCandidate",
    "FeedbackGiven",
    "Incarnated",
    "Ledger",
    "LedgerNotice",
    "LedgerWrite",
    "LoggedCheck",
    "PublishedSequence",
    "ReceiptTaken",
    "TickState",
    "Tombstone",
    "VoidEdge",
    "WipeExercise",
]

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_COUNTED: Final = (schema.check_log, schema.notice, schema.party_sequence)


@dataclass(frozen=True, slots=True)
class _Lists:
    """Where recipients' lists end, as of a transaction of this process."""

    position: int = 0
    incarnation: bytes = b""
    last: dict[str, int] = field(default_factory=dict)


class Ledger:
    """A ledger in one database."""

    def __init__(
        self,
        engine: Engine,
        *,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        rules: Rules | None = None,
    ) -> None:
        """Open the ledger, and begin it where the database has none.

        Raises:
            ConfigError: The database holds a ledger of another version, or its tables must be migrated first.
            UnavailableError: The database cannot be reached.
        """
        self._engine = engine
        self._reader = engine.execution_options(**READ_ONLY)
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._rules = rules or Rules()
        self._lists = _Lists()
        try:
            self.incarnation, self._secret = self._open()
        except SQLAlchemyError as error:
            raise unavailable(error, "the ledger cannot be opened") from error

    def __repr__(self) -> str:
        return f"Ledger(incarnation={self.incarnation.hex()[:8]})"

    def write(self, writes: Sequence[LedgerWrite]) -> Committed:
        """Make a group of writes durable in one serialisable transaction.

        Raises:
            UnavailableError: Nothing of the group is known to be durable.
        """
        last: dict[str, int] = {}
        try:
            committed = transact(self._engine, lambda connection: self._write(connection, writes, last))
        except (SQLAlchemyError, OverflowError) as error:
            # SQLite's driver lets a number that is too large through as it is.
            raise unavailable(error, "the ledger did not take a group of writes") from error
        self.incarnation = committed.ledger_incarnation
        self._lists = _Lists(committed.position, committed.ledger_incarnation, last)
        return committed

    def renew(self) -> bytes:
        """Make this another ledger, whose nodes ask everything again; return its incarnation.

        Raises:
            UnavailableError: It is not known to be durable.
        """
        try:
            self.incarnation = transact(self._engine, lambda connection: renew(connection, self._renewal()))
        except SQLAlchemyError as error:
            raise unavailable(error, "the ledger's incarnation could not be renewed") from error
        return self.incarnation

    def open_edges(self, candidates: Sequence[EdgeCandidate]) -> tuple[LedgerNotice, ...]:
        """Open edges and return the notices that go out now.

        Raises:
            UnavailableError: Nothing of the group is known to be durable.
        """
        return self.write(candidates).notices

    def position(self) -> int:
        """Return the position: Unix milliseconds of the last transaction, ascending with each.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        with self._reading() as connection:
            return read_marks(connection)[0]

    def sequences(self) -> dict[str, int]:
        """Return every party's published sequence.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        with self._reading() as connection:
            return read_sequences(connection)

    def sequence_of(self, party: str) -> int:
        """Return one party's published sequence; 0 before its first.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        return self.sequences().get(party, 0)

    def notices_above(self, recipient: str, cursor: int, *, limit: int) -> list[LedgerNotice]:
        """Return a recipient's next notices in order.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        notice = schema.notice.c
        query = (
            select(notice.cursor, notice.content)
            .where(notice.recipient == recipient, notice.cursor > cursor)
            .order_by(notice.cursor)
            .limit(limit)
        )
        with self._reading() as connection:
            return [LedgerNotice(recipient, number, content) for number, content in connection.execute(query)]

    def tick_state(self) -> TickState:
        """Return what the barriers of a tick are judged by, as of one moment.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        with self._reading() as connection:
            return TickState(read_sequences(connection), current_incarnations(connection), read_marks(connection)[1])

    def last_cursor(self, recipient: str) -> int:
        """Return the highest notice of a recipient's list; 0 where it is empty.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        with self._reading() as connection:
            return last_cursor(connection, recipient)

    def live_edges(self, pairs: Sequence[tuple[tuple[str, bytes], tuple[str, bytes]]]) -> list[bytes | None]:
        """Return the live edge of each pair of (party, reference), or None, in the same order.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        references = sorted({reference for pair in pairs for _, reference in pair})
        with self._reading() as connection:
            edges = live_edges(connection, references)
        found = {frozenset(edge.references.items()): edge.edge_id for edge in edges}
        return [found.get(frozenset(pair)) for pair in pairs]

    def visible_edges(self) -> VisibleEdges:
        """Count the live edges of which both sides were told: what the operator may see of them (I11).

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        with self._reading() as connection:
            return visible_edges(connection)

    def figures(self) -> dict[str, int]:
        """Return what the operator may see of the ledger's size: numbers only.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        edge, count = schema.edge, func.count()
        with self._reading() as connection:
            by_state = select(edge.c.state, count).where(edge.c.exercise == "").group_by(edge.c.state)
            states = {state: number for state, number in connection.execute(by_state)}  # noqa: C416 -- dict() of rows has no type
            sizes = {one.name: connection.scalar(select(count).select_from(one)) or 0 for one in _COUNTED}
            position, _ = read_marks(connection)
        return {
            "position": position,
            "edges_live": states.get("live", 0),
            "edges_void": states.get("void", 0),
            "checks": sizes["check_log"],
            "notices": sizes["notice"],
            "parties": sizes["party_sequence"],
        }

    def handle(self, recipient: str, reference: bytes) -> str:
        """Return the handle of a recipient's match, its own for each recipient (I11)."""
        digest = hmac.digest(self._secret, recipient.encode() + b"\0" + reference, "sha256")
        number = int.from_bytes(digest[:8], "big")
        letters = "".join(_CROCKFORD[number >> shift & 31] for shift in range(55, -1, -5))
        return f"M-{letters[:4]}-{letters[4:8]}-{letters[8:]}"

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._reader.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise unavailable(error, "the ledger cannot be read") from error

    def _open(self) -> tuple[bytes, bytes]:
        ensure_schema(self._engine)
        with self._reader.begin() as connection:
            found = _identity(connection)
        if not found:
            found = transact(self._engine, self._found)
        if found.get("version") != LEDGER_VERSION:
            raise ConfigError("the ledger's database is of another version")
        if not self._rules.unique_edges:
            transact(self._engine, schema.drop_live_keys)
        return found["incarnation"], found["handle_secret"]

    def _found(self, connection: Connection) -> dict[str, bytes]:
        """Begin an empty ledger, unless another replica was faster."""
        found = _identity(connection)
        if not found:
            found = {
                "version": LEDGER_VERSION,
                "incarnation": self._random_bytes(INCARNATION_BYTES),
                "handle_secret": self._random_bytes(32),
                "position": b"0",
            }
            connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in found.items()])
        return found

    def _write(self, connection: Connection, writes: Sequence[LedgerWrite], last: dict[str, int]) -> Committed:
        # A time, and not a count of transactions: how many there were would show what silent holders do (I11).
        now_ms = self._now_ms()
        before, incarnation = read_marks(connection)
        last.clear()
        if (before, incarnation) == (self._lists.position, self._lists.incarnation):
            # Nobody has written since, so that the lists end where they did.
            last.update(self._lists.last)
        position = max(before + 1, now_ms)
        set_position(connection, position)
        draft, by_kind = Draft(), Grouped(writes)
        raise_sequences(connection, by_kind[PublishedSequence])
        log_checks(connection, by_kind[LoggedCheck], now_ms)
        withdraw(connection, by_kind[Tombstone], draft, now_ms, close=self._rules.free_withdrawn_keys)
        take_receipts(connection, by_kind[ReceiptTaken], draft)
        take_feedback(connection, by_kind[FeedbackGiven], draft)
        incarnate(connection, by_kind[Incarnated], draft, self._renewal())
        for over in by_kind[WipeExercise]:
            wipe_exercise(connection, over.operation)
        for refused in by_kind[VoidEdge]:
            void(connection, refused, draft, now_ms)
        if candidates := by_kind[EdgeCandidate]:
            self._open_edges(connection, candidates, draft)
        return Committed(
            position,
            append_notices(connection, draft.notices, last),
            refused=tuple(draft.refused),
            visible=draft.visible,
            dead=draft.dead,
            superseded=draft.superseded,
            doubted=draft.doubted,
            renewed_by=draft.renewed_by,
            ledger_incarnation=read_marks(connection)[1] if draft.renewed_by else incarnation,
        )

    def _renewal(self) -> Renewal:
        rules = self._rules
        return Renewal(
            self._random_bytes, self._now_ms(), allowed=rules.renew_restored_ledger, fence=rules.fence_incarnations
        )

    def _open_edges(self, connection: Connection, candidates: list[EdgeCandidate], draft: Draft) -> None:
        references = sorted({r for candidate in candidates for r in (candidate.reference_a, candidate.reference_b)})
        book = EdgeBook(new_id=lambda: self._random_bytes(16), unique=self._rules.unique_edges)
        book.know(live_edges(connection, references))
        know_told(connection, book, references, dead=self._rules.refuse_dead_references)
        draft.dead |= book.dead
        for candidate in candidates:
            book.take(candidate)
        book.flatten()
        now_ms = self._now_ms()
        store_edges(connection, book, now_ms)
        draft.visible = show_edges(connection, book) or draft.visible
        for telling in [one for one in book.tellings if has_list(one.recipient)]:
            draft.tell(telling.recipient, self._notice(telling, now_ms), telling.exercise)

    def _notice(self, telling: Telling, now_ms: int) -> wire.Notice:
        candidate = telling.candidate
        told = wire.Told(
            edge_id=telling.edge_id,
            handle=self.handle(telling.recipient, telling.reference),
            own_reference=telling.reference,
            other=telling.other,
            # A holder knows the ask under the asker's own name for it.
            other_reference=telling.other_reference if telling.asked else candidate.asked_as or telling.other_reference,
            grade=candidate.grade,  # type: ignore[arg-type]  # an int column that holds the enum's values
            told_at_ms=now_ms,
            asked=telling.asked,
            check_id=candidate.check_id,
            sweep_id=candidate.sweep_id,
            decision=candidate.decision,
            answer_mac=candidate.answer_mac if telling.asked else b"",
            look_once=candidate.look_once,
            exercise=bool(telling.exercise),
        )
        return wire.Notice(told=told)


def _identity(connection: Connection) -> dict[str, bytes]:
    rows = connection.execute(select(schema.meta.c.key, schema.meta.c.value))
    return {key: value for key, value in rows}  # noqa: C416 -- dict() of rows has no type
