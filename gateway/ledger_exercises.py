"""The end of an exercise in the ledger: its edges go, with all that was said of them (3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, select, update

from concordat.wire.v1 import check_pb2 as wire
from gateway import ledger_schema as schema

if TYPE_CHECKING:
    from sqlalchemy import Table


def wipe_exercise(connection: Connection, operation: str) -> None:
    """Delete the edges of an exercise and whatever names them; recipients' lists keep an empty entry in each place.

    A list without gaps is what tells a node that it has missed nothing (C8), and what was of no exercise stays.
    """
    if not operation:
        return
    edge, notice = schema.edge, schema.notice
    mine = select(edge.c.edge_id).where(edge.c.exercise == operation)
    tables: tuple[Table, ...] = (schema.told, schema.receipt, schema.feedback)
    for table in tables:
        connection.execute(delete(table).where(table.c.edge_id.in_(mine)))
    connection.execute(delete(edge).where(edge.c.exercise == operation))
    entries = connection.execute(select(notice.c.recipient, notice.c.cursor).where(notice.c.exercise == operation))
    rows = [{"of": recipient, "at": cursor, "empty": _empty(cursor)} for recipient, cursor in entries]
    if rows:
        place = (notice.c.recipient == bindparam("of")) & (notice.c.cursor == bindparam("at"))
        connection.execute(update(notice).where(place).values(content=bindparam("empty"), exercise=""), rows)


def _empty(cursor: int) -> bytes:
    return wire.Notice(cursor=cursor, wiped=wire.Wiped()).SerializeToString(deterministic=True)
