"""Submit: from a file to records and values that the running node works on (docs/protocol.md 3.3).

Everything is on disk when this returns, chunk by chunk, so a kill in the middle loses nothing: the same command again
goes on behind the last row that was stored. The same file again for the same case and operation, read in the same way,
changes nothing. What cannot be read is kept with line, code and reason. The tokens, the publishing and the questions
are the running node's.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.canon import read
from concordat.clock import MS
from services.node.handling import Desk
from services.node.held import exercise_of, require_running
from services.node.importers import FileFacts, ImportedFile, Refusal, Row, open_file
from services.node.reader import RecordReader, RowChunk
from services.node.store import cases, records
from services.node.store.adding import add_records
from services.node.store.values import Asking
from services.node.worker_pool import WorkerPool, cores

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from concordat.canon import Context, Kind, Reading
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from services.node.case import CaseProfile
    from services.node.reader import ReadChunk
    from services.node.record import RowDefaults
    from services.node.store.records import FileCounts, FileRow, RefusedLine
    from services.node.store.store import Store

CHUNK_ROWS: Final = 500
# Each transaction waits for the disk; a row must not wait long to be stored either.
POOL_CHUNK_ROWS: Final = 1000
# Below this a file is read before worker processes have started.
POOL_FROM_BYTES: Final = 512 * 1024
REFUSED_HELD: Final = 1000
WAKE_SOCKET: Final = "wake.sock"
# What a wake-up says: that there is any work, or only tokens to make, after which the node's session has work as well.
ANY_WORK: Final = b"1"
TOKENS_FIRST: Final = b"t"


class SubmitProgress(NamedTuple):
    """How far a submit has come: what is said here is on disk."""

    rows: int
    read_bytes: int
    """Of the file, for these rows; 0 where it is not known."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """What became of a file.

    Attributes:
        file_id: Row id of the file in the store.
        facts: How the file was understood.
        counts: Accepted (of these already known, and with a region that was assumed) and refused rows.
        refused: The first 1000 refused rows with line, code and reason; `counts` says how many there are.
        again: Whether the whole file was there before, so that nothing was stored.
    """

    file_id: int
    facts: FileFacts
    counts: FileCounts
    refused: tuple[RefusedLine, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits, into which store, and why; one object serves any number of files of a case."""

    home: Home
    store: Store
    clock: Clock
    case: CaseProfile
    operation: str = ""
    look_once: bool = False
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    reader: Callable[[Kind, str, Context], Reading] = read
    workers: int | None = None
    """Processes that read a long file; as many as there are cores by default, 1 reads in this process."""

    def submit(
        self,
        path: Path,
        *,
        defaults: RowDefaults | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        progress: Callable[[SubmitProgress], None] | None = None,
    ) -> SubmitReport:
        """Store a file's rows and wake the running node.

        Args:
            path: CSV, JSON lines, MISP event JSON or STIX 2.1 bundle.
            defaults: What a row has where the file says nothing; the case's own by default.
            encoding: Overrules what would be detected.
            delimiter: Overrules what would be detected.
            progress: Told after each transaction what is on disk, and first what was there before.

        Raises:
            InputError: The file as a whole cannot be taken; nothing that was stored before is lost.
        """
        given = defaults or self.case.row_defaults()
        imported = open_file(path, defaults=given, encoding=encoding, delimiter=delimiter)
        told = {"kind": given.kind, "region": given.region, "encoding": encoding, "delimiter": delimiter}
        reading = json.dumps({name: value for name, value in told.items() if value}, sort_keys=True)
        return self._store(imported.facts, imported, progress, reading=reading)

    def submit_values(self, typed: Sequence[str], kind: Kind, *, defaults: RowDefaults | None = None) -> SubmitReport:
        """Store identifiers that were typed at a prompt, as if they stood in a file of one column."""
        given = defaults or self.case.row_defaults()
        rows = [
            Row(
                line=number,
                typed=text,
                kind=kind,
                region=given.region,
                platform=given.platform,
                role=given.role,
                source_evaluation=given.source_evaluation,
                information_evaluation=given.information_evaluation,
                keep_until=given.keep_until,
                handling=given.handling,
            )
            for number, text in enumerate(typed, start=1)
        ]
        # What is typed again is the same 'file' again, so that it is linked and not asked twice.
        content = json.dumps([kind.value, given.region, given.platform, *typed]).encode()
        facts = FileFacts(
            name="(typed)",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            format="typed",
            encoding="utf-8",
        )
        return self._store_at_once(facts, rows) if len(rows) <= CHUNK_ROWS else self._store(facts, rows, None)

    def _store(
        self,
        facts: FileFacts,
        items: Iterable[Row | Refusal],
        progress: Callable[[SubmitProgress], None] | None,
        *,
        reading: str = "",
    ) -> SubmitReport:
        with self.store.write() as db:
            file, asking = self._begin(db, facts, reading)
        if file.complete:
            again = not self._keep(file, asking)
        else:
            again = False
            self._store_rest(file, items, asking, progress, size_bytes=facts.size_bytes)
        wake(self.home.path)
        return self._report(file, facts, again=again)

    def _store_at_once(self, facts: FileFacts, rows: Sequence[Row]) -> SubmitReport:
        """Store a few rows in one transaction: somebody waits for what comes of them."""
        chunk = RecordReader(self._desk(), self.reader).read_chunk(RowChunk(list(enumerate(rows, start=1)), 0))
        with self.store.write() as db:
            file, asking = self._begin(db, facts, "")
            again, work = False, ANY_WORK
            if file.complete:
                again = self.look_once or not records.keep_file(db, file.id, asking, self.random_bytes)
            else:
                # What an earlier form of this program stored in parts may have been cut off between them.
                rest = [one for one in chunk.records if one.item > file.items]
                if add_records(db, file.id, rest, asking=asking, random_bytes=self.random_bytes):
                    work = TOKENS_FIRST
                records.complete_file(db, file.id)
        wake(self.home.path, work)
        return self._report(file, facts, again=again)

    def _begin(self, db: sqlite3.Connection, facts: FileFacts, reading: str) -> tuple[FileRow, Asking]:
        now = self.clock.now()
        require_running(self.home.path, self.operation, now=now)
        domain = exercise_of(self.home.path, self.operation)
        case_id = cases.put_case(db, self.case, now)
        file = records.begin_file(
            db, facts, case_id=case_id, operation=self.operation, at=now, reading=reading, domain=domain
        )
        epochs = self.home.manifest.epochs.in_force
        asking = Asking(
            case_id,
            self.case.purpose.value,
            self.operation,
            self.look_once,
            epochs,
            domain=domain,
            officer=self.case.officer,
            at_ms=int(now * MS),
        )
        return file, asking

    def _report(self, file: FileRow, facts: FileFacts, *, again: bool) -> SubmitReport:
        with self.store.read() as db:
            counts = records.file_counts(db, file.id)
            refused = tuple(records.refused_lines(db, file.id, limit=REFUSED_HELD))
            return SubmitReport(file.id, facts, counts, refused, again)

    def _store_rest(
        self,
        file: FileRow,
        items: Iterable[Row | Refusal],
        asking: Asking,
        progress: Callable[[SubmitProgress], None] | None,
        *,
        size_bytes: int,
    ) -> None:
        done = file.items
        if done and progress is not None:
            # To come to the first row that is not stored takes a while in a long file.
            progress(SubmitProgress(done, 0, size_bytes))
        with self._chunks(items, behind=file.items) as chunks:
            for chunk in chunks:
                with self.store.write() as db:
                    add_records(db, file.id, chunk.records, asking=asking, random_bytes=self.random_bytes)
                done += len(chunk.records)
                if progress is not None:
                    progress(SubmitProgress(done, chunk.read_bytes, size_bytes))
                # Long files are worked on while they are still being read.
                wake(self.home.path)
        with self.store.write() as db:
            records.complete_file(db, file.id)

    @contextmanager
    def _chunks(self, items: Iterable[Row | Refusal], *, behind: int) -> Iterator[Iterator[ReadChunk]]:
        """Give what is behind the first rows, read, in chunks in the order of the file."""
        reader, workers = RecordReader(self._desk(), self.reader), self.workers or cores()
        if workers > 1 and isinstance(items, ImportedFile) and items.facts.size_bytes >= POOL_FROM_BYTES:
            cut = _cut(items, behind, POOL_CHUNK_ROWS)
            with WorkerPool(reader.read_chunk, workers=workers) as pool, closing(cut) as chunks:
                yield pool.each(chunks)
        else:
            with closing(_cut(items, behind, CHUNK_ROWS)) as chunks:
                yield map(reader.read_chunk, chunks)

    def _keep(self, file: FileRow, asking: Asking) -> bool:
        if self.look_once:
            return False
        with self.store.write() as db:
            return records.keep_file(db, file.id, asking, self.random_bytes)

    def _desk(self) -> Desk:
        manifest, today = self.home.manifest, datetime.fromtimestamp(self.clock.now(), UTC).date()
        return Desk(self.case, own=manifest.party_by_id(self.home.identity), manifest=manifest, today=today)


def _cut(items: Iterable[Row | Refusal], behind: int, size: int) -> Generator[RowChunk]:
    numbered = ((number, item) for number, item in enumerate(items, start=1) if number > behind)
    while rows := list(islice(numbered, size)):
        yield RowChunk(rows, items.read_bytes if isinstance(items, ImportedFile) else 0)


def wake(home: Path, work: bytes = ANY_WORK) -> None:
    """Tell the running node that there is work; it looks by itself within a second where this is lost."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_node:
        to_node.setblocking(False)
        to_node.sendto(work, str(home / WAKE_SOCKET))


def submit(  # noqa: PLR0913 -- the one call of a demo or script; the class has the parts
    home: Home,
    store: Store,
    path: Path,
    *,
    clock: Clock,
    case: CaseProfile,
    operation: str = "",
    defaults: RowDefaults | None = None,
    look_once: bool = False,
    progress: Callable[[SubmitProgress], None] | None = None,
) -> SubmitReport:
    """Store a file's rows and wake the running node; see `Submitter.submit`."""
    submitter = Submitter(home, store, clock, case, operation, look_once)
    return submitter.submit(path, defaults=defaults, progress=progress)
