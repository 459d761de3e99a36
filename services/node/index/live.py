"""The live index: which values may have a token, answered from a run and what was numbered since (3.4 step 2).

    index.lookup(db, tokens, epoch=1, settled=True)

It says only where to look: every hit is read from the store, in the transaction of the look-up, so that a value that
was withdrawn, narrowed or given another token is none, whatever the files say. What it must never do is miss one. A
token becomes findable with a sequence number above all that were given before, so the index is complete when it has
read all tokens up to the store's sequence as the transaction sees it. Other processes write the store too; one row that
each look-up reads tells whether they gave out numbers (I3, I9).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.tokens import TOKEN_BYTES
from services.node.index.rows import EPOCH_SHIFT, VALUE_MASK, Rows, Words, among, entries_of, words_of
from services.node.index.table import RunTable
from services.node.store import meta, publishing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from services.node.index.run import Run
    from services.node.store.rows import Hit

_FETCH: Final = 20_000
_BLOCK_ROWS: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class State:
    """One moment of the index: a run, parts that were numbered after it, and the sequence that all reach."""

    table: RunTable
    known: int
    parts: tuple[Rows, ...] = field(default=(), repr=False)

    def with_part(self, part: Rows, known: int) -> State:
        """Return the state with more rows. A part is joined to smaller ones, so that there are few."""
        if not len(part):
            return State(self.table, known, self.parts)
        parts, joined = list(self.parts), part
        while parts and len(parts[-1]) <= 2 * len(joined):
            joined = parts.pop().joined(joined)
        return State(self.table, known, (*parts, joined.ordered()))

    @property
    def run(self) -> Run:
        """Return the run."""
        return self.table.run

    @property
    def delta_rows(self) -> int:
        """Return how many rows the parts have."""
        return sum(len(part) for part in self.parts)


class LiveIndex:
    """Answers look-ups while it has a run; see the module. Usable from several threads."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> State | None:
        """Return the index as it is now; None while there is no run."""
        return self._state

    def use(self, run: Run | None, sequence: int = 0) -> None:
        """Go over to a run that covers the store up to a sequence; None lets the store answer alone."""
        table = None if run is None else RunTable.of(run)
        with self._lock:
            self._state = None if table is None else State(table, sequence)

    def follow(self, db: sqlite3.Connection, *, settled: bool) -> State | None:
        """Return a state that is complete for this transaction; None where the store has to answer alone.

        Args:
            db: A connection inside a transaction.
            settled: Whether all that it sees is durable: what may be taken back must not be remembered.
        """
        state, sequence = self._state, meta.get_int(db, meta.SEQUENCE)
        if state is None or sequence <= state.known:
            return state
        if not settled:
            return None
        with self._lock:
            state = self._state
            if state is not None and sequence > state.known:
                part = rows_after(db, state.known)
                state = self._state = state.with_part(part, sequence)
        return state

    def lookup(self, db: sqlite3.Connection, tokens: bytes, epoch: int, *, settled: bool) -> list[Hit] | None:
        """Return the numbered, kept values that these packed tokens stand for, in the order of the tokens.

        None where the store has to answer alone.
        """
        state = self.follow(db, settled=settled)
        if state is None:
            return None
        high, low = words_of(tokens)
        entries = np.concatenate([state.table.entries(high), *(entries_of(part, high, low) for part in state.parts)])
        wanted = np.unique(entries[entries >> EPOCH_SHIFT == np.uint64(epoch)] & VALUE_MASK)
        return publishing.hits_among(db, tokens, epoch, wanted.tolist())

    def snapshot(self, db: sqlite3.Connection, epochs: Sequence[int]) -> tuple[int, Iterator[bytes]] | None:
        """Return the sequence and, packed in blocks, every numbered, kept token of the epochs as of one moment.

        The blocks may be read after the transaction has ended. None where the store has to answer alone.
        """
        sequence, state = meta.get_int(db, meta.SEQUENCE), self._state
        if state is None:
            return None
        # The run was taken after the transaction began: rows that it has not in `index_gone` any more, it has lost too.
        gone = gone_entries(db)
        unkept = _column(db, "SELECT id FROM value WHERE kept = 0 ORDER BY id")
        extra = publishing.tokens_after(db, epochs, _covered(state.run)) + publishing.tokens_again(db, epochs)
        return sequence, _blocks(state.run, epochs, (gone, unkept), extra)


def _covered(run: Run) -> int:
    return int(run.facts["sequence"])


def _blocks(run: Run, epochs: Sequence[int], without: tuple[Words, Words], extra: bytes) -> Iterator[bytes]:
    gone, unkept = without
    wanted = np.array(sorted(epochs), np.uint64)
    for start in range(0, run.rows, _BLOCK_ROWS):
        rows = Rows.of_run(run, start, start + _BLOCK_ROWS)
        hidden = among(rows.entry, gone) | among(rows.entry & VALUE_MASK, unkept)
        yield rows.taken(among(rows.entry >> EPOCH_SHIFT, wanted) & ~hidden).tokens()
        run.release()
    for at in range(0, len(extra), _BLOCK_ROWS * TOKEN_BYTES):
        yield extra[at : at + _BLOCK_ROWS * TOKEN_BYTES]


def rows_after(db: sqlite3.Connection, sequence: int) -> Rows:
    """Return all rows that were numbered above a sequence, in no order."""
    cursor = db.execute("SELECT epoch, value_id, token FROM token WHERE sequence > ?", (sequence,))
    parts = [Rows.empty()]
    while found := cursor.fetchmany(_FETCH):
        parts.append(Rows.of(found))
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def gone_entries(db: sqlite3.Connection, through: int | None = None) -> Words:
    """Return the entries, ascending, whose token was deleted; one of them may have got another token since."""
    limit = -1 if through is None else through
    return _column(
        db,
        "SELECT DISTINCT epoch << 40 | value_id AS entry FROM index_gone WHERE ?1 < 0 OR id <= ?1 ORDER BY entry",
        limit,
    )


def _column(db: sqlite3.Connection, query: str, *names: int) -> Words:
    return np.fromiter((row[0] for row in db.execute(query, names)), np.uint64)
