"""How large this node's routing plane is to be (docs/protocol.md 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

# Each has an index of its own that is narrow, or few rows.
_COUNTED: Final = ("token WHERE sequence IS NOT NULL", "token WHERE sequence IS NULL", "to_tokenise")


def token_count(db: sqlite3.Connection) -> int:
    """Return how many tokens are stored or still to be made, of all epochs: no fewer than a plane has.

    Those of values that are in no plane are counted too, as leaving them out would take a look at each value.
    """
    # Only constants enter.
    return sum(int(db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]) for rows in _COUNTED)  # noqa: S608
