from __future__ import annotations

import os
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory
from services.node.case import CaseProfile
from services.node.record import FileFacts
from services.node.store import cases, records
from services.node.store.adding import add_records
from services.node.store.records import NewRecord
from services.node.store.store import Store
from services.node.store.values import STRONG, Asking, CanonicalValue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = 1_795_521_600.0
TODAY = date(2026, 11, 24)


def case(reference: str = "C-1", *, purpose: Purpose = Purpose.INVESTIGATION, days: int = 30) -> CaseProfile:
    return CaseProfile(
        reference=reference,
        authority="Example Police",
        officer="officer-17",
        purpose=purpose,
        offence=Offence.OTHER,
        subject_category=SubjectCategory.VICTIM,
        aim=Aim.IDENTIFY,
        valid_until=TODAY + timedelta(days=days),
    )


class Desk:
    """A store, and shorthands for what a submit and a tokeniser do to it; made-up secrets follow from the value."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path, self.clock = path, clock
        self.store = Store.open(path, clock=clock)
        self._files = 0

    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, clock=self.clock)

    def put(
        self, *values: str, profile: CaseProfile | None = None, look_once: bool = False, grade: int = STRONG
    ) -> int:
        """Submit values as one file and return the file's id."""
        self._files += 1
        profile = profile or case()
        digest = self._files.to_bytes(32, "big").hex()
        facts = FileFacts(name=f"{self._files}.csv", sha256=digest, size_bytes=1, format="csv", encoding="utf-8")
        with self.store.write() as db:
            case_id = cases.put_case(db, profile, NOON)
            file = records.begin_file(db, facts, case_id=case_id, operation="", at=NOON)
            asking = Asking(case_id, profile.purpose.value, "", look_once, (1,))
            rows = [
                NewRecord(item=n, line=n, typed=v, kind="email", values=(CanonicalValue("email", 1, v, grade),))
                for n, v in enumerate(values, start=1)
            ]
            add_records(db, file.id, rows, asking=asking, random_bytes=os.urandom)
            records.complete_file(db, file.id)
        return file.id

    def tokenise_at_once(self) -> None:
        self.tokenise(100_000)

    def tokenise(self, size: int = 3) -> None:
        for key_class in ("strong", "weak"):
            while (batch := self.store.untokenised(1, key_class, size)) is not None:
                entries = [
                    (row.value_id, b"l" * 16, (b"secret of " + row.canonical.encode()).ljust(32), token(row.canonical))
                    for row in batch.rows
                ]
                self.store.store_tokens(batch, entries)

    def publish(self, limit: int = 100) -> None:
        while (batch := self.store.take_unpublished(1, limit)) is not None:
            self.store.acknowledge_published(batch.sequence)

    def reference(self, value: str) -> bytes:
        with self.store.read() as db:
            row = db.execute("SELECT reference FROM value WHERE canonical = ?", (value,)).fetchone()
        found: bytes = row[0]
        return found


def token(value: str) -> bytes:
    return b"T" + value.encode().ljust(15)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path / "store.sqlite", ManualClock(NOON))
    yield opened
    opened.store.close()
