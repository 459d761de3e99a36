"""Making the live run: from the whole store, or from the run before it and what came since.

Neither holds a long transaction. What is numbered while one is made is above the sequence that the run covers, and what
is deleted meanwhile is listed after the last deletion that it has heeded; both are read anew after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError
from services.node.index.live import gone_entries
from services.node.index.rows import Rows, among, order_of
from services.node.index.run import Column, RunFacts, RunWriter
from services.node.index.spill import Spill
from services.node.store import meta

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from services.node.index.live import State
    from services.node.index.rows import Words
    from services.node.index.run import Run
    from services.node.store.database import Database

KIND: Final = "live"
LAYOUT: Final = (Column("high", "<u8"), Column("low", "<u8"), Column("entry", "<u8"))
_TYPES: Final = {"incarnation": str, "sequence": int, "numbered": int, "stamp": str, "gone": int, "gone_stamp": str}
_READ_ROWS: Final = 50_000
_MERGE_ROWS: Final = 1 << 16
_RELEASE_BLOCKS: Final = 16
_SPILLED: Final = np.dtype([(column.name, column.type) for column in LAYOUT])


@dataclass(frozen=True, slots=True)
class Cover:
    """What of the store a run covers.

    Attributes:
        incarnation: Of the store.
        sequence: All tokens up to it are in the run.
        numbered: The last number that was given up to there, 0 for none, with its stamp.
        stamp: Of that number.
        gone: The last deletion that the run has heeded, 0 for none, with its stamp.
        gone_stamp: Of that deletion.
    """

    incarnation: str
    sequence: int
    numbered: int
    stamp: str
    gone: int
    gone_stamp: str

    @classmethod
    def of_store(cls, db: sqlite3.Connection, sequence: int | None = None) -> Cover:
        """Return what a run covers that is made now, or one that reaches an earlier sequence."""
        sequence = meta.get_int(db, meta.SEQUENCE) if sequence is None else sequence
        numbered = _last(db, "SELECT sequence, hex(stamp) FROM numbered WHERE sequence <= ? ORDER BY 1 DESC", sequence)
        gone = _last(db, "SELECT id, hex(stamp) FROM index_gone WHERE id >= ? ORDER BY 1 DESC", 0)
        return cls(meta.get_bytes(db, meta.INCARNATION).hex(), sequence, *numbered, *gone)

    @classmethod
    def of_facts(cls, facts: Mapping[str, int | str]) -> Cover:
        """Return what a run's header says that it covers.

        Raises:
            ConfigError: It is of another version of the program.
        """
        if {name: type(value) for name, value in facts.items()} != _TYPES:
            raise ConfigError("it was made by another version of this program")
        return cls(**facts)  # type: ignore[arg-type]  # compared above

    def require(self, db: sqlite3.Connection) -> None:
        """Check that the store has gone on from the moment that this is of.

        Raises:
            ConfigError: It is an older copy, or another store.
        """
        incarnation = meta.get_bytes(db, meta.INCARNATION).hex()
        numbered = _last(db, "SELECT sequence, hex(stamp) FROM numbered WHERE sequence = ?", self.numbered)
        gone = _last(db, "SELECT id, hex(stamp) FROM index_gone WHERE id = ?", self.gone)
        found = Cover(incarnation, self.sequence, *numbered, *gone)
        # A run that heeded no deletion needs the list from its first on; another needs it from the one that it names.
        listed_from = db.execute("SELECT coalesce(min(id), 1) FROM index_gone").fetchone()[0]
        if found != self or self.sequence > meta.get_int(db, meta.SEQUENCE) or listed_from > max(self.gone, 1):
            raise ConfigError("it is of another store, or of a later state of this one")

    def facts(self) -> dict[str, int | str]:
        """Return this for a run's header."""
        return {name: getattr(self, name) for name in self.__slots__}

    def forget_older(self, db: sqlite3.Connection) -> None:
        """Delete from the store what only a run before this one needs; call it when this one stands."""
        db.execute("DELETE FROM numbered WHERE sequence < ?", (self.numbered,))
        db.execute("DELETE FROM index_gone WHERE id < ?", (self.gone,))


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
    with Spill(path.parent, _SPILLED, total) as spill:
        read = 0
        for rows in _numbered(database, cover.sequence):
            packed = np.empty(len(rows), _SPILLED)
            packed["high"], packed["low"], packed["entry"] = rows
            spill.add(packed)
            read += len(rows)
            progress(read, total)
        step("spilled")
        # Rows that were deleted since they were counted leave room that takes no disk.
        with RunWriter.begin(path, RunFacts(KIND, cover.facts()), LAYOUT, capacity=max(read, total)) as writer:
            for share in spill.shares():
                ordered = share[order_of(share["high"], share["low"])]
                writer.append({column.name: ordered[column.name] for column in LAYOUT})
            writer.commit(step)
    return cover


def _numbered(database: Database, sequence: int) -> Iterator[Rows]:
    """Give all rows up to a sequence in the order of the primary key, each block in a transaction of its own."""
    query = (
        "SELECT epoch, value_id, token, sequence FROM token WHERE (epoch, value_id) > (?, ?)"
        " ORDER BY epoch, value_id LIMIT ?"
    )
    at = (-1, -1)
    while True:
        with database.read() as db:
            found = db.execute(query, (*at, _READ_ROWS)).fetchall()
        if not found:
            return
        at = found[-1][:2]
        yield Rows.of([row[:3] for row in found if row[3] is not None and row[3] <= sequence])


def compact(database: Database, state: State, path: Path, step: Callable[[str], None]) -> Cover:
    """Make a run from a state of the index, without what was deleted.

    Args:
        database: A connection of its own.
        state: Run and parts.
        path: Where the run will stand; it may be that of the state's run, whose columns stay valid.
        step: Called between the steps of writing.

    Raises:
        UnavailableError: The disk is full, or the store cannot be read.
    """
    with database.read() as db:
        cover = Cover.of_store(db, state.known)
        gone = gone_entries(db, cover.gone)
        parts = _again(db, cover.gone, state.known)
    for part in state.parts:
        parts = parts.joined(part.taken(~among(part.entry, gone)))
    delta = parts.ordered()
    facts, capacity = RunFacts(KIND, cover.facts()), state.run.rows + len(delta)
    with RunWriter.begin(path, facts, LAYOUT, capacity=capacity) as writer:
        for rows in _merged(state.run, gone, delta):
            writer.append(rows._asdict())
        writer.commit(step)
    return cover


def _again(db: sqlite3.Connection, through: int, known: int) -> Rows:
    """Return the rows of deleted entries that have got another token since."""
    query = (
        "SELECT t.epoch, t.value_id, t.token FROM (SELECT DISTINCT epoch, value_id FROM index_gone WHERE id <= ?) g"
        " CROSS JOIN token t ON t.epoch = g.epoch AND t.value_id = g.value_id WHERE t.sequence <= ?"
    )
    return Rows.of(db.execute(query, (through, known)))


def _merged(run: Run, gone: Words, delta: Rows) -> Iterator[Rows]:
    """Give the run's rows that are not gone, and the delta's, ascending by token and in blocks."""
    start = taken = number = 0
    high = run.column("high")
    while start < run.rows:
        # Rows with one first word stay in one block, or their order would be broken.
        last = min(start + _MERGE_ROWS, run.rows) - 1
        end = int(np.searchsorted(high, high[last], side="right"))
        upto = int(np.searchsorted(delta.high, high[last], side="right"))
        rows = Rows.of_run(run, start, end)
        rows = rows.taken(~among(rows.entry, gone)) if len(gone) else rows
        yield rows.joined(delta.taken(slice(taken, upto))).ordered() if upto > taken else rows
        start, taken, number = end, upto, number + 1
        if number % _RELEASE_BLOCKS == 0:
            run.release()
    if taken < len(delta):
        yield delta.taken(slice(taken, None))
