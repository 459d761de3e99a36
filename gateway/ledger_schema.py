"""The tables of the ledger: who matches whom, and what each was told. Nothing in them derives from a token (I2)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

metadata: Final = MetaData()

# incarnation, position, handle secret, schema version
meta: Final = Table("meta", metadata, Column("key", String(32), primary_key=True), Column("value", LargeBinary))

# the sequence up to which a party's values are published to all replicas
party_sequence: Final = Table(
    "party_sequence", metadata, Column("party", String(400), primary_key=True), Column("sequence", BigInteger)
)

# who asked when for what, without what was asked
check_log: Final = Table(
    "check_log",
    metadata,
    Column("asker", String(400), nullable=False),
    Column("check_id", LargeBinary(16), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("justification_hash", LargeBinary(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("asker", "check_id"),
)

# two references of one value; party_a < party_b
edge: Final = Table(
    "edge",
    metadata,
    Column("edge_id", LargeBinary(16), primary_key=True),
    Column("party_a", String(400), nullable=False),
    Column("reference_a", LargeBinary(16), nullable=False),
    Column("party_b", String(400), nullable=False),
    Column("reference_b", LargeBinary(16), nullable=False),
    Column("namespace", Integer, nullable=False),
    Column("grade", Integer, nullable=False),
    Column("check_id", LargeBinary(16), nullable=False),  # empty for an edge of a sweep
    Column("sweep_id", LargeBinary(16), nullable=False),  # empty for an edge of a check
    Column("state", String(8), nullable=False),  # live | merged | void
    Column("merged_into", LargeBinary(16)),
    Column("opened_at_ms", BigInteger, nullable=False),
    Index("edge_merged_into", "merged_into"),
)

# who was told of whom; a key is free again when its edge is void
told: Final = Table(
    "told",
    metadata,
    Column("recipient", String(400), nullable=False),
    Column("reference", LargeBinary(16), nullable=False),
    Column("other", String(400), nullable=False),
    Column("edge_id", LargeBinary(16), nullable=False),
    PrimaryKeyConstraint("recipient", "reference", "other", "edge_id"),
    Index("told_by_edge", "edge_id"),
)

# each recipient's list, append-only and without gaps (C8)
notice: Final = Table(
    "notice",
    metadata,
    Column("recipient", String(400), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("recipient", "cursor"),
)

# withdrawn references
tombstone: Final = Table(
    "tombstone",
    metadata,
    Column("party", String(400), nullable=False),
    Column("reference", LargeBinary(16), nullable=False),
    PrimaryKeyConstraint("party", "reference"),
)

LIVE: Final = text("state = 'live'")
_EDGE_KEYS: Final = (
    ("edge_live_a", ("reference_a", "party_a", "party_b")),
    ("edge_live_b", ("reference_b", "party_b", "party_a")),
)


def live_keys(*, unique: bool) -> tuple[Index, ...]:
    """Return the indexes of the keys of live edges and of what was told.

    Args:
        unique: False only where a test shows what is told twice without it (C5).
    """
    # Built on a copy: an index joins its table for good, and the tables are shared by all ledgers of a process.
    copy = MetaData()
    edges, keys = edge.to_metadata(copy), told.to_metadata(copy)
    indexes = [
        Index(name, *(edges.c[column] for column in columns), unique=unique, sqlite_where=LIVE, postgresql_where=LIVE)
        for name, columns in _EDGE_KEYS
    ]
    told_key = Index("told_key", keys.c.recipient, keys.c.reference, keys.c.other, unique=unique)
    return (*indexes, told_key)
