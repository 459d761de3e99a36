"""The node's truth: one SQLite file, opened by the running node and by `submit` at the same time.

    with Store.open(home.path / "store.sqlite") as store:
        batch = store.take_unpublished(epoch=1, limit=1000)

Every method is one transaction: writing ones begin IMMEDIATE and are on disk when they return (WAL, synchronous=FULL),
reading ones see one moment. A store may be used from several threads; calls then take turns. What the methods do is
written in the modules beside this one, which take the connection.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, Protocol, Self

from concordat.canon.common_values import common_reason
from concordat.clock import SystemClock
from concordat.errors import ConfigError
from services.node.store import checks, conditions, handling, inbox, meta, publishing, values
from services.node.store.database import Database
from services.node.store.schema import SCHEMA, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from concordat.clock import Clock
    from services.node.store.conditions import Condition, Incident
    from services.node.store.handling import AskedValue, Holding, Place
    from services.node.store.rows import (
        Batch,
        CoincidenceRow,
        Hit,
        MatchRow,
        PairRow,
        PendingRow,
        PublishBatch,
        SentCheck,
        ToldRow,
        Untokenised,
        Wanted,
        WitnessRow,
    )

FILE_NAME: Final = "store.sqlite"
INCARNATION_BYTES: Final = 16
FEW_TOKENS: Final = 4
_INDEXED_CACHE_KIB: Final = 32 << 10
_SYSTEM_CLOCK: Final = SystemClock()


class TokenIndex(Protocol):
    """Answers for the store what it can; None where the store has to answer alone."""

    def lookup(self, db: sqlite3.Connection, tokens: bytes, epoch: int, *, settled: bool) -> list[Hit] | None:
        """Return what `Store.lookup` returns."""

    def snapshot(self, db: sqlite3.Connection, epochs: Sequence[int]) -> tuple[int, Iterable[bytes]] | None:
        """Return what `Store.snapshot_blocks` returns."""


class Store:
    """An open store; see the module."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._index: TokenIndex | None = None

    @classmethod
    def open(
        cls, path: Path, *, clock: Clock = _SYSTEM_CLOCK, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> Store:
        """Open a store, making it (0600, with a new incarnation) where there is none.

        Args:
            path: The file; its folder must be there.
            clock: Tells the day, after whose end a case asks nothing any more.
            random_bytes: Source of the incarnation.

        Raises:
            ConfigError: It cannot be opened, others may read it, or it is of another version of the program.
        """
        database = Database.open(path)
        try:
            with database.write() as db:
                _prepare(db, random_bytes)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def close(self) -> None:
        """Close the file; what was written is on disk already."""
        self._database.close()

    def use_index(self, index: TokenIndex) -> None:
        """Let an index that follows this store answer look-ups and snapshots."""
        with self.read() as db:
            # The policies of hits are read from all over the file: the inner pages of its trees are to stay in memory.
            db.execute(f"PRAGMA cache_size = -{_INDEXED_CACHE_KIB}")
        self._index = index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now(), UTC).date()

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection inside a writing transaction: all of it is on disk afterwards, or nothing."""
        return self._database.write()

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection that sees one moment of the store."""
        return self._database.read()

    def group(self) -> AbstractContextManager[None]:
        """Make all writing transactions of the block durable together; see `Database.group`."""
        return self._database.group()

    # -- who the store is, and how far it has come

    def incarnation(self) -> bytes:
        """Return the 16 random bytes of the store's creation or last restore."""
        with self.read() as db:
            return meta.get_bytes(db, meta.INCARNATION)

    def renew_incarnation(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
        """Draw a new incarnation, after the ledger has shown that this store was restored from an older copy."""
        with self.write() as db:
            meta.put(db, meta.INCARNATION, random_bytes(INCARNATION_BYTES))
            return meta.get_bytes(db, meta.INCARNATION)

    def sequence(self) -> int:
        """Return the highest sequence number given to a token."""
        with self.read() as db:
            return meta.get_int(db, meta.SEQUENCE)

    def published_through(self) -> int:
        """Return the highest sequence number that a gateway has acknowledged as durable."""
        with self.read() as db:
            return meta.get_int(db, meta.PUBLISHED_THROUGH)

    def raise_sequence(self, to: int) -> None:
        """Make the next sequence number at least `to` + 1."""
        with self.write() as db:
            meta.put_at_least(db, meta.SEQUENCE, to)

    def ledger_incarnation(self) -> bytes:
        """Return the ledger's incarnation as last seen; empty where none was seen."""
        with self.read() as db:
            return meta.get_bytes(db, meta.LEDGER_INCARNATION)

    def follow_ledger(self, incarnation: bytes, holders: Collection[str]) -> bool:
        """Keep the ledger's incarnation; where it has changed, start its notices anew and make all holders pending."""
        with self.write() as db:
            changed = inbox.follow_ledger(db, incarnation)
            if changed:
                checks.reopen_all(db, holders, self._today())
            return changed

    # -- tokens (3.3 step 1)

    def add_epoch(self, epoch: int) -> None:
        """Mark every value that has no token of an epoch as to be tokenised."""
        with self.write() as db:
            values.add_epoch(db, epoch)

    def untokenised(self, epoch: int, key_class: str, limit: int, *, exercise: bool = False) -> Untokenised | None:
        """Return up to `limit` values, real or of an exercise, of an epoch, a class and one live case; or None."""
        with self.read() as db:
            return values.untokenised(db, epoch, key_class, limit, today=self._today(), exercise=exercise)

    def first_untokenised(self, epoch: int, wanted: Sequence[Wanted]) -> tuple[int, Untokenised] | None:
        """Return the first of these for which there is something, as its position, with what there is; or None."""
        with self.read() as db:
            if not values.any_untokenised(db, epoch):
                return None
            for at, one in enumerate(wanted):
                found = values.untokenised(
                    db, epoch, one.key_class, one.limit, today=self._today(), exercise=one.exercise
                )
                if found is not None:
                    return at, found
            return None

    def untokenised_count(self) -> int:
        """Return how many tokens are still to be made."""
        with self.read() as db:
            return values.untokenised_count(db)

    def store_tokens(self, batch: Untokenised, entries: Iterable[tuple[int, bytes, bytes, bytes]]) -> None:
        """Write (value id, label, match secret, token) of a batch, and strike it off what is to be done."""
        # What a few tokens were charged may be lost with them when the power is, before they are numbered or asked for,
        # which is durable. An officer waits for a few; for many the disk is no matter.
        with self._database.write(durable=len(batch.rows) > FEW_TOKENS) as db:
            values.store_tokens(db, batch, entries)

    # -- publishing and look-up (3.2, 3.3 step 2, 3.4 step 2)

    def take_unpublished(self, epoch: int, limit: int) -> PublishBatch | None:
        """Return the lowest batch that is not acknowledged, else number the next one durably; None when all is done."""
        with self.write() as db:
            return publishing.take_unpublished(db, epoch, limit)

    def acknowledge_published(self, sequence: int) -> None:
        """Note that everything up to a sequence number is in the plane and durable in the ledger."""
        with self.write() as db:
            meta.put_at_least(db, meta.PUBLISHED_THROUGH, sequence)

    def snapshot(self, epochs: Sequence[int]) -> tuple[int, bytes]:
        """Return the sequence and, packed, every numbered token of the epochs as of one moment."""
        sequence, blocks = self.snapshot_blocks(epochs)
        return sequence, b"".join(blocks)

    def snapshot_blocks(self, epochs: Sequence[int]) -> tuple[int, Iterable[bytes]]:
        """Return the same with the tokens in blocks, which may be read later; they come from the index if it can."""
        with self.read() as db:
            if self._index is not None and (found := self._index.snapshot(db, epochs)) is not None:
                return found
            sequence, tokens = publishing.snapshot(db, epochs)
            return sequence, (tokens,)

    def plane_count(self) -> int:
        """Return how often values have left the index; read it before a snapshot is taken."""
        with self.read() as db:
            return meta.get_int(db, meta.PLANE_STALE)

    def plane_is_stale(self) -> bool:
        """Tell whether the hub's plane has bits of values that are out of the index."""
        with self.read() as db:
            return publishing.plane_is_stale(db)

    def plane_built(self, count: int) -> None:
        """Note that the hub holds a plane of a snapshot that was taken at this count or after it."""
        with self.write() as db:
            meta.put_at_least(db, meta.PLANE_BUILT, count)

    def all_published(self) -> bool:
        """Tell whether every kept value has a published token of each epoch that it is to have."""
        with self.read() as db:
            return publishing.all_published(db, self._today())

    def lookup(self, tokens: bytes, epoch: int) -> list[Hit]:
        """Return the numbered, kept values that these packed tokens stand for, in the order of the tokens."""
        with self.read() as db:
            if self._index is not None:
                hits = self._index.lookup(db, tokens, epoch, settled=self._database.settled)
                if hits is not None:
                    return hits
            return publishing.lookup(db, tokens, epoch)

    def secret_of(self, reference: bytes, epoch: int) -> bytes | None:
        """Return the match secret of an own reference in an epoch."""
        with self.read() as db:
            return publishing.secret_of(db, reference, epoch)

    def grade_of(self, reference: bytes) -> int | None:
        """Return the grade of an own reference."""
        with self.read() as db:
            return publishing.grade_of(db, reference)

    def domain_of(self, reference: bytes) -> str | None:
        """Return the exercise that an own reference is of; '' for a real one."""
        with self.read() as db:
            return publishing.domain_of(db, reference)

    def namespace_of(self, reference: bytes) -> str | None:
        """Return the namespace of an own reference."""
        with self.read() as db:
            return publishing.namespace_of(db, reference)

    def common_reason(self, reference: bytes) -> str | None:
        """Return why the value of an own reference is a common one; None where it is not."""
        with self.read() as db:
            row = db.execute("SELECT namespace, canonical FROM value WHERE reference = ?", (reference,)).fetchone()
        return None if row is None else common_reason(*row)

    # -- questions (3.3 step 3, 3.4, 3.5)

    def form_batches(
        self, epoch: int, max_items: int, holders: Collection[str], rng: random.Random | None = None
    ) -> list[int]:
        """Put values that are ready into batches, each with a pending row for every holder; return the batches' ids."""
        with self.write() as db:
            return checks.form_batches(
                db, epoch, max_items, holders=holders, rng=rng or random.SystemRandom(), today=self._today()
            )

    def move_to_epoch(self, epoch: int, live: Collection[int]) -> None:
        """Have asked again under an epoch what was asked under others only; none is pending under one that is over."""
        with self.write() as db:
            checks.move_to_epoch(db, epoch, live, self._today())

    def pending_batches(self, holder: str | None = None) -> list[PendingRow]:
        """Return who is pending for which batch, oldest batch first, of cases that have not ended."""
        with self.read() as db:
            return checks.pending_batches(db, holder, self._today())

    def batch(self, batch_id: int) -> Batch:
        """Return a batch with its columns.

        Raises:
            LookupError: There is none, or all its values have gone into another one since.
        """
        with self.read() as db:
            return checks.load_batch(db, batch_id)

    def asked_values(self, batch: Batch) -> dict[int, AskedValue]:
        """Return what the live records of a batch's values say, by value id; a value without any is not there."""
        with self.read() as db:
            return handling.asked_values(db, batch, self._today())

    def split_batch(self, batch_id: int, references: Iterable[bytes]) -> int:
        """Move values of a batch into a new one that waits for the same holders; return its id."""
        with self.write() as db:
            return checks.split_batch(db, batch_id, references)

    def tag_key(self) -> bytes:
        """Return the key of the group tags, which is drawn at first use."""
        with self.write() as db:
            return handling.tag_key(db)

    def record_sent(self, check_id: bytes, batch_id: int, header: bytes, header_hash: bytes, at: float) -> None:
        """Write what is about to leave, so that its answers can be verified after a crash."""
        with self.write() as db:
            checks.record_sent(db, check_id, batch_id, header=header, header_hash=header_hash, at=at)

    def sent_check(self, check_id: bytes) -> SentCheck | None:
        """Return what was sent under a check id."""
        with self.read() as db:
            return checks.sent_check(db, check_id)

    def store_certificate(self, check_id: bytes, certificate: bytes) -> None:
        """Keep the signed coverage of a check."""
        with self.write() as db:
            checks.store_certificate(db, check_id, certificate)

    def cover(self, batch_id: int, holders: Iterable[str]) -> None:
        """Delete the pending rows of holders that covered a batch."""
        with self.write() as db:
            checks.cover(db, batch_id, holders)

    def set_pending_state(self, batch_id: int, holder: str, state: str, attempts: int | None = None) -> None:
        """Say why a holder is still pending (None: one more attempt); one that covered meanwhile stays covered."""
        with self.write() as db:
            checks.set_pending_state(db, batch_id, holder, state=state, attempts=attempts)

    def reopen_pending(self, batch_id: int, holder: str) -> None:
        """Make a holder pending again whose answer was refused; it counts as one more attempt."""
        with self.write() as db:
            checks.reopen_pending(db, batch_id, holder)

    # -- what this node verified as a holder (3.4 step 2, 3.6 step 5)

    def witness(self, rows: Iterable[WitnessRow], coincidences: Iterable[CoincidenceRow] = ()) -> None:
        """Keep asks that were verified, before their answers leave, and coincidences with the asker's group tags."""
        with self.write() as db:
            checks.add_witnesses(db, rows)
            checks.add_coincidences(db, coincidences)

    def has_witness(self, own_reference: bytes, asker: str, asker_reference: bytes) -> bool:
        """Tell whether such an ask was verified."""
        with self.read() as db:
            return checks.has_witness(db, own_reference, asker, asker_reference)

    def known_coincidences(self, asker: str, line_tags: Collection[bytes]) -> list[CoincidenceRow]:
        """Return the coincidences with lines of an asker's that were kept."""
        with self.read() as db:
            return checks.coincidences(db, asker, line_tags)

    def holdings(self, value_ids: Collection[int]) -> dict[int, list[Holding]]:
        """Return what the live records of kept values say of who may be told."""
        with self.read() as db:
            return handling.holdings(db, value_ids, self._today())

    def places(self, references: Collection[bytes]) -> dict[bytes, list[Place]]:
        """Return where the live records of own references stand."""
        with self.read() as db:
            return handling.places(db, references, self._today())

    def verified_pairs(self, rows: Iterable[PairRow]) -> None:
        """Keep pairs that were verified in a sweep."""
        with self.write() as db:
            checks.add_verified_pairs(db, rows)

    def has_verified_pair(self, row: PairRow) -> bool:
        """Tell whether this pair was verified in this sweep."""
        with self.read() as db:
            return checks.has_verified_pair(db, row)

    # -- notices (3.4 steps 3 and 4)

    def notice_cursor(self) -> int:
        """Return the highest notice that is durable."""
        with self.read() as db:
            return meta.get_int(db, meta.NOTICE_CURSOR)

    def receive_notice(
        self, cursor: int, content: bytes, *, told: ToldRow | None = None, voided: bytes | None = None, at: float
    ) -> bool:
        """Write a notice, its meaning and the cursor at once; return False where it was here before.

        Raises:
            ProtocolError: A notice before it is missing.
        """
        with self.write() as db:
            return inbox.receive_notice(db, cursor, content, told=told, voided=voided, at=at)

    def told(self, edge_id: bytes) -> list[ToldRow]:
        """Return what this node was told of an edge: one row for each own reference."""
        with self.read() as db:
            return inbox.told(db, edge_id)

    def is_shown(self, own_reference: bytes, other: str) -> bool:
        """Tell whether a match of an own reference with another party shows."""
        with self.read() as db:
            return inbox.is_shown(db, own_reference, other)

    def is_withdrawn(self, reference: bytes) -> bool:
        """Tell whether an own reference is of a value that was withdrawn."""
        with self.read() as db:
            query = "SELECT 1 FROM withdrawal WHERE reference = ?"
            return db.execute(query, (reference,)).fetchone() is not None

    def all_told(self) -> list[ToldRow]:
        """Return every edge that this node was told of, whatever its state."""
        with self.read() as db:
            return inbox.all_told(db)

    def set_told_state(self, edge_id: bytes, state: str) -> None:
        """Make a told edge `shown`, `refused` or `voided`."""
        with self.write() as db:
            inbox.set_told_state(db, edge_id, state)

    def matches(self) -> list[MatchRow]:
        """Return the edges that are shown, each beside the node's own records."""
        with self.read() as db:
            return inbox.matches(db)

    def file_matches(self, file_id: int) -> list[MatchRow]:
        """Return the shown edges of one file's records, each beside its record."""
        with self.read() as db:
            return inbox.file_matches(db, file_id)

    # -- what the node says of itself

    def set_condition(self, name: str, text: str, at: float) -> None:
        """Say how one part of the node fares, such as `tokenise`; empty text takes it back."""
        with self.write() as db:
            conditions.set_condition(db, name, text, at)

    def conditions(self) -> list[Condition]:
        """Return what the node says of itself."""
        with self.read() as db:
            return conditions.conditions(db)

    def add_incident(self, *, at: float, party: str, what: str, evidence: str) -> None:
        """Keep the name of a party that broke the protocol, with the evidence (JSON without values)."""
        with self.write() as db:
            conditions.add_incident(db, at=at, party=party, what=what, evidence=evidence)

    def incidents(self) -> list[Incident]:
        """Return the parties that broke the protocol, oldest first."""
        with self.read() as db:
            return conditions.incidents(db)


def _prepare(db: sqlite3.Connection, random_bytes: Callable[[int], bytes]) -> None:
    """Lay out an empty file, or check that the store is of this version."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        for statement in _statements(SCHEMA):
            db.execute(statement)
        meta.put(db, meta.SCHEMA_VERSION, VERSION)
        meta.put(db, meta.INCARNATION, random_bytes(INCARNATION_BYTES))
    if meta.get_int(db, meta.SCHEMA_VERSION) != VERSION:
        raise ConfigError("the store was made by another version of this program")


def _statements(script: str) -> Iterator[str]:
    """Cut a script into statements, so that all of it fits into one transaction (executescript would commit)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
