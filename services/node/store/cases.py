"""Case profiles in the store; their text never leaves the node."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from services.node.case import CaseProfile

if TYPE_CHECKING:
    import sqlite3


def put_case(db: sqlite3.Connection, case: CaseProfile, at: float) -> int:
    """Write a profile under its reference, replacing an older form, which stays for audits, and return its row id."""
    profile = case.model_dump_json()
    db.execute(
        "INSERT INTO case_profile (reference, purpose, profile, valid_until, added_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (reference) DO UPDATE SET purpose = excluded.purpose, profile = excluded.profile,"
        # What is as it was writes no page.
        " valid_until = excluded.valid_until WHERE profile <> excluded.profile",
        (case.reference, case.purpose.value, profile, case.valid_until.isoformat(), at),
    )
    row = db.execute("SELECT id FROM case_profile WHERE reference = ?", (case.reference,)).fetchone()
    case_id: int = row[0]
    db.execute("INSERT OR IGNORE INTO case_form VALUES (?, ?, ?)", (case_id, profile, at))
    return case_id


def forms_of(db: sqlite3.Connection, reference: str) -> list[CaseProfile]:
    """Return every form that a profile had, newest first."""
    rows = db.execute(
        "SELECT f.profile FROM case_form f JOIN case_profile c ON c.id = f.case_id WHERE c.reference = ?"
        " ORDER BY f.added_at DESC",
        (reference,),
    )
    return [from_json(row[0]) for row in rows]


@lru_cache(maxsize=256)
def from_json(text: str) -> CaseProfile:
    """Return a profile as it was put; cached, since all batches of a case share it."""
    return CaseProfile.model_validate_json(text)


def all_cases(db: sqlite3.Connection) -> list[CaseProfile]:
    """Return all profiles, oldest first."""
    return [from_json(row[0]) for row in db.execute("SELECT profile FROM case_profile ORDER BY id")]
