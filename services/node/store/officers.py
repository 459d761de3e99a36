"""Officers: a pseudonym is all that leaves the node; here it can be resolved for whoever may ask (LED 25; LB-16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3


class Officer(NamedTuple):
    """Whom a pseudonym stands for."""

    pseudonym: str
    name: str
    unit: str

    def __repr__(self) -> str:
        return f"Officer(pseudonym={self.pseudonym})"


def put_officer(db: sqlite3.Connection, officer: Officer, at: float) -> bool:
    """Keep an officer; return False where the pseudonym stands for somebody already, which stays."""
    row = "INSERT OR IGNORE INTO officer (pseudonym, name, unit, added_at) VALUES (?, ?, ?, ?)"
    return db.execute(row, (*officer, at)).rowcount == 1


def officers(db: sqlite3.Connection, pseudonym: str | None = None) -> list[Officer]:
    """Return all officers, or the one of a pseudonym."""
    query = "SELECT pseudonym, name, unit FROM officer WHERE :one IS NULL OR pseudonym = :one ORDER BY pseudonym"
    return [Officer(*row) for row in db.execute(query, {"one": pseudonym})]
