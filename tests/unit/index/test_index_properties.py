"""The live index finds what a set finds, through submits, withdrawals, other processes and crashes (I3, I9)."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.node.store import exercises, publishing
from services.node.store.database import Database
from services.node.store.store import FILE_NAME
from tests.unit.index.shelf import KilledError, Shelf, damage, split, token

if TYPE_CHECKING:
    import sqlite3

    from hypothesis.strategies import SearchStrategy

TOP = 2**64 - 1
WORDS: SearchStrategy[int] = st.sampled_from((0, 1, 2**63 - 1, 2**63, TOP - 1, TOP))
TOKENS = st.builds(token, WORDS, st.integers(0, 2) | st.just(TOP))
ASKED = b"".join(token(high, low) for high in (0, 1, 2**63 - 1, 2**63, TOP - 1, TOP) for low in (0, 1, 2, TOP))
EPOCHS = st.sampled_from((1, 2))
CHANGES = (
    ("grade", 1),
    ("grade", 2),
    ("namespace", "email"),
    ("namespace", "iban"),
    ("namespace", "of a later version"),
    ("domain", ""),
    ("domain", "drill"),
    ("rules_version", 2),
)
STEPS = ("spilled", "columns", "header", "synced", "renamed", "used")


def crash(_: str) -> None:
    raise KilledError


class IndexMachine(RuleBasedStateMachine):
    """Keeps a set of (epoch, token) beside the store: what is numbered, kept and not removed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self.folder.name), delta_rows=3)
        self.tokens: dict[int, dict[int, bytes]] = {}
        self.numbered: set[tuple[int, int]] = set()
        self.unkept: set[int] = set()
        self.reader = Database.open(Path(self.folder.name) / FILE_NAME)
        self.reading = ExitStack()
        self.read: sqlite3.Connection | None = None

    @initialize(high=st.permutations((0, 2**63, TOP)), unkept=st.booleans())
    def begin_with_a_run(self, high: list[int], unkept: bool) -> None:
        for at, word in enumerate(high):
            self.put(token(word, at), 1, kept=not (unkept and at == 1))
        self.number(1, 10, same_process=False)
        self.shelf.keeper.tend()

    def teardown(self) -> None:
        self.reading.close()
        self.reader.close()
        self.shelf.close()
        self.shelf.other.close()
        self.folder.cleanup()

    def free(self, packed: bytes, epoch: int) -> bool:
        return all(held.get(epoch) != packed for held in self.tokens.values())

    @rule(packed=TOKENS, epoch=EPOCHS, kept=st.booleans())
    def put(self, packed: bytes, epoch: int, kept: bool) -> None:
        if self.free(packed, epoch):
            value_id = self.shelf.put(packed, epoch=epoch, kept=kept)
            self.tokens[value_id] = {epoch: packed}
            if not kept:
                self.unkept.add(value_id)

    @precondition(lambda self: self.tokens)
    @rule(packed=TOKENS, epoch=EPOCHS, data=st.data())
    def tokenise_for_another_epoch(self, packed: bytes, epoch: int, data: st.DataObject) -> None:
        value_id = data.draw(st.sampled_from(sorted(self.tokens)))
        if epoch not in self.tokens[value_id] and self.free(packed, epoch):
            self.shelf.put(packed, epoch=epoch, value_id=value_id)
            self.tokens[value_id][epoch] = packed

    @rule(epoch=EPOCHS, limit=st.integers(1, 4), same_process=st.booleans())
    def number(self, epoch: int, limit: int, same_process: bool) -> None:
        self.shelf.number(epoch, limit, store=self.shelf.store if same_process else self.shelf.other)
        kept = {one for one, held in self.tokens.items() if epoch in held and one not in self.unkept}
        self.numbered |= {(epoch, one) for one in kept}

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def turn_kept(self, data: st.DataObject) -> None:
        value_id = data.draw(st.sampled_from(sorted(self.tokens)))
        self.unkept ^= {value_id}
        self.shelf.keep(value_id, value_id not in self.unkept)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        value_id = data.draw(st.sampled_from(sorted(self.tokens)))
        self.shelf.remove(value_id)
        self.forget(value_id)

    def forget(self, value_id: int) -> None:
        del self.tokens[value_id]
        self.unkept -= {value_id}
        self.numbered -= {(1, value_id), (2, value_id)}

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), change=st.sampled_from(CHANGES))
    def change(self, data: st.DataObject, change: tuple[str, object]) -> None:
        self.shelf.change(data.draw(st.sampled_from(sorted(self.tokens))), *change)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), random=st.binary(min_size=14, max_size=14))
    def give_another_reference(self, data: st.DataObject, random: bytes) -> None:
        """As after a burial that the store had forgotten."""
        value_id = data.draw(st.sampled_from(sorted(self.tokens)))
        self.shelf.change(value_id, "reference", value_id.to_bytes(2, "big") + random)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), epoch=EPOCHS)
    def tokenise_again(self, data: st.DataObject, epoch: int) -> None:
        value_id = data.draw(st.sampled_from(sorted(self.tokens)))
        if epoch in self.tokens[value_id]:
            with self.shelf.other.write() as db:
                db.execute("DELETE FROM token WHERE epoch = ? AND value_id = ?", (epoch, value_id))
            self.shelf.put(self.tokens[value_id][epoch], epoch=epoch, value_id=value_id)
            self.numbered -= {(epoch, value_id)}

    @rule()
    def wipe_the_exercise(self) -> None:
        with self.shelf.other.read() as db:
            wiped = {row[0] for row in db.execute("SELECT id FROM value WHERE domain = 'drill'")}
        with self.shelf.other.write() as db:
            exercises.wipe_exercise(db, "drill")
        for value_id in wiped:
            self.forget(value_id)

    @precondition(lambda self: self.shelf.index.state is not None and self.shelf.index.state.run.rows)
    @rule(data=st.data())
    def damage_the_run(self, data: st.DataObject) -> None:
        """What a start does not read may be damaged: look-ups do without it, and it is made again."""
        state = self.shelf.index.state
        assert state is not None
        row, byte = data.draw(st.integers(0, state.run.rows - 1)), data.draw(st.integers(0, 79))
        damage(state.run, row, byte)
        self.finds_what_is_there()
        self.shelf.reopen()
        self.finds_what_is_there()
        self.shelf.keeper.tend()
        assert self.shelf.index.state is not None or not self.numbered

    @rule(later=st.sampled_from((0.0, 1000.0)))
    def tend(self, later: float) -> None:
        self.shelf.keeper.tend()
        self.shelf.clock.advance(later)

    @rule(at=st.sampled_from(STEPS))
    def tend_and_crash(self, at: str) -> None:
        self.shelf.step = lambda step: crash(step) if step == at else None
        try:
            self.shelf.keeper.tend()
        except KilledError:
            self.shelf.reopen()
        finally:
            self.shelf.step = lambda _: None

    @rule()
    def begin_to_read(self) -> None:
        """A transaction sees its own moment, however long it takes; another thread or process may have begun it."""
        self.reading.close()
        self.read = self.reading.enter_context(self.reader.read())
        self.read.execute("SELECT max(sequence) FROM token").fetchone()

    @rule()
    def restart(self) -> None:
        self.shelf.reopen()

    @rule(packed=TOKENS)
    def take_back_a_group(self, packed: bytes) -> None:
        """Numbers that a failed group gave out, and changes that it made, must not be taken for known."""
        if not self.free(packed, 1):
            return
        with suppress(KilledError), self.shelf.store.group():
            self.shelf.store.take_unpublished(1, 100)
            with self.shelf.store.write() as db:
                db.execute("UPDATE value SET grade = 3 - grade")
            self.shelf.store.lookup(packed, 1)
            crash("in the group")

    @invariant()
    def finds_what_an_older_transaction_sees(self) -> None:
        if self.read is not None:
            found = self.shelf.index.lookup(self.read, ASKED, 1, settled=True)
            assert found is None or found == publishing.lookup(self.read, ASKED, 1)
            snapshot = self.shelf.index.snapshot(self.read, (1,))
            if snapshot is not None:
                sequence, tokens = publishing.snapshot(self.read, (1,))
                assert snapshot[0] == sequence
                assert split(b"".join(snapshot[1])) == split(tokens)

    @invariant()
    def finds_what_is_there(self) -> None:
        for epoch in (1, 2):
            there = {
                held[epoch]: one
                for one, held in self.tokens.items()
                if (epoch, one) in self.numbered and one not in self.unkept
            }
            expected = [there[ASKED[at : at + 16]] for at in range(0, len(ASKED), 16) if ASKED[at : at + 16] in there]
            assert self.shelf.found(ASKED, epoch) == expected
            sequence, tokens = self.shelf.store.snapshot((epoch,))
            assert sequence == self.shelf.other.sequence()
            assert split(tokens) == sorted(there)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
