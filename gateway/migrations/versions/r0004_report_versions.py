"""Keep every version of a report, and in which order operations became active (3.6 (6), (7))."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"

_ACTIVE: Final = 2
_NUMBER: Final = """
UPDATE operation SET number = (
    SELECT count(*) FROM operation AS one WHERE one.state >= :active AND one.operation <= operation.operation
) WHERE state >= :active
"""
_MOVE: Final = """
INSERT INTO operation_report (operation, version, report, signature)
SELECT operation, 1, report, report_signature FROM operation
WHERE report IS NOT NULL AND report_signature IS NOT NULL
"""


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Move the reports into a table of their own, and number what was signed by all."""
    op.create_table(
        "operation_report",
        sa.Column("operation", _text(64), sa.ForeignKey("operation.operation"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
        sa.PrimaryKeyConstraint("operation", "version"),
    )
    op.execute(_MOVE)
    op.drop_column("operation", "report")
    op.drop_column("operation", "report_signature")
    op.add_column("operation", sa.Column("number", sa.Integer))
    # What order they had is not known any more; any will do, as long as it stays.
    op.execute(sa.text(_NUMBER).bindparams(active=_ACTIVE))
