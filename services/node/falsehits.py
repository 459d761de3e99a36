"""Negative feedback: an officer says that a match is none; the other side hears of it if it was told (3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.clock import MS
from concordat.errors import InputError
from concordat.identity.names import short
from concordat.protocol.feedback import sign_feedback
from concordat.wire.v1 import check_pb2 as wire
from services.node.store import inbox
from services.node.store.feedback import FeedbackRow, put_feedback
from services.node.submit import wake

if TYPE_CHECKING:
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.vocabulary import FalseHit
    from services.node.store.store import Store


def say_false_hit(
    home: Home, store: Store, handle: str, *, reason: FalseHit, officer: str, other: str | None, clock: Clock
) -> list[str]:
    """Keep and sign feedback on the edges of a match; return the parties of whom it was said.

    Raises:
        InputError: No shown match of this handle, or none with that party.
    """
    at_ms = int(clock.now() * MS)
    said: list[str] = []
    with store.write() as db:
        for told in inbox.all_told(db):
            if told.handle != handle or told.state != "shown" or other not in (None, short(told.other)):
                continue
            body = wire.FeedbackBody(
                edge_id=told.edge_id,
                other=told.other,
                reason=reason.value,
                signer=str(home.identity),
                given_at_ms=at_ms,
            )
            message = sign_feedback(body, home.signing_key).SerializeToString(deterministic=True)
            row = FeedbackRow(told.edge_id, told.own_reference, True, reason.value, officer, at_ms, message)
            put_feedback(db, row)
            said.append(short(told.other))
    if not said:
        raise InputError("no match of this handle is shown here, or none with that party", code="no_such_match")
    wake(home.path)
    return sorted(said)
