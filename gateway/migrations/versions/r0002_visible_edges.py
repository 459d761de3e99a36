"""Mark the edges that both sides were told of, which are all that the operator may count (I11)."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

_VISIBLE: Final = sa.text("state = 'live' AND visible")
# Whoever was told of an edge that was merged into another was told of that one.
_MARK: Final = """
UPDATE edge SET visible = true WHERE state = 'live' AND 2 = (
    SELECT count(DISTINCT told.recipient) FROM told JOIN edge AS family ON told.edge_id = family.edge_id
    WHERE family.edge_id = edge.edge_id OR family.merged_into = edge.edge_id
)
"""


def upgrade() -> None:
    """Add the mark, set it, and make the indexes by which edges are found and counted."""
    op.create_index("edge_merged_into", "edge", ["merged_into"], if_not_exists=True)
    op.add_column("edge", sa.Column("visible", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(_MARK)
    op.create_index(
        "edge_visible",
        "edge",
        ["party_a", "party_b", "namespace"],
        sqlite_where=_VISIBLE,
        postgresql_where=_VISIBLE,
    )
