"""Keeping the live index: opened at start if it is good, made where there is none, made anew as it falls behind.

    keeper = Keeper(home.path, index, clock=clock)
    keeper.start()
    keeper.tend()        # now and then, in a thread

Whatever happens to it, the store answers: without a run alone, and with one for all that changed since it was made.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError
from services.node.index.building import KIND, UNREAD, Cover, build, compact
from services.node.index.run import Run
from services.node.index.run_writer import remove_leftovers
from services.node.store.database import Database
from services.node.store.store import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.clock import Clock
    from services.node.index.live import LiveIndex, State

FOLDER: Final = "index"
LIVE_NAME: Final = "live.run"
MIN_ROWS: Final = 50_000
"""With fewer tokens the store alone is as fast."""
DELTA_ROWS: Final = 1 << 16
DELTA_SHARE: Final = 32
GONE_S: Final = 600.0
"""So long the token of a withdrawn value may stay in the file, where nothing else has it made anew."""
_LOG: Final = logging.getLogger(__name__)


def _silent(_: str) -> None:
    """Hear of a step."""


def _unseen(_: int, __: int) -> None:
    """Hear of progress."""


class Keeper:
    """Looks after one node's live index. One process at a time has one; its methods are called in turn."""

    def __init__(
        self,
        home: Path,
        index: LiveIndex,
        *,
        clock: Clock,
        min_rows: int = MIN_ROWS,
        delta_rows: int = DELTA_ROWS,
        step: Callable[[str], None] = _silent,
    ) -> None:
        """Open a connection to the store.

        Args:
            home: The node's folder, with a store.
            index: What it keeps.
            clock: Tells how long ago something was deleted.
            min_rows: Published tokens from which there is a run.
            delta_rows: Rows beside the run from which it is made anew; at least a 32nd of the run's.
            step: Called between the steps of making a run, for tests.

        Raises:
            ConfigError: The store cannot be opened.
        """
        self._folder = home / FOLDER
        self._path = self._folder / LIVE_NAME
        self._database = Database.open(home / FILE_NAME)
        self._index = index
        self._clock = clock
        self._min_rows, self._delta_rows = min_rows, delta_rows
        self._step = step
        self._cover: Cover | None = None
        self._gone_since: float | None = None
        self._unread: Run | None = None

    def close(self) -> None:
        """Close the store; the index goes on without being looked after."""
        self._database.close()

    def start(self) -> bool:
        """Use the run that is there, if it is good and of this store; return whether there is one.

        Raises:
            UnavailableError: The store cannot be read.
        """
        remove_leftovers(self._folder)
        if not self._path.exists():
            return False
        try:
            run = Run.open(self._path, KIND, unread=UNREAD)
            cover = Cover.of_facts(run.facts)
            with self._database.read() as db:
                cover.require(db)
        except ConfigError as error:
            _LOG.warning("the index is made again: %s", error.message)
            self._path.unlink(missing_ok=True)
            return False
        self._use(run, cover)
        self._unread = run
        return True

    def tend(self, progress: Callable[[int, int], None] = _unseen) -> bool:
        """Make the run, or make it anew, where it is time; return whether it was.

        Args:
            progress: Hears how many rows were read, of how many, while the whole store is read.

        Raises:
            UnavailableError: The disk is full, or the store cannot be read.
            ConfigError: What was written cannot be read back.
        """
        self._read_all()
        with self._database.read() as db:
            # What was numbered since the last look-up counts as well. A look-up may have read on further by now.
            self._index.follow(db, settled=True)
        state = self._index.state
        if state is None:
            if not self._has_enough():
                self._forget_unneeded()
                return False
            cover = build(self._database, self._path, progress, self._step)
        elif self._is_behind(state) or self._holds_withdrawn():
            cover = self._compacted(state.run)
        else:
            return False
        self._use(Run.open(self._path, KIND, unread=UNREAD), cover)
        self._step("used")
        with self._database.write() as db:
            cover.forget_older(db)
        return True

    def _read_all(self) -> None:
        """Read what a start left unread, so that a damaged run is made again, and look-ups find a whole one cached."""
        run, self._unread = self._unread, None
        if run is None:
            return
        try:
            for name in UNREAD:
                run.verify(name)
        except ConfigError as error:
            _LOG.warning("the index is made again: %s", error.message)
            self._index.drop()

    def _compacted(self, run: Run) -> Cover:
        try:
            return compact(self._database, run, self._path, self._step)
        except ConfigError:
            # The next time it is made from the whole store.
            self._index.drop()
            raise

    def _use(self, run: Run, cover: Cover) -> None:
        with self._database.read() as db:
            self._index.use(db, run, cover.moment)
        self._cover, self._gone_since = cover, None

    def _has_enough(self) -> bool:
        query = "SELECT count(*) FROM (SELECT 1 FROM token WHERE sequence > 0 LIMIT ?)"
        with self._database.read() as db:
            found: int = db.execute(query, (self._min_rows,)).fetchone()[0]
        return found >= self._min_rows

    def _is_behind(self, state: State) -> bool:
        """Tell whether much is read beside the run, or the list of changes is long, be they all of one value."""
        assert self._cover is not None
        beside = max(state.beside_rows, state.known.change - self._cover.change)
        return beside > max(self._delta_rows, state.run.rows // DELTA_SHARE)

    def _holds_withdrawn(self) -> bool:
        """Tell whether the run has held rows for long enough that are gone from the store."""
        assert self._cover is not None
        with self._database.read() as db:
            query = "SELECT EXISTS (SELECT 1 FROM index_changed WHERE id > ? AND gone = 1)"
            found = bool(db.execute(query, (self._cover.change,)).fetchone()[0])
        if not found:
            self._gone_since = None
            return False
        if self._gone_since is None:
            self._gone_since = self._clock.now()
        return self._clock.now() - self._gone_since >= GONE_S

    def _forget_unneeded(self) -> None:
        """Let what nobody reads not grow with the years, nor what it says lie on the disk."""
        self._path.unlink(missing_ok=True)
        with self._database.write() as db:
            Cover.of_store(db).forget_older(db)
