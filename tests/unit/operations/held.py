"""Stores of nodes filled with records whose tokens need no custodian: label and secret are hashes of the value."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from services.node.case import CaseProfile
from services.node.record import FileFacts
from services.node.store.adding import add_records
from services.node.store.cases import put_case
from services.node.store.records import NewRecord, begin_file
from services.node.store.values import STRONG, WEAK, Asking, CanonicalValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.node.store.store import Store

EPOCH = 1
CASE = CaseProfile.model_validate(
    {
        "reference": "case-1",
        "authority": "Example authority",
        "officer": "officer-1",
        "purpose": "prevention",
        "offence": "trafficking_in_human_beings",
        "subject_category": "suspect_or_convicted",
        "aim": "identify",
        "valid_until": "2030-01-01",
    }
)


class Held(NamedTuple):
    """One record."""

    namespace: str
    canonical: str
    trafficking: int = 0
    abuse: int = 0
    grade: int = STRONG
    rules_version: int = 1


def submit(store: Store, operation: str, held: Iterable[Held], *, look_once: bool = False, domain: str = "") -> None:
    """Store records as a file of an operation; a weak one comes with a strong value of its own."""
    entries = list(held)
    digest = hashlib.sha256(repr((operation, entries, look_once)).encode()).hexdigest()
    facts = FileFacts(name="f.csv", sha256=digest, size_bytes=1, format="csv", encoding="utf-8")
    with store.write() as db:
        case_id = put_case(db, CASE, 0.0)
        file = begin_file(db, facts, case_id=case_id, operation=operation, at=0.0, domain=domain)
        asking = Asking(case_id, "prevention", operation, look_once, (EPOCH,), domain)
        records = [_record(number, entry) for number, entry in enumerate(entries, 1)]
        add_records(db, file.id, records, asking=asking, random_bytes=secrets.token_bytes)


def refuse(store: Store, operation: str) -> None:
    """Store a record that could not be read."""
    facts = FileFacts(name="r.csv", sha256="ab" * 32, size_bytes=1, format="csv", encoding="utf-8")
    with store.write() as db:
        case_id = put_case(db, CASE, 0.0)
        file = begin_file(db, facts, case_id=case_id, operation=operation, at=0.0)
        asking = Asking(case_id, "prevention", operation, False, (EPOCH,))
        record = NewRecord(item=1, line=1, typed="?", code="bad_input", reason="cannot be read")
        add_records(db, file.id, [record], asking=asking, random_bytes=secrets.token_bytes)


def tokenise(store: Store) -> None:
    """Give every value that waits its token."""
    for key_class in ("strong", "weak"):
        while (
            batch := store.untokenised(EPOCH, key_class, 100) or store.untokenised(EPOCH, key_class, 100, exercise=True)
        ) is not None:
            entries = []
            for row in batch.rows:
                output = hashlib.sha512(repr((key_class, row.namespace, row.canonical, batch.domain)).encode()).digest()
                entries.append((row.value_id, output[:16], output[16:48], output[48:64]))
            store.store_tokens(batch, entries)


def _record(number: int, entry: Held) -> NewRecord:
    value = CanonicalValue(entry.namespace, entry.rules_version, entry.canonical, entry.grade)
    values: tuple[CanonicalValue, ...] = (value,)
    if entry.grade == WEAK:
        values = (CanonicalValue("url", 1, f"https://{entry.canonical}/", STRONG), value)
    return NewRecord(
        item=number,
        line=number,
        typed=entry.canonical,
        kind="phone",
        trafficking=entry.trafficking,
        abuse=entry.abuse,
        values=values,
    )
