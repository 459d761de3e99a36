"""The one place where transactions that write begin.

    result = transact(engine, lambda connection: ...)

On SQLite a transaction that writes takes the write lock at its start (`gateway.database`); on PostgreSQL it locks one
table that every such transaction needs. So replicas of the gateway write one after the other, and each sees all that
was committed before it: positions ascend, and recipients' lists have neither gaps nor doubles (C8). A transaction that
the database aborts as a conflict is repeated whole, so `work` must have no effect outside of it. A commit whose outcome
is unknown is not repeated here: whoever asked must know that it is in doubt.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from concordat.errors import UnavailableError
from gateway.postgres import reason, sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

T = TypeVar("T")

# serialization_failure, deadlock_detected
_CONFLICTS: Final = ("40001", "40P01")
# connection exceptions, rolled back, out of resources, lock not available, operator's intervention
_AWAY: Final = ("08", "40", "53", "55P03", "57", "58")
_PAUSES_S: Final = (0.005, 0.02, 0.05, 0.1, 0.2)
# Conflicts with itself and with every writer, and with no reader; snapshots are taken after it is held.
_LOCK: Final = "LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE"


class DatabaseAwayError(UnavailableError):
    """The database cannot be reached or takes nothing now; what was committed last is in doubt."""


def transact(engine: Engine, work: Callable[[Connection], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Do work in one serialisable transaction of its own and return its result once that is durable.

    Raises:
        SQLAlchemyError: The work is not known to be durable.
    """
    for pause in _PAUSES_S:
        try:
            return _once(engine, work)
        except DBAPIError as error:
            if sqlstate(error.orig) not in _CONFLICTS:
                raise
        sleep(pause)
    return _once(engine, work)


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(_LOCK)
        return work(connection)


def unavailable(error: Exception, message: str) -> UnavailableError:
    """Return what to raise for an error of the database."""
    why = reason(error)
    kind = DatabaseAwayError if _is_away(error) else UnavailableError
    return kind(f"{message}: {why}" if why else message)


def _is_away(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        # OperationalError is what SQLite says of a lock, a full disk and the like.
        lost = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
        return lost or sqlstate(error.orig).startswith(_AWAY)
    return isinstance(error, PoolTimeoutError)
