"""The tables of the ledger: who matches whom, and what each was told. Nothing in them derives from a token (I2).

What changes here needs a migration in `gateway.migrations`, which make the tables; a test compares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    false,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

metadata: Final = MetaData()


def ordered(length: int) -> String:
    """Return a text type that sorts by code point everywhere, as Python and SQLite do, whatever a server's locale."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class Bytes(LargeBinary):
    """Bytes, which both drivers take and give as they are; to wrap each value costs as much as to store it."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Wrap nothing."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Unwrap nothing."""


LIVE: Final = text("state = 'live'")
VISIBLE: Final = text("state = 'live' AND visible")
EDGE_KEYS: Final = {
    "edge_live_a": ("reference_a", "party_a", "party_b"),
    "edge_live_b": ("reference_b", "party_b", "party_a"),
}

# incarnation, position, handle secret, schema version
meta: Final = Table("meta", metadata, Column("key", ordered(32), primary_key=True), Column("value", Bytes()))

# the sequence up to which a party's values are published to all replicas
party_sequence: Final = Table(
    "party_sequence", metadata, Column("party", ordered(400), primary_key=True), Column("sequence", BigInteger)
)

# who asked when for what, without what was asked
check_log: Final = Table(
    "check_log",
    metadata,
    Column("asker", ordered(400), nullable=False),
    Column("check_id", Bytes(16), nullable=False),
    Column("purpose", ordered(64), nullable=False),
    Column("operation", ordered(64), nullable=False),
    Column("justification_hash", Bytes(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("asker", "check_id"),
)

# two references of one value; party_a < party_b
edge: Final = Table(
    "edge",
    metadata,
    Column("edge_id", Bytes(16), primary_key=True),
    Column("party_a", ordered(400), nullable=False),
    Column("reference_a", Bytes(16), nullable=False),
    Column("party_b", ordered(400), nullable=False),
    Column("reference_b", Bytes(16), nullable=False),
    Column("namespace", Integer, nullable=False),
    Column("grade", Integer, nullable=False),
    Column("check_id", Bytes(16), nullable=False),  # empty for an edge of a sweep
    Column("sweep_id", Bytes(16), nullable=False),  # empty for an edge of a check
    Column("state", ordered(8), nullable=False),  # live | merged | void
    Column("merged_into", Bytes(16)),
    Column("opened_at_ms", BigInteger, nullable=False),
    Column("exercise", ordered(64), nullable=False, server_default=text("''")),  # its operation, or none
    Column("visible", Boolean, nullable=False, server_default=false()),  # both sides were told; true for good (I11)
    Index("edge_merged_into", "merged_into"),
    # The operator's view counts from this index alone.
    Index("edge_visible", "party_a", "party_b", "namespace", sqlite_where=VISIBLE, postgresql_where=VISIBLE),
    *(Index(name, *key, unique=True, sqlite_where=LIVE, postgresql_where=LIVE) for name, key in EDGE_KEYS.items()),
)

# who was told of whom; a key is free again when its edge is void
told: Final = Table(
    "told",
    metadata,
    Column("recipient", ordered(400), nullable=False),
    Column("reference", Bytes(16), nullable=False),
    Column("other", ordered(400), nullable=False),
    Column("edge_id", Bytes(16), nullable=False),
    PrimaryKeyConstraint("recipient", "reference", "other", "edge_id"),
    Index("told_by_edge", "edge_id"),
    # A group of answers is looked up by its references alone.
    Index("told_by_reference", "reference"),
    Index("told_key", "recipient", "reference", "other", unique=True),
)

# each recipient's list, append-only and without gaps (C8)
notice: Final = Table(
    "notice",
    metadata,
    Column("recipient", ordered(400), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("content", Bytes(), nullable=False),
    Column("exercise", ordered(64), nullable=False, server_default=text("''")),  # as of its edge
    PrimaryKeyConstraint("recipient", "cursor"),
)

# withdrawn references
tombstone: Final = Table(
    "tombstone",
    metadata,
    Column("party", ordered(400), nullable=False),
    Column("reference", Bytes(16), nullable=False),
    PrimaryKeyConstraint("party", "reference"),
    Index("tombstone_by_reference", "reference"),
)


# who was told of an edge that a withdrawal made void, and owes a receipt; its message once it is there (LB-22)
receipt: Final = Table(
    "receipt",
    metadata,
    Column("edge_id", Bytes(16), nullable=False),
    Column("signer", ordered(400), nullable=False),
    Column("withdrawer", ordered(400), nullable=False),
    Column("reference", Bytes(16), nullable=False),  # the withdrawn one
    Column("owed_since_ms", BigInteger, nullable=False),
    Column("forward", Boolean, nullable=False),  # the withdrawing party was told too; else its receipt would show (I11)
    Column("message", Bytes()),
    PrimaryKeyConstraint("edge_id", "signer"),
)

# what a told party says of an edge; once for each, so that nobody is flooded
feedback: Final = Table(
    "feedback",
    metadata,
    Column("edge_id", Bytes(16), nullable=False),
    Column("signer", ordered(400), nullable=False),
    Column("message", Bytes(), nullable=False),
    PrimaryKeyConstraint("edge_id", "signer"),
)

# every incarnation that a party's store ever had; the highest number is the one that may attach
incarnation: Final = Table(
    "incarnation",
    metadata,
    Column("party", ordered(400), nullable=False),
    Column("incarnation", Bytes(16), nullable=False),
    Column("number", BigInteger, nullable=False),
    PrimaryKeyConstraint("party", "incarnation"),
)


def drop_live_keys(connection: Connection) -> None:
    """Drop the keys of live edges and of what was told, for tests that show what is told twice without them (C5)."""
    keys = [*EDGE_KEYS, "told_key"]
    for index in (*edge.indexes, *told.indexes):
        if index.name in keys:
            index.drop(connection, checkfirst=True)
