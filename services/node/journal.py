"""The policy journal: what was decided of who may be told, and what was withdrawn, kept apart from the store's backup.

    journal = Journal(home.path / FILE_NAME)
    with journal.changing(store) as change:
        change.add(Entry(...))                  # on disk when it returns
        ...                                     # then the store, in change's transaction

A store that is restored from a backup has forgotten decisions; a record that had been narrowed would be shown again.
So each decision is a line here before the store has it, and whatever the store has not applied is applied again before
the node answers anything (I9). The lines are chained by hash; identifiers are in none of them, only the random ids of
records. Keep the file where the store's backup does not reach it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from concordat.errors import ConfigError, UnavailableError
from concordat.vocabulary import WithdrawReason
from services.node.policy import Policy
from services.node.store import meta, policies, withdrawals

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from services.node.store.store import Store

FILE_NAME: Final = "policy-journal.jsonl"
_FIRST: Final = "0" * 64

Uid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Entry(BaseModel):
    """One decision on one record."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    what: Literal["policy", "withdraw"]
    uid: Uid
    at_ms: int = Field(ge=0)
    officer: str = Field(default="", max_length=200)
    policy: Policy | None = None
    reason: WithdrawReason | None = None


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    number: int = Field(ge=1)
    previous: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    entry: Entry


@dataclass(slots=True)
class Change:
    """Decisions that are about to be made; the store has them in the transaction that this gives."""

    db: sqlite3.Connection
    journal: Journal
    number: int
    previous: str

    def add(self, entries: Iterable[Entry]) -> None:
        """Write decisions to disk.

        Raises:
            UnavailableError: The disk is full or the file cannot be written; nothing was decided.
        """
        text = ""
        for entry in entries:
            line = _Line(number=self.number + 1, previous=self.previous, entry=entry).model_dump_json(exclude_none=True)
            text += line + "\n"
            self.number, self.previous = self.number + 1, _hash(line)
        self.journal.write(text)
        meta.put(self.db, meta.JOURNAL_POSITION, self.number)


class Journal:
    """The file; see the module."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def changing(self, store: Store) -> Iterator[Change]:
        """Give a change inside a writing transaction of the store; decisions that are written stay, come what may.

        Raises:
            ConfigError: The journal was changed, or is shorter than what the store has applied.
            UnavailableError: The journal or the store cannot be written.
        """
        with self._alone(), store.write() as db:
            lines = self._read()
            self._require_whole(lines, meta.get_int(db, meta.JOURNAL_POSITION))
            position = meta.get_int(db, meta.JOURNAL_POSITION)
            _apply(db, lines[position:], epochs_of(db))
            meta.put(db, meta.JOURNAL_POSITION, len(lines))
            # Whoever decides before the node has started must not hide from it that the store is an older copy.
            meta.put(db, meta.JOURNAL_BEHIND, meta.get_int(db, meta.JOURNAL_BEHIND) + len(lines) - position)
            last = lines[-1] if lines else None
            yield Change(
                db, self, len(lines), _FIRST if last is None else _hash(last.model_dump_json(exclude_none=True))
            )

    def replay(self, store: Store) -> int:
        """Apply what the store had not applied since the last time; return how many decisions that were.

        Raises:
            ConfigError: As `changing`.
        """
        with self._alone(), store.write() as db:
            lines = self._read()
            position = meta.get_int(db, meta.JOURNAL_POSITION)
            self._require_whole(lines, position)
            _apply(db, lines[position:], epochs_of(db))
            meta.put(db, meta.JOURNAL_POSITION, len(lines))
            behind = meta.get_int(db, meta.JOURNAL_BEHIND) + len(lines) - position
            meta.put(db, meta.JOURNAL_BEHIND, 0)
            return behind

    def write(self, text: str) -> None:
        """Append lines; on disk when this returns."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(descriptor).st_size
            try:
                data = text.encode()
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                # What was said not to be decided must not be replayed.
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnavailableError(f"{self._path}: the decision was not written ({error.strerror})") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the journal against other processes of this node."""
        try:
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be locked ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> list[_Line]:
        """Return all whole lines, checked; a torn last one was never decided and is cut off."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({error.strerror})") from error
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            os.truncate(self._path, len(whole))
        lines: list[_Line] = []
        previous = _FIRST
        # Words of officers may hold other line breaks than this one.
        for number, text in enumerate(whole.decode(errors="replace").split("\n")[:-1], 1):
            try:
                line = _Line.model_validate_json(text)
            except ValidationError:
                raise ConfigError(f"{self._path}, line {number}: is no decision; put the newest copy back") from None
            if line.number != number or line.previous != previous:
                raise ConfigError(f"{self._path}, line {number}: does not follow the line before it; it was changed")
            lines.append(line)
            previous = _hash(text)
        return lines

    def _require_whole(self, lines: list[_Line], position: int) -> None:
        if len(lines) < position:
            raise ConfigError(
                f"{self._path}: has {len(lines)} lines and the store has applied {position}; put its newest copy back"
            )


def epochs_of(db: sqlite3.Connection) -> tuple[int, ...]:
    """Return the epochs for which the store has tokens or makes them."""
    rows = db.execute("SELECT DISTINCT epoch FROM token UNION SELECT DISTINCT epoch FROM to_tokenise ORDER BY 1")
    return tuple(epoch for (epoch,) in rows)


def _apply(db: sqlite3.Connection, lines: Iterable[_Line], epochs: tuple[int, ...]) -> None:
    for line in lines:
        entry = line.entry
        uid = bytes.fromhex(entry.uid)
        if entry.what == "policy" and entry.policy is not None:
            policies.set_policy(db, uid, entry.policy.content(), epochs=epochs, ask=True)
        elif entry.reason is not None:
            row = db.execute("SELECT id FROM record WHERE uid = ?", (uid,)).fetchall()
            ids = [one for (one,) in row]
            withdrawals.withdraw_records(db, ids, reason=entry.reason, at_ms=entry.at_ms, epochs=epochs)


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
