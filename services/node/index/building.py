"""Making the live run: from the whole store, or from the run before it and what came since.

Neither holds a long transaction. What is numbered while one is made is above the sequence that the run covers, and what
is deleted meanwhile is listed after the last deletion that it has heeded; both are read anew after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from concordat.errors import ConfigError
from services.node.index.live import Moment, changed_values
from services.node.index.records import (
    COLUMNS,
    RECORD,
    WORDS,
    are_whole,
    as_words,
    from_words,
    ordered,
    read_records,
    records_of,
    values_of,
)
from services.node.index.rows import among
from services.node.index.run import Column, RunFacts
from services.node.index.run_writer import RunWriter
from services.node.index.spill import Spill
from services.node.store import meta, publishing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from services.node.index.records import Records
    from services.node.index.rows import Words
    from services.node.index.run import Run
    from services.node.store.database import Database

KIND: Final = "live"
UNREAD: Final = ("record",)
"""Not read at a start but soon after it: each row of it has a check of its own."""
# A scan needs no secret, and a third of what is there: what it reads is a second time beside the records.
LAYOUT: Final = (Column("high", "<u8"), Column("low", "<u8"), Column("entry", "<u8"), Column("record", "<u8", WORDS))
_FORMAT: Final = 2
_TYPES: Final = {
    "format": int,
    "incarnation": str,
    "sequence": int,
    "numbered": int,
    "stamp": str,
    "change": int,
    "change_stamp": str,
}
_READ_ROWS: Final = 10_000
_MERGE_ROWS: Final = 1 << 16
_RELEASE_BLOCKS: Final = 16
_VALUE: Final = "CROSS JOIN value v ON v.id = t.value_id"


@dataclass(frozen=True, slots=True)
class Cover:
    """What of the store a run covers.

    Attributes:
        incarnation: Of the store.
        sequence: All tokens up to it are in the run.
        numbered: The last number that was given up to there, 0 for none, with its stamp.
        stamp: Of that number.
        change: The last change that the run has heeded, 0 for none, with its stamp.
        change_stamp: Of that change.
    """

    incarnation: str
    sequence: int
    numbered: int
    stamp: str
    change: int
    change_stamp: str

    @property
    def moment(self) -> Moment:
        """Return the moment of the store."""
        return Moment(self.sequence, self.change)

    @classmethod
    def of_store(cls, db: sqlite3.Connection) -> Cover:
        """Return what a run covers that is made now."""
        sequence = meta.get_int(db, meta.SEQUENCE)
        numbered = _last(db, "SELECT sequence, hex(stamp) FROM numbered WHERE sequence <= ? ORDER BY 1 DESC", sequence)
        change = _last(db, "SELECT id, hex(stamp) FROM index_changed WHERE id >= ? ORDER BY 1 DESC", 0)
        return cls(meta.get_bytes(db, meta.INCARNATION).hex(), sequence, *numbered, *change)

    @classmethod
    def of_facts(cls, facts: Mapping[str, int | str]) -> Cover:
        """Return what a run's header says that it covers.

        Raises:
            ConfigError: It is of another version of the program.
        """
        if {name: type(value) for name, value in facts.items()} != _TYPES or facts["format"] != _FORMAT:
            raise ConfigError("it was made by another version of this program")
        return cls(**{name: facts[name] for name in cls.__slots__})  # type: ignore[arg-type]  # compared above

    def require(self, db: sqlite3.Connection) -> None:
        """Check that the store has gone on from the moment that this is of.

        Raises:
            ConfigError: It is an older copy, or another store.
        """
        incarnation = meta.get_bytes(db, meta.INCARNATION).hex()
        numbered = _last(db, "SELECT sequence, hex(stamp) FROM numbered WHERE sequence = ?", self.numbered)
        change = _last(db, "SELECT id, hex(stamp) FROM index_changed WHERE id = ?", self.change)
        found = Cover(incarnation, self.sequence, *numbered, *change)
        # A run that heeded no change needs the list from its first on; another needs it from the one that it names.
        listed_from = db.execute("SELECT coalesce(min(id), 1) FROM index_changed").fetchone()[0]
        if found != self or self.sequence > meta.get_int(db, meta.SEQUENCE) or listed_from > max(self.change, 1):
            raise ConfigError("it is of another store, or of a later state of this one")

    def facts(self) -> dict[str, int | str]:
        """Return this for a run's header."""
        return {"format": _FORMAT} | {name: getattr(self, name) for name in self.__slots__}

    def forget_older(self, db: sqlite3.Connection) -> None:
        """Delete from the store what only a run before this one needs; call it when this one stands."""
        db.execute("DELETE FROM numbered WHERE sequence < ?", (self.numbered,))
        db.execute("DELETE FROM index_changed WHERE id < ?", (self.change,))


def _last(db: sqlite3.Connection, query: str, name: int) -> tuple[int, str]:
    row: tuple[int, str] | None = db.execute(f"{query} LIMIT 1", (name,)).fetchone()
    return (0, "") if row is None else row


def build(database: Database, path: Path, progress: Callable[[int, int], None], step: Callable[[str], None]) -> Cover:
    """Make a run from the whole store.

    Args:
        database: A connection of its own, as it is read for long.
        path: Where the run will stand.
        progress: Hears how many rows were read, of how many.
        step: Called between the steps of writing.

    Raises:
        UnavailableError: The disk is full, or the store cannot be read.
        ConfigError: The store has more values than the index has room for.
    """
    with database.read() as db:
        cover = Cover.of_store(db)
        total: int = db.execute("SELECT count(*) FROM token WHERE sequence <= ?", (cover.sequence,)).fetchone()[0]
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with Spill(path.parent, RECORD, total) as spill:
        read = 0
        for records in _numbered(database, cover.sequence):
            spill.add(records)
            read += len(records)
            progress(read, total)
        step("spilled")
        # Rows that were deleted since they were counted leave room that takes no disk.
        with RunWriter.begin(path, RunFacts(KIND, cover.facts()), LAYOUT, capacity=max(read, total)) as writer:
            for share in spill.shares():
                writer.append(_columns(ordered(share)))
            writer.commit(step)
    return cover


def _columns(records: Records) -> dict[str, npt.NDArray[Any]]:
    return {"high": records["high"], "low": records["low"], "entry": records["entry"], "record": as_words(records)}


def _numbered(database: Database, sequence: int) -> Iterator[Records]:
    """Give all rows up to a sequence in the order of the primary key, each block in a transaction of its own."""
    query = (
        f"SELECT {COLUMNS} FROM token t {_VALUE} WHERE (t.epoch, t.value_id) > (?, ?) AND t.sequence <= ?"  # noqa: S608 -- constants
        " ORDER BY t.epoch, t.value_id LIMIT ?"
    )
    at = (-1, -1)
    while True:
        with database.read() as db:
            found = db.execute(query, (*at, sequence, _READ_ROWS)).fetchall()
        if not found:
            return
        at = found[-1][:2]
        yield records_of(found)


def compact(database: Database, run: Run, path: Path, step: Callable[[str], None]) -> Cover:
    """Make a run from the one before it, with what was numbered since and without what changed.

    Args:
        database: A connection of its own.
        run: The one before.
        path: Where the run will stand; it may be that of the one before, whose columns stay valid.
        step: Called between the steps of writing.

    Raises:
        UnavailableError: The disk is full, or the store cannot be read.
        ConfigError: The run before is damaged, or the store has more values than the index has room for.
    """
    covered = int(run.facts["sequence"])
    with database.read() as db:
        cover = Cover.of_store(db)
        changed = changed_values(db)
        delta = ordered(np.concatenate((_again(db, covered), _after(db, covered))))
    facts, capacity = RunFacts(KIND, cover.facts()), run.rows + len(delta)
    with RunWriter.begin(path, facts, LAYOUT, capacity=capacity) as writer:
        for records in _merged(run, changed, delta):
            writer.append(_columns(records))
        writer.commit(step)
    return cover


def _again(db: sqlite3.Connection, covered: int) -> Records:
    """Return the records of changed values as they are now."""
    changed = f"{publishing.CHANGED} CROSS JOIN token t INDEXED BY token_by_value ON t.value_id = c.value_id"
    return read_records(db, f"SELECT {COLUMNS} FROM {changed} {_VALUE} WHERE t.sequence <= ?", covered)  # noqa: S608 -- constants


def _after(db: sqlite3.Connection, covered: int) -> Records:
    query = f"SELECT {COLUMNS} FROM token t INDEXED BY token_by_sequence {_VALUE} WHERE t.sequence > ?"  # noqa: S608 -- constants
    return read_records(db, query, covered)


def _merged(run: Run, changed: Words, delta: Records) -> Iterator[Records]:
    """Give the run's records but those of changed values, and the delta's, ascending by token and in blocks."""
    start = taken = number = 0
    high = run.column("high")
    while start < run.rows:
        # Rows with one first word stay in one block, or their order would be broken.
        last = min(start + _MERGE_ROWS, run.rows) - 1
        end = int(np.searchsorted(high, high[last], side="right"))
        upto = int(np.searchsorted(delta["high"], high[last], side="right"))
        records = from_words(run.read("record", start, end))
        if not are_whole(records):
            raise ConfigError(f"{run.path}: is damaged")
        records = records[~among(values_of(records), changed)] if len(changed) else records
        yield ordered(np.concatenate((records, delta[taken:upto]))) if upto > taken else records
        start, taken, number = end, upto, number + 1
        if number % _RELEASE_BLOCKS == 0:
            run.release()
    if taken < len(delta):
        yield delta[taken:]
