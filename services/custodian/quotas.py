"""Quotas and request ids of a custodian: charged durably before anything is evaluated, and failing closed (I7).

One SQLite file holds what was charged, per authority, budget and UTC day, and which request ids were seen. A budget is
a key class, or exercises in it. Beside the file lies a *marker*, written after each charge: a position that only grows,
and the time of writing. The marker tells an old copy of the database from the real one, in three ways:

- its position is above the database's: the database was put back from a copy;
- it is missing or unreadable while the database has charges or the custodian's log has lines: likewise;
- the file system changed the marker's inode later than the time written in it: the marker itself was put back, with or
  without the database (`cp`, `tar`, `rsync` and backup programs cannot set an inode's change time).

Then what was spent since the copy is unknown, so the running day counts as spent for every authority. Moving the folder
or changing the marker's owner looks the same and costs the rest of the day. What this cannot see is a snapshot of the
whole volume or virtual machine: after such a restore run `concordat custodian quota --spend-today`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.clock import MS
from concordat.errors import ConfigError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATABASE: Final = "quotas.sqlite"
MARKER: Final = "quotas.marker"
PERIOD_S: Final = 86_400
KEEP_REQUESTS_S: Final = 86_400
_TOLERANCE_NS: Final = 5_000_000_000
_MARKER_FORM: Final = "%020d %020d\n"
_MARKER_BYTES: Final = 42
_PURGE_EVERY: Final = 1000

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE IF NOT EXISTS charge (
        authority TEXT NOT NULL, key_class TEXT NOT NULL, period INTEGER NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (authority, key_class, period)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS request (
        requester TEXT NOT NULL, request_id BLOB NOT NULL, body_hash BLOB NOT NULL, key_class TEXT NOT NULL,
        count INTEGER NOT NULL, justification_hash BLOB NOT NULL, expires_at_ms INTEGER NOT NULL,
        PRIMARY KEY (requester, request_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS request_by_expiry ON request (expires_at_ms)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a signed request says of itself, as far as it is charged."""

    requester: str
    request_id: bytes
    body_hash: bytes
    key_class: str
    count: int
    justification_hash: bytes
    expires_at_ms: int
    exercise: str = ""

    @property
    def budget(self) -> str:
        """Return what is charged: the class, or that of exercises in it; neither may use up the other."""
        return budget_of(self.key_class, exercise=bool(self.exercise))


def budget_of(key_class: str, *, exercise: bool) -> str:
    """Return the name under which the charges of a class are kept."""
    return f"{key_class}/exercise" if exercise else key_class


@dataclass(frozen=True, slots=True)
class Charge:
    """What came of a request: a repeat costs nothing; `left` is what the authority may still ask in the period."""

    repeat: bool
    left: int


class QuotaStore:
    """The custodian's only state. One process at a time; its threads take turns."""

    def __init__(self, connection: sqlite3.Connection, marker: int, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._db = connection
        self._marker = marker
        self._wall_ns = wall_ns
        self._turn = threading.Lock()
        self._charges = 0
        self._marked = 0
        self.restored = False

    @classmethod
    def open(
        cls, home: Path, *, now: float, used_before: bool = False, wall_ns: Callable[[], int] = time.time_ns
    ) -> QuotaStore:
        """Open the store of a custodian's folder, making it where there is none.

        Args:
            home: The folder.
            now: Unix seconds; the running day counts as spent where the store is an old copy.
            used_before: Whether something else shows that this custodian has evaluated before.
            wall_ns: The machine's own clock, which is compared with the file system's times; not for tests of days.

        Raises:
            ConfigError: It cannot be opened, or another process has it.
        """
        try:
            marker = os.open(home / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(os.open(home / DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            connection = sqlite3.connect(home / DATABASE, isolation_level=None, check_same_thread=False, timeout=10)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for statement in _SCHEMA:
                connection.execute(statement)
            store = cls(connection, marker, wall_ns)
            store._catch_up(now, used_before=used_before)
        except BlockingIOError as error:
            raise ConfigError(f"{home}: another custodian process uses this folder") from error
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{home / DATABASE}: the quotas cannot be opened") from error
        return store

    def close(self) -> None:
        """Close the store; what was charged is on disk already."""
        with self._turn:
            self._db.close()
            os.close(self._marker)

    def charge(
        self, request: Request, *, limit: int, now: float, beside: Callable[[bool], None] | None = None
    ) -> Charge:
        """Charge a request that is new, or find that it is a repeat; on disk when this returns.

        Args:
            request: What is charged.
            limit: Of its budget in a period.
            now: Unix seconds.
            beside: Told whether it is a repeat, once the charge is committed and before the marker is: what it begins
                to write goes to the disk together with the marker. It is not called for what is refused.

        Raises:
            RefusedError: `request_reused` for another body under a known id, `quota_exhausted` over the limit.
            UnavailableError: The store does not work; nothing may be evaluated.
        """
        with self._turn, _failing_closed():
            with self._transaction():
                charge, position = self._charge(request, limit, now)
            if beside is not None:
                beside(charge.repeat)
            if position > self._marked:
                # Also of a repeat, where the first attempt failed between its commit and the marker.
                self._mark(position)
            if not charge.repeat:
                self._purge_sometimes(now)
            return charge

    def used(self, authority: str, budget: str, *, now: float) -> int:
        """Return what an authority was charged of a budget in the running period.

        Raises:
            UnavailableError: The store does not work.
        """
        with self._turn, _failing_closed(), self._transaction():
            return self._used(authority, budget, self._period(now))

    def spent(self, *, now: float) -> bool:
        """Tell whether the running period counts as spent for everyone."""
        with self._turn, _failing_closed(), self._transaction():
            return self._get("spent_period") == self._period(now)

    def spend(self, now: float) -> None:
        """Make the running period count as spent for every authority."""
        with self._turn, _failing_closed(), self._transaction():
            period = self._period(now)
            self._put("period", period)
            self._put("spent_period", period)
            self._put("position", self._get("position") + 1)

    def all_used(self, *, now: float) -> list[tuple[str, str, int]]:
        """Return (authority, budget, charged) of the running period."""
        with self._turn, _failing_closed(), self._transaction():
            query = "SELECT authority, key_class, used FROM charge WHERE period = ? ORDER BY authority, key_class"
            return self._db.execute(query, (self._period(now),)).fetchall()

    def _charge(self, request: Request, limit: int, now: float) -> tuple[Charge, int]:
        """Return what came of a request, and the position that the marker has to have then."""
        known = self._db.execute(
            "SELECT body_hash FROM request WHERE requester = ? AND request_id = ?",
            (request.requester, request.request_id),
        ).fetchone()
        held: dict[str, int] = dict(self._db.execute("SELECT key, value FROM meta"))
        period, position = _period(now, held.get("period", 0)), held.get("position", 0)
        used = self._used(request.requester, request.budget, period)
        if known is not None:
            if known[0] != request.body_hash:
                raise RefusedError("a request id was used again with another body", code="request_reused")
            return Charge(repeat=True, left=max(0, limit - used)), position
        if held.get("spent_period", 0) == period:
            raise RefusedError("the quotas were put back from a copy; the day counts as spent", code="quota_exhausted")
        if used + request.count > limit:
            detail = f"{request.budget}: {used} of {limit} used, {request.count} asked"
            raise RefusedError("the quota is used up", code="quota_exhausted", public_detail=detail)
        if period != held.get("period", 0):
            self._put("period", period)
        self._db.execute(
            "INSERT INTO charge VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET used = used + excluded.used",
            (request.requester, request.budget, period, request.count),
        )
        self._db.execute(
            "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(request.requester, request.request_id, request.body_hash, request.key_class, request.count),
                *(request.justification_hash, request.expires_at_ms),
            ),
        )
        self._put("position", position + 1)
        return Charge(repeat=False, left=limit - used - request.count), position + 1

    def _used(self, authority: str, budget: str, period: int) -> int:
        row = self._db.execute(
            "SELECT used FROM charge WHERE authority = ? AND key_class = ? AND period = ?",
            (authority, budget, period),
        ).fetchone()
        return 0 if row is None else row[0]

    def _period(self, now: float) -> int:
        """Return the UTC day; a clock that goes back does not bring a day back.

        Only a charge moves the day on: a clock that is far ahead for a while must not cost the days up to then, and
        nothing is charged meanwhile, as the requests of parties with right clocks are expired by it.
        """
        return _period(now, self._get("period"))

    def _get(self, key: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return 0 if row is None else row[0]

    def _put(self, key: str, value: int) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
        )

    def _purge_sometimes(self, now: float) -> None:
        self._charges += 1
        if self._charges % _PURGE_EVERY == 0:
            # An expired request is refused by its expiry, long before its id is forgotten.
            before = int((now - KEEP_REQUESTS_S) * MS)
            self._db.execute("DELETE FROM request WHERE expires_at_ms < ?", (before,))

    def _mark(self, position: int) -> None:
        """Write the marker and wait for the disk; a charge counts as durable only then."""
        text = _MARKER_FORM % (position, self._wall_ns())
        os.pwrite(self._marker, text.encode(), 0)
        os.fsync(self._marker)
        self._marked = position

    def _catch_up(self, now: float, *, used_before: bool) -> None:
        found = os.pread(self._marker, 2 * _MARKER_BYTES, 0).split()
        position = self._get("position")
        if len(found) == 2 and all(part.isdigit() for part in found):
            marked, written_ns = int(found[0]), int(found[1])
            moved = abs(os.fstat(self._marker).st_ctime_ns - written_ns) > _TOLERANCE_NS
            self.restored = marked > position or moved
        else:
            marked = 0
            self.restored = position > 0 or used_before
        if self.restored:
            with self._transaction():
                # Above both, or a second old copy could pass for the first.
                self._put("position", max(position, marked))
            self.spend(now)
        self._mark(self._get("position"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


@contextmanager
def _failing_closed() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError("the quota store does not work; nothing is evaluated") from error


def _period(now: float, last: int) -> int:
    return max(int(now // PERIOD_S), last)
