"""The live index: hits answered from a run, and from the store for all that the run cannot know (3.4 step 2).

    index.lookup(db, tokens, epoch=1, settled=True)

The run has of each token all that a hit is made of. It is believed only where nothing can have changed since it was
made: the store's triggers list every value of which something did, and such a value is read from the store, in the
transaction of the look-up; so is one that was numbered after the run. A value that was withdrawn, narrowed or given
another token is thus no hit, whatever the files say. Nor is any missed: a token becomes findable with a sequence number
above all that were given before, so the index is complete when it has read all tokens and all changes up to the last
ones that the transaction sees. Other processes write the store too; two rows that each look-up reads tell whether they
did (I3, I9).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from concordat.errors import ConfigError
from concordat.tokens import TOKEN_BYTES
from services.node.index.records import are_plain, are_whole, as_hits, from_words, values_of
from services.node.index.rows import EPOCH_SHIFT, VALUE_MASK, Rows, Words, among, entries_of, words_of
from services.node.index.table import RunTable
from services.node.store import meta, publishing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from services.node.index.records import Records
    from services.node.index.rows import Places
    from services.node.index.run import Run
    from services.node.store.rows import Hit

_FETCH: Final = 20_000
_BLOCK_ROWS: Final = 1 << 18
_LOG: Final = logging.getLogger(__name__)


class Moment(NamedTuple):
    """How far a transaction sees the store: its last sequence number, and the last change that the triggers listed."""

    sequence: int
    change: int

    @classmethod
    def of(cls, db: sqlite3.Connection) -> Self:
        """Return the moment of a transaction."""
        change = db.execute("SELECT max(id) FROM index_changed").fetchone()[0]
        return cls(meta.get_int(db, meta.SEQUENCE), change or 0)

    def reaches(self, other: Moment) -> bool:
        """Tell whether this sees all that the other does."""
        return self.sequence >= other.sequence and self.change >= other.change


@dataclass(frozen=True, slots=True)
class State:
    """One moment of the index.

    Attributes:
        table: Where tokens lie in the run.
        known: Up to which numbers and changes were read. An older transaction may see what had gone by then.
        changed: Values of which the run is not to be believed, ascending.
        parts: What was numbered after the run, ascending by token each.
    """

    table: RunTable
    known: Moment
    changed: Words = field(repr=False)
    parts: tuple[Rows, ...] = field(default=(), repr=False)

    def read_on(self, db: sqlite3.Connection, now: Moment) -> State:
        """Return the state with what was numbered and changed since."""
        state = self
        if now.sequence > self.known.sequence:
            state = state._with_part(rows_after(db, self.known.sequence))
        if now.change > self.known.change:
            state = replace(state, changed=_united(state.changed, changed_values(db, self.known.change)))
        return replace(state, known=now)

    def _with_part(self, part: Rows) -> State:
        """Return the state with more rows. A part is joined to smaller ones, so that there are few."""
        if not len(part):
            return self
        parts, joined = list(self.parts), part
        while parts and len(parts[-1]) <= 2 * len(joined):
            joined = parts.pop().joined(joined)
        return replace(self, parts=(*parts, joined.ordered()))

    @property
    def run(self) -> Run:
        """Return the run."""
        return self.table.run

    @property
    def beside_rows(self) -> int:
        """Return how many values are read from the store whatever the run says."""
        return sum(len(part) for part in self.parts) + len(self.changed)

    def records(self, high: Words, low: Words, epoch: int) -> tuple[Records, Places]:
        """Return the run's records of these tokens in an epoch, and the place of the token of each.

        Raises:
            ConfigError: The run is damaged, or cannot be read.
        """
        rows, places = self.table.candidates(high)
        records = from_words(self.run.read_rows("record", rows))
        if not are_whole(records):
            raise ConfigError(f"{self.run.path}: is damaged")
        same = (records["high"] == high[places]) & (records["low"] == low[places])
        same &= records["entry"] >> EPOCH_SHIFT == np.uint64(epoch)
        return records[same], places[same]


class LiveIndex:
    """Answers look-ups while it has a run; see the module. Usable from several threads."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> State | None:
        """Return the index as it is now; None while there is no run."""
        return self._state

    def use(self, db: sqlite3.Connection, run: Run, covered: Moment) -> None:
        """Go over to a run.

        Args:
            db: A connection inside a transaction that began after the run was made.
            run: The run.
            covered: The moment of the store that the run is of; it may hold some of what came later, but not later than
                now.
        """
        table, now = RunTable.of(run), Moment.of(db)
        state = State(table, covered, np.empty(0, np.uint64)).read_on(db, now)
        with self._lock:
            self._state = state

    def drop(self) -> None:
        """Let the store answer alone."""
        with self._lock:
            self._state = None

    def follow(self, db: sqlite3.Connection, *, settled: bool) -> State | None:
        """Return a state that is complete for this transaction; None where the store has to answer alone.

        Args:
            db: A connection inside a transaction.
            settled: Whether all that it sees is durable: what may be taken back must not be remembered.
        """
        now = Moment.of(db)
        state = self._state
        if state is None or not now.reaches(state.known):
            return None
        if now == state.known:
            return state
        if not settled:
            return None
        with self._lock:
            state = self._state
            if state is None or not now.reaches(state.known):
                return None
            if now != state.known:
                state = self._state = state.read_on(db, now)
        return state

    def lookup(self, db: sqlite3.Connection, tokens: bytes, epoch: int, *, settled: bool) -> list[Hit] | None:
        """Return the numbered, kept values that these packed tokens stand for, in the order of the tokens.

        None where the store has to answer alone.
        """
        state = self.follow(db, settled=settled)
        if state is None:
            return None
        high, low = words_of(tokens)
        try:
            records, places = state.records(high, low, epoch)
        except ConfigError as error:
            self._give_up(state, error)
            return None
        known = are_plain(records) & ~among(values_of(records), state.changed)
        hits = list(as_hits(records[known], places[known]))
        entries = np.concatenate([records["entry"][~known], *(entries_of(part, high, low) for part in state.parts)])
        wanted = np.unique(entries[entries >> EPOCH_SHIFT == np.uint64(epoch)] & VALUE_MASK)
        if len(wanted):
            hits += publishing.hits_among(db, tokens, epoch, wanted.tolist())
            hits.sort(key=lambda hit: hit.index)
        # Two values of one token cannot be, and if they are, which of them is told is the store's to say.
        return hits if len({hit.index for hit in hits}) == len(hits) else None

    def _give_up(self, state: State, error: ConfigError) -> None:
        """Let the store answer alone until a run is made again."""
        _LOG.warning("the index is made again: %s", error.message)
        with self._lock:
            if self._state is not None and self._state.table is state.table:
                self._state = None

    def snapshot(self, db: sqlite3.Connection, epochs: Sequence[int]) -> tuple[int, Iterator[bytes]] | None:
        """Return the sequence and, packed in blocks, every numbered, kept token of the epochs as of one moment.

        The blocks may be read after the transaction has ended. None where the store has to answer alone.
        """
        now = Moment.of(db)
        state = self._state
        if state is None or not now.reaches(state.known):
            return None
        # Values that the run has heeded may still be listed: they come from the store then, too.
        without = _united(changed_values(db), _column(db, "SELECT id FROM value WHERE kept = 0 ORDER BY id"))
        covered = int(state.run.facts["sequence"])
        extra = publishing.tokens_after(db, epochs, covered) + publishing.tokens_again(db, epochs, covered)
        return now.sequence, _blocks(state.run, epochs, without, extra)


def _blocks(run: Run, epochs: Sequence[int], without: Words, extra: bytes) -> Iterator[bytes]:
    wanted = np.array(sorted(epochs), np.uint64)
    for start in range(0, run.rows, _BLOCK_ROWS):
        rows = Rows.of_run(run, start, start + _BLOCK_ROWS)
        hidden = among(rows.entry & VALUE_MASK, without)
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


def changed_values(db: sqlite3.Connection, after: int = 0) -> Words:
    """Return the values, ascending, that the triggers listed after a change."""
    return _column(db, "SELECT DISTINCT value_id FROM index_changed WHERE id > ? ORDER BY value_id", after)


def _united(ascending: Words, more: Words) -> Words:
    """Return the values of two ascending columns, ascending; the second is the shorter one."""
    more = more[~among(more, ascending)]
    return np.insert(ascending, np.searchsorted(ascending, more), more) if len(more) else ascending


def _column(db: sqlite3.Connection, query: str, *names: int) -> Words:
    return np.fromiter((row[0] for row in db.execute(query, names)), np.uint64)
