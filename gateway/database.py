"""The one place where database engines are made: SQLite embedded by default, or PostgreSQL (`gateway.postgres`).

SQLite runs with a write-ahead log and full synchronisation: a commit that returned survives the machine's power (I9).
Every transaction takes the write lock at its start, so that transactions are serialisable and never deadlock; only
connections with the option `read_only` do not.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event

from concordat.clock import MS
from concordat.errors import ConfigError
from gateway.postgres import Postgres, open_postgres

if TYPE_CHECKING:
    from pathlib import Path

READ_ONLY: Final = {"read_only": True}
_BUSY_MS: Final = 10_000
_PAUSE_S: Final = 0.02
# Edges have random keys, so that each group of answers changes some hundred pages all over the file. Most are changed
# again soon: with a longer log (16 MiB) they go back into the file once for many groups.
_LOG_PAGES: Final = 4096
_CACHE_KIB: Final = 8 << 10


def open_engine(path: Path | Postgres) -> Engine:
    """Return an engine for a SQLite file or a PostgreSQL.

    Raises:
        ConfigError: The file's folder is missing or cannot be written, or PostgreSQL must not be reached like this.
    """
    if isinstance(path, Postgres):
        return open_postgres(path)
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: its folder does not exist")
    # Created closed to other users before SQLite writes into it; its -wal and -shm files take the same mode.
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own transactions would begin late and deferred; ours begin in `_begin`.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {_LOG_PAGES}",
        f"cache_size = -{_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log; two that begin one at the same moment are not made to wait by SQLite itself."""
    deadline = time.monotonic() + _BUSY_MS / MS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
