"""Keep receipts of withdrawals, feedback, the incarnations of parties' stores, and which edges are of an exercise."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"


def _ordered(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables and indexes, and mark every edge and notice as of no exercise."""
    for table in ("edge", "notice"):
        op.add_column(table, sa.Column("exercise", _ordered(64), nullable=False, server_default=sa.text("''")))
    for table in ("told", "tombstone"):
        op.create_index(f"{table}_by_reference", table, ["reference"])
    op.create_table(
        "receipt",
        sa.Column("edge_id", sa.LargeBinary(16), nullable=False),
        sa.Column("signer", _ordered(400), nullable=False),
        sa.Column("withdrawer", _ordered(400), nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("owed_since_ms", sa.BigInteger, nullable=False),
        sa.Column("forward", sa.Boolean, nullable=False),
        sa.Column("message", sa.LargeBinary),
        sa.PrimaryKeyConstraint("edge_id", "signer"),
    )
    op.create_table(
        "feedback",
        sa.Column("edge_id", sa.LargeBinary(16), nullable=False),
        sa.Column("signer", _ordered(400), nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("edge_id", "signer"),
    )
    op.create_table(
        "incarnation",
        sa.Column("party", _ordered(400), nullable=False),
        sa.Column("incarnation", sa.LargeBinary(16), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("party", "incarnation"),
    )
