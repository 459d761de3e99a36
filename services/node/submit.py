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
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from concordat.canon import RULES_VERSIONS, Context, Grade, read
from concordat.clock import MS
from concordat.errors import InputError
from concordat.vocabulary import Assessment
from services.node.handling import Desk, Handled
from services.node.held import exercise_of, require_running
from services.node.importers import FileFacts, Refusal, Row, open_file
from services.node.store import cases, records
from services.node.store.records import FileCounts, FileRow, NewRecord, RefusedLine
from services.node.store.values import STRONG, WEAK, Asking, CanonicalValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from concordat.canon import Kind, Reading
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from services.node.case import CaseProfile
    from services.node.record import RowDefaults
    from services.node.store.store import Store

CHUNK_ROWS: Final = 500
WAKE_SOCKET: Final = "wake.sock"
_GRADES: Final = {Grade.STRONG: STRONG, Grade.WEAK: WEAK}
_ASSESSED: Final = {None: 0, Assessment.CHECKED: 0, Assessment.SUSPECTED: 1, Assessment.CONFIRMED: 2}


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """What became of a file.

    Attributes:
        file_id: Row id of the file in the store.
        facts: How the file was understood.
        counts: Accepted (of these already known, and with a region that was assumed) and refused rows.
        refused: Each refused row with line, code and reason.
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

    def submit(
        self,
        path: Path,
        *,
        defaults: RowDefaults | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SubmitReport:
        """Store a file's rows and wake the running node.

        Args:
            path: CSV, JSON lines, MISP event JSON or STIX 2.1 bundle.
            defaults: What a row has where the file says nothing; the case's own by default.
            encoding: Overrules what would be detected.
            delimiter: Overrules what would be detected.
            progress: Told the number of rows that are on disk, after each transaction.

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
        return self._store(facts, rows, None)

    def _store(
        self,
        facts: FileFacts,
        items: Iterable[Row | Refusal],
        progress: Callable[[int], None] | None,
        *,
        reading: str = "",
    ) -> SubmitReport:
        now = self.clock.now()
        require_running(self.home.path, self.operation, now=now)
        domain = exercise_of(self.home.path, self.operation)
        with self.store.write() as db:
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
        if file.complete:
            again = not self._keep(file, asking)
        else:
            again = False
            self._store_rest(file, items, asking, progress)
        wake(self.home.path)
        with self.store.read() as db:
            counts = records.file_counts(db, file.id)
            return SubmitReport(file.id, facts, counts, tuple(records.refused_lines(db, file.id)), again)

    def _store_rest(
        self,
        file: FileRow,
        items: Iterable[Row | Refusal],
        asking: Asking,
        progress: Callable[[int], None] | None,
    ) -> None:
        desk = self._desk()
        numbered = enumerate(items, start=1)
        fresh = (self._record(number, item, desk) for number, item in numbered if number > file.items)
        done = file.items
        while chunk := list(islice(fresh, CHUNK_ROWS)):
            with self.store.write() as db:
                records.add_records(db, file.id, chunk, asking=asking, random_bytes=self.random_bytes)
            done += len(chunk)
            if progress is not None:
                progress(done)
            # Long files are worked on while they are still being read.
            wake(self.home.path)
        with self.store.write() as db:
            records.complete_file(db, file.id)

    def _keep(self, file: FileRow, asking: Asking) -> bool:
        if self.look_once:
            return False
        with self.store.write() as db:
            return records.keep_file(db, file.id, asking, self.random_bytes)

    def _desk(self) -> Desk:
        manifest, today = self.home.manifest, datetime.fromtimestamp(self.clock.now(), UTC).date()
        return Desk(self.case, own=manifest.party_by_id(self.home.identity), manifest=manifest, today=today)

    def _record(self, number: int, item: Row | Refusal, desk: Desk) -> NewRecord:
        if isinstance(item, Refusal):
            return NewRecord(item=number, line=item.line, typed=item.typed, code=item.code, reason=item.reason)
        context = Context(
            home_region=desk.own.region or "",
            region=item.region,
            origin=item.context.origin,
            destination=item.context.destination,
            platform=item.platform,
        )
        try:
            reading = self.reader(item.kind, item.typed, context)
            handled = desk.handle(item)
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


def wake(home: Path) -> None:
    """Tell the running node that there is work; it looks by itself within a second where this is lost."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_node:
        to_node.setblocking(False)
        to_node.sendto(b"1", str(home / WAKE_SOCKET))


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
    progress: Callable[[int], None] | None = None,
) -> SubmitReport:
    """Store a file's rows and wake the running node; see `Submitter.submit`."""
    submitter = Submitter(home, store, clock, case, operation, look_once)
    return submitter.submit(path, defaults=defaults, progress=progress)
