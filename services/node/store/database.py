"""The file under the store: opening it, and transactions that threads and processes take in turn.

WAL and synchronous=FULL: what a transaction has written is on disk when it ends, unless it leaves that to the next one.
A group makes many transactions wait for the disk once.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from concordat.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_S: Final = 60.0


class Database:
    """One connection to the file; see the module."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._turn = threading.RLock()
        self._grouped = False
        self._writing = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, making an empty one (0600) where there is none.

        Raises:
            ConfigError: It cannot be opened, is no database, or others may read it.
        """
        try:
            if not path.exists():
                # Only a new file is touched: closing a file drops every POSIX lock that this process has on it, those
                # of a store that is open already too, and another process would then remove the log under it.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            if stat.S_IMODE(path.stat().st_mode) & 0o177:
                raise ConfigError(f"{path}: others can open the store; run: chmod 600 {path}")
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be opened ({error.strerror})") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path}: is no store, or is damaged") from error
        return cls(connection)

    def close(self) -> None:
        """Close the file; what was written is on disk already."""
        with self._turn:
            self._db.close()

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a writing transaction: all of it is on disk afterwards, or nothing.

        Args:
            durable: Else it outlives the end of this process, but a machine that loses its power may lose it as long
                as nothing else was written durably, by whatever connection: a flush of the log takes all before it
                along. For what can be made again, and is followed by a durable write before anybody hears of it.

        Raises:
            UnavailableError: The disk is full, or another process holds the file for a minute.
        """
        with self._turn, _translated():
            if self._grouped:
                with self._part() as db:
                    yield db
            else:
                with self._flushed(durable=durable), self._whole("BEGIN IMMEDIATE") as db:
                    yield db

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one moment of the store.

        Raises:
            UnavailableError: The file cannot be read now.
        """
        with self._turn, _translated():
            if self._grouped and self._db.in_transaction:
                yield self._db
            else:
                with self._whole("BEGIN") as db:
                    yield db

    @property
    def settled(self) -> bool:
        """Tell whether a read in this moment sees only what is durable, and nothing that may be taken back."""
        return not self._writing

    @contextmanager
    def group(self) -> Iterator[None]:
        """Make all writing transactions of the block durable together, at its end: one wait for the disk for all.

        One that fails takes back itself only; when the block fails, nothing of it is kept. Whatever tells others of
        these writes has to wait for the end of the block.
        """
        with self._turn, _translated():
            self._grouped = True
            try:
                yield
                if self._db.in_transaction:
                    self._db.execute("COMMIT")
            finally:
                self._grouped = self._writing = False
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _part(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction as a part of the group's."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._writing = True
        self._db.execute("SAVEPOINT part")
        try:
            yield self._db
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO part")
                self._db.execute("RELEASE part")
            raise
        self._db.execute("RELEASE part")

    @contextmanager
    def _flushed(self, *, durable: bool) -> Iterator[None]:
        """Let the transaction of the block wait for the disk, or not."""
        if durable:
            yield
            return
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _whole(self, begin: str) -> Iterator[sqlite3.Connection]:
        self._db.execute(begin)
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite has ended the transaction by itself where the disk is full.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the file system does to the store into an error that callers wait out."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UnavailableError("the store cannot be used now: its disk is full, or it is locked or damaged") from error
