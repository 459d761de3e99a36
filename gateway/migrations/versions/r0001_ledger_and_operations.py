"""The ledger and the operations, as version 1 of the ledger had them.

Ledgers of that version know nothing of migrations: what is there already is kept.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

_LIVE: Final = sa.text("state = 'live'")


def upgrade() -> None:
    """Make the tables that are missing."""
    _ledger()
    _edges()
    _operations()


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _ledger() -> None:
    op.create_table(
        "meta",
        sa.Column("key", _text(32), primary_key=True),
        sa.Column("value", sa.LargeBinary),
        if_not_exists=True,
    )
    op.create_table(
        "party_sequence",
        sa.Column("party", _text(400), primary_key=True),
        sa.Column("sequence", sa.BigInteger),
        if_not_exists=True,
    )
    op.create_table(
        "check_log",
        sa.Column("asker", _text(400), nullable=False),
        sa.Column("check_id", sa.LargeBinary(16), nullable=False),
        sa.Column("purpose", _text(64), nullable=False),
        sa.Column("operation", _text(64), nullable=False),
        sa.Column("justification_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("received_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("asker", "check_id"),
        if_not_exists=True,
    )
    op.create_table(
        "notice",
        sa.Column("recipient", _text(400), nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("recipient", "cursor"),
        if_not_exists=True,
    )
    op.create_table(
        "tombstone",
        sa.Column("party", _text(400), nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("party", "reference"),
        if_not_exists=True,
    )


def _edges() -> None:
    op.create_table(
        "edge",
        sa.Column("edge_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("party_a", _text(400), nullable=False),
        sa.Column("reference_a", sa.LargeBinary(16), nullable=False),
        sa.Column("party_b", _text(400), nullable=False),
        sa.Column("reference_b", sa.LargeBinary(16), nullable=False),
        sa.Column("namespace", sa.Integer, nullable=False),
        sa.Column("grade", sa.Integer, nullable=False),
        sa.Column("check_id", sa.LargeBinary(16), nullable=False),
        sa.Column("sweep_id", sa.LargeBinary(16), nullable=False),
        sa.Column("state", _text(8), nullable=False),
        sa.Column("merged_into", sa.LargeBinary(16)),
        sa.Column("opened_at_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    for name, key in (
        ("edge_live_a", ["reference_a", "party_a", "party_b"]),
        ("edge_live_b", ["reference_b", "party_b", "party_a"]),
    ):
        op.create_index(name, "edge", key, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE, if_not_exists=True)
    op.create_table(
        "told",
        sa.Column("recipient", _text(400), nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("other", _text(400), nullable=False),
        sa.Column("edge_id", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("recipient", "reference", "other", "edge_id"),
        if_not_exists=True,
    )
    op.create_index("told_by_edge", "told", ["edge_id"], if_not_exists=True)
    op.create_index("told_key", "told", ["recipient", "reference", "other"], unique=True, if_not_exists=True)


def _operations() -> None:
    op.create_table(
        "operation",
        sa.Column("operation", _text(64), primary_key=True),
        sa.Column("charter", sa.LargeBinary, nullable=False),
        sa.Column("charter_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("opener", _text(400), nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("sweep_id", sa.LargeBinary(16)),
        sa.Column("report", sa.LargeBinary),
        sa.Column("report_signature", sa.LargeBinary(64)),
        if_not_exists=True,
    )
    op.create_table(
        "operation_participant",
        sa.Column("operation", _text(64), sa.ForeignKey("operation.operation"), nullable=False),
        sa.Column("party", _text(400), nullable=False),
        sa.Column("signature", sa.LargeBinary(64)),
        sa.Column("key_ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_signature", sa.LargeBinary(64), nullable=False),
        sa.PrimaryKeyConstraint("operation", "party"),
        if_not_exists=True,
    )
