"""What the running node says of itself, and which parties broke the protocol; never a value or a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3


class Condition(NamedTuple):
    """How one part of the node fares."""

    name: str
    text: str
    at: float


class Incident(NamedTuple):
    """A party that broke the protocol; evidence is JSON of hashes and proofs."""

    at: float
    party: str
    what: str
    evidence: str


def set_condition(db: sqlite3.Connection, name: str, text: str, at: float) -> None:
    """Write a condition; an empty text takes it back."""
    if not text:
        db.execute("DELETE FROM condition WHERE name = ?", (name,))
        return
    db.execute(
        "INSERT INTO condition VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET text = excluded.text, at = excluded.at",
        (name, text, at),
    )


def conditions(db: sqlite3.Connection) -> list[Condition]:
    """Return all conditions by name."""
    return [Condition(*row) for row in db.execute("SELECT name, text, at FROM condition ORDER BY name")]


def add_incident(db: sqlite3.Connection, *, at: float, party: str, what: str, evidence: str) -> None:
    """Write an incident."""
    db.execute("INSERT INTO incident (at, party, what, evidence) VALUES (?, ?, ?, ?)", (at, party, what, evidence))


def incidents(db: sqlite3.Connection) -> list[Incident]:
    """Return all incidents, oldest first."""
    return [Incident(*row) for row in db.execute("SELECT at, party, what, evidence FROM incident ORDER BY id")]
