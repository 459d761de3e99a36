"""What this node can show of its checks to an auditor: signed headers, certificates and notices, as they went and came.

References are random and tokens are in none of it, so the part says nothing of any identifier (I1, I2).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from concordat.story.model import PartyPart, SentCheck

if TYPE_CHECKING:
    import sqlite3


def part_of(db: sqlite3.Connection, party: str) -> PartyPart:
    """Return the part of one node; call it inside one read transaction."""
    checks = db.execute("SELECT header, certificate FROM sent_check ORDER BY sent_at, check_id")
    notices = db.execute("SELECT content FROM notice ORDER BY cursor")
    return PartyPart(
        party=party,
        checks=tuple(SentCheck(header=_text(header), certificate=cert and _text(cert)) for header, cert in checks),
        notices=tuple(_text(content) for (content,) in notices),
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
