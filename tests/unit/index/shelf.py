"""A store with made-up values and tokens, and what must be found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.clock import ManualClock
from services.node.index.keeper import Keeper
from services.node.index.live import LiveIndex
from services.node.index.records import RECORD
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.node.index.run import Run

NOON = 1_795_521_600.0


class KilledError(Exception):
    """Stands for the end of the process."""


def token(high: int, low: int) -> bytes:
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")


def nothing(_: str) -> None:
    pass


class Shelf:
    """A folder with a store; `store` looks up through an index, `other` without one, as another process would."""

    def __init__(self, home: Path, *, min_rows: int = 1, delta_rows: int = 4) -> None:
        self.home, self.clock = home, ManualClock(NOON)
        self.min_rows, self.delta_rows = min_rows, delta_rows
        self.other = Store.open(home / FILE_NAME, clock=self.clock)
        self.step: Callable[[str], None] = nothing
        self.open()

    def open(self) -> bool:
        self.store = Store.open(self.home / FILE_NAME, clock=self.clock)
        self.index = LiveIndex()
        self.keeper = Keeper(
            self.home,
            self.index,
            clock=self.clock,
            min_rows=self.min_rows,
            delta_rows=self.delta_rows,
            step=self._at,
        )
        good = self.keeper.start()
        self.store.use_index(self.index)
        return good

    def _at(self, step: str) -> None:
        self.step(step)

    def close(self) -> None:
        self.keeper.close()
        self.store.close()

    def reopen(self) -> bool:
        self.close()
        return self.open()

    def put(self, packed: bytes, *, epoch: int = 1, kept: bool = True, value_id: int | None = None) -> int:
        """Add a value with a token that has no number yet; return its id."""
        with self.other.write() as db:
            name = f"{epoch}-{packed.hex()}-{value_id}"
            if value_id is None or not db.execute("SELECT 1 FROM value WHERE id = ?", (value_id,)).fetchone():
                value_id = db.execute(
                    "INSERT INTO value (id, namespace, rules_version, canonical, grade, reference, kept)"
                    " VALUES (?, 'email', 1, ?, 1, randomblob(16), ?)",
                    (value_id, name, kept),
                ).lastrowid
            assert value_id is not None
            db.execute(
                "INSERT INTO token (epoch, value_id, label, secret, token) VALUES (?, ?, ?, randomblob(32), ?)",
                (epoch, value_id, b"l" * 16, packed),
            )
        return value_id

    def number(self, epoch: int = 1, limit: int = 100, *, store: Store | None = None) -> None:
        """Give all tokens of an epoch their numbers."""
        store = store or self.other
        while (batch := store.take_unpublished(epoch, limit)) is not None:
            store.acknowledge_published(batch.sequence)

    def keep(self, value_id: int, kept: bool) -> None:
        with self.other.write() as db:
            db.execute("UPDATE value SET kept = ? WHERE id = ?", (kept, value_id))

    def change(self, value_id: int, column: str, new: object) -> None:
        """Set a column of a value."""
        with self.other.write() as db:
            db.execute(f"UPDATE value SET {column} = ? WHERE id = ?", (new, value_id))

    def change_token(self, value_id: int, column: str, new: object) -> None:
        """Set a column of all tokens of a value."""
        with self.other.write() as db:
            db.execute(f"UPDATE token SET {column} = ? WHERE value_id = ?", (new, value_id))

    def remove(self, value_id: int) -> None:
        with self.other.write() as db:
            db.execute("DELETE FROM token WHERE value_id = ?", (value_id,))
            db.execute("DELETE FROM value WHERE id = ?", (value_id,))

    def found(self, tokens: bytes, epoch: int = 1) -> list[int]:
        """Return the values that the index finds, and check that the store alone finds the same."""
        hits = self.store.lookup(tokens, epoch)
        assert hits == self.other.lookup(tokens, epoch)
        return [hit.value_id for hit in hits]


def split(packed: bytes) -> list[bytes]:
    return sorted(packed[at : at + 16] for at in range(0, len(packed), 16))


def damage(run: Run, row: int, byte: int) -> None:
    """Turn a bit of a record in a run's file."""
    with run.path.open("r+b") as file:
        at = run._parts["record"].offset + row * RECORD.itemsize + byte
        file.seek(at)
        was = file.read(1)[0]
        file.seek(at)
        file.write(bytes([was ^ 8]))


def filled(shelf: Shelf, *tokens: bytes) -> list[int]:
    """Put values with these tokens, number them, make a run of them, and return their ids."""
    values = [shelf.put(one) for one in tokens]
    shelf.number()
    shelf.keeper.tend()
    assert shelf.index.state is not None
    return values
