"""A hit that the run gives is the one that the store would give at that moment, whatever changed since (I3, I9)."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest

from concordat.errors import ConfigError
from services.node.index.keeper import FOLDER, GONE_S, LIVE_NAME
from services.node.index.records import RECORD, are_plain, are_whole, as_hits, as_words, from_words, records_of
from services.node.store.database import Database
from services.node.store.store import FILE_NAME
from tests.unit.index.shelf import KilledError, Shelf, damage, filled, token

if TYPE_CHECKING:
    from services.node.store.rows import Hit

A, B, C, D = (token(high << 60, 7) for high in (3, 1, 15, 8))
ALL = A + B + C + D
OF_VALUE = {
    "reference": b"another referenc",
    "grade": 2,
    "namespace": "iban",
    "kept": 0,
    "domain": "drill",
}
OF_TOKEN = {
    "label": b"another label to",
    "secret": b"another secret of thirty-two byt",
    "token": D,
    "epoch": 2,
    "value_id": 3,
    "sequence": 9,
}


def of_store(shelf: Shelf) -> list[list[Hit]]:
    """Check that the index finds in both epochs what the store alone finds, and return it."""
    found = [shelf.store.lookup(ALL, epoch) for epoch in (1, 2)]
    assert found == [shelf.other.lookup(ALL, epoch) for epoch in (1, 2)]
    return found


def run_records(shelf: Shelf) -> np.ndarray:
    assert shelf.index.state is not None
    run = shelf.index.state.run
    return from_words(run.read("record", 0, run.rows))


def made_anew(shelf: Shelf) -> None:
    """Let a withdrawal make the run anew."""
    shelf.put(token(6 << 60, 1), value_id=700)
    shelf.number()
    shelf.remove(700)
    shelf.keeper.tend()
    shelf.clock.advance(GONE_S)
    assert shelf.keeper.tend()


def test_a_hit_of_a_kept_real_value_asks_the_store_for_nothing_but_the_moment(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    seen: list[str] = []
    database = Database.open(shelf.home / FILE_NAME)
    with database.read() as db:
        db.set_trace_callback(seen.append)
        hits = shelf.index.lookup(db, ALL, 1, settled=True)
        db.set_trace_callback(None)
    database.close()
    assert hits == shelf.other.lookup(ALL, 1)
    assert len(hits) == 3
    assert len(seen) == 2
    assert not any("FROM token" in one for one in seen)


@pytest.mark.parametrize("column", OF_VALUE)
def test_a_change_of_the_value_shows_at_once_and_ever_after(shelf: Shelf, column: str) -> None:
    _, second, _ = filled(shelf, A, B, C)
    before = of_store(shelf)
    shelf.change(second, column, OF_VALUE[column])
    assert of_store(shelf) != before
    check_ever_after(shelf)


@pytest.mark.parametrize("column", [*OF_TOKEN, "id"])
def test_a_numbered_token_and_the_id_of_a_value_do_not_change(shelf: Shelf, column: str) -> None:
    _, second, _ = filled(shelf, A, B, C)
    before = of_store(shelf)
    change = shelf.change if column == "id" else shelf.change_token
    with pytest.raises(sqlite3.IntegrityError):
        change(second, column, OF_TOKEN.get(column, 900))
    assert of_store(shelf) == before


def check_ever_after(shelf: Shelf) -> None:
    after = of_store(shelf)
    shelf.reopen()
    assert of_store(shelf) == after
    made_anew(shelf)
    assert of_store(shelf) == after
    assert shelf.index.state is not None
    assert not len(shelf.index.state.changed)
    shelf.reopen()
    assert shelf.index.state is not None
    assert of_store(shelf) == after


def test_what_changed_is_in_the_next_run_as_it_is_now(shelf: Shelf) -> None:
    first, second, _ = filled(shelf, A, B, C)
    shelf.change(first, "grade", 2)
    shelf.keep(second, kept=False)
    shelf.keep(second, kept=True)
    made_anew(shelf)
    records = run_records(shelf)
    assert are_plain(records).all()
    assert sorted(hit.grade for hit in as_hits(records, np.arange(3))) == [1, 1, 2]


def test_many_changes_make_the_run_anew(shelf: Shelf) -> None:
    values = filled(shelf, A, B, C, D, *(token(at << 56, 1) for at in range(1, 4)))
    for value in values[:5]:
        shelf.change(value, "grade", 2)
    assert shelf.keeper.tend()
    assert shelf.index.state is not None
    assert not len(shelf.index.state.changed)
    assert not shelf.keeper.tend()


def test_one_value_that_changes_again_and_again_leaves_no_list_that_only_grows(shelf: Shelf) -> None:
    first, _ = filled(shelf, A, B)
    for at in range(40):
        shelf.keep(first, at % 2 == 1)
        shelf.keeper.tend()
    of_store(shelf)
    with shelf.other.read() as db:
        listed = db.execute("SELECT count(*) FROM index_changed").fetchone()[0]
    assert listed <= shelf.delta_rows + 2


def test_nothing_of_values_that_are_not_plain_and_nothing_of_gone_ones_is_in_the_file(shelf: Shelf) -> None:
    values = filled(shelf, A, B, C)
    with shelf.other.read() as db:
        held = dict(db.execute("SELECT value_id, secret FROM token"))
    path = shelf.home / FOLDER / LIVE_NAME
    assert all(held[value] in path.read_bytes() for value in values)
    shelf.keep(values[0], kept=False)
    shelf.change(values[1], "domain", "drill")
    shelf.remove(values[2])
    made_anew(shelf)
    assert not any(held[value] in path.read_bytes() for value in values)
    assert len(run_records(shelf)) == 2
    assert of_store(shelf)[0][0].domain == "drill"


def test_a_transaction_that_began_before_the_run_was_made_is_answered_by_the_store(shelf: Shelf) -> None:
    first, second, _ = filled(shelf, A, B, C)
    database = Database.open(shelf.home / FILE_NAME)
    with database.read() as db:
        before = shelf.other.lookup(ALL, 1)
        assert shelf.index.lookup(db, ALL, 1, settled=True) == before
        shelf.change(first, "grade", 2)
        assert shelf.store.lookup(ALL, 1) != before
        assert shelf.index.lookup(db, ALL, 1, settled=True) is None
        shelf.remove(second)
        made_anew(shelf)
        assert shelf.index.lookup(db, ALL, 1, settled=True) is None
        assert shelf.index.snapshot(db, (1,)) is None
    database.close()
    of_store(shelf)


def test_a_transaction_sees_what_the_index_never_read_because_it_had_gone(shelf: Shelf) -> None:
    filled(shelf, A, B)
    value = shelf.put(C)
    shelf.number()
    database = Database.open(shelf.home / FILE_NAME)
    with database.read() as db:
        assert db.execute("SELECT count(*) FROM token").fetchone() == (3,)
        shelf.remove(value)
        of_store(shelf)
        assert shelf.index.lookup(db, C, 1, settled=True) is None
        assert shelf.index.snapshot(db, (1,)) is None
    database.close()


def test_what_changes_while_a_run_is_made_is_not_believed(shelf: Shelf) -> None:
    values = [shelf.put(one) for one in (A, B)]
    shelf.number()

    def change(step: str) -> None:
        if step == "columns":
            shelf.change(values[0], "grade", 2)
            shelf.remove(values[1])

    shelf.step = change
    assert shelf.keeper.tend()
    shelf.step = lambda _: None
    assert [(hit.value_id, hit.grade) for hit in of_store(shelf)[0]] == [(values[0], 2)]


def test_a_change_that_is_taken_back_is_not_remembered_for_another(shelf: Shelf) -> None:
    first, second, _ = filled(shelf, A, B, C)
    with suppress(KilledError), shelf.store.group():
        with shelf.store.write() as db:
            db.execute("UPDATE value SET grade = 2 WHERE id = ?", (first,))
        assert [hit.grade for hit in shelf.store.lookup(ALL, 1)] == [2, 1, 1]
        raise KilledError
    # It takes the same place in the list.
    shelf.change(second, "grade", 2)
    assert [hit.grade for hit in of_store(shelf)[0]] == [1, 2, 1]


def test_two_values_of_one_token_are_told_as_the_store_tells_them(shelf: Shelf) -> None:
    shelf.put(A, value_id=5)
    shelf.put(A, value_id=6)
    filled(shelf, B)
    assert len(of_store(shelf)[0]) == 2


def test_a_token_that_is_asked_twice_is_a_hit_twice(shelf: Shelf) -> None:
    first, second, _ = filled(shelf, A, B, C)
    assert shelf.found(A + B + A) == [first, second, first]


def test_a_damaged_record_is_answered_by_the_store_and_the_run_made_again(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    assert shelf.index.state is not None
    for byte in (0, 15, 20, 30, 60, 72, 79):
        damage(shelf.index.state.run, 1, byte)
        of_store(shelf)
        assert shelf.index.state is None
        assert shelf.keeper.tend()
        assert shelf.index.state is not None
        assert are_whole(run_records(shelf))


def test_a_run_that_became_shorter_is_answered_by_the_store(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    with (shelf.home / FOLDER / LIVE_NAME).open("r+b") as file:
        file.truncate(4 * 4096)
    of_store(shelf)
    assert shelf.index.state is None


def test_damage_that_a_start_did_not_read_is_found_soon_after_it(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    assert shelf.index.state is not None
    damage(shelf.index.state.run, 2, 50)
    assert shelf.reopen()
    assert shelf.keeper.tend()
    assert are_whole(run_records(shelf))
    assert shelf.reopen()
    assert not shelf.keeper.tend()


def test_a_damaged_run_is_not_copied_into_the_next_one(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    assert shelf.index.state is not None
    damage(shelf.index.state.run, 0, 40)
    with pytest.raises(ConfigError):
        made_anew(shelf)
    assert shelf.keeper.tend()
    assert are_whole(run_records(shelf))
    of_store(shelf)


def test_a_run_of_another_format_is_made_again(shelf: Shelf) -> None:
    filled(shelf, A, B, C)
    path = shelf.home / FOLDER / LIVE_NAME
    shelf.close()
    page = path.read_bytes()
    assert b'"format": 2' in page[:4096]
    path.write_bytes(with_header(page, b'"format": 2', b'"format": 1'))
    assert not shelf.open()
    of_store(shelf)


def with_header(whole: bytes, old: bytes, new: bytes) -> bytes:
    """Return a run with another text in its header, whose checksum is right."""
    length = int.from_bytes(whole[8:12], "little")
    text = whole[16 : 16 + length].replace(old, new)
    return whole[:12] + zlib.crc32(text).to_bytes(4, "little") + text + whole[16 + length :]


def test_every_bit_of_a_record_is_under_its_check() -> None:
    row = (3, 1 << 39, A, 1 << 8 | 2, bytes(range(16)), bytes(range(32)))
    records = records_of([row, (1, 2, B, 0, b"hidden".ljust(16), b"hidden".ljust(32))])
    assert are_whole(records)
    assert not are_whole(np.zeros(1, RECORD))
    assert b"hidden" not in records.tobytes()
    for word in range(RECORD.itemsize // 8):
        for bit in range(64):
            words = as_words(records).copy()
            words[0, word] ^= np.uint64(1 << bit)
            assert not are_whole(from_words(words))
    assert list(are_plain(records)) == [True, False]
    hit = next(as_hits(records[:1], np.array([5])))
    assert (hit.index, hit.value_id, hit.reference, hit.secret) == (5, 1 << 39, row[4], row[5])
    assert (hit.grade, hit.namespace, hit.kept, hit.domain) == (2, "e164", True, "")


@pytest.mark.parametrize("kind", [0, 1, 200 << 8 | 1, 0xFFFF])
def test_a_record_of_a_namespace_that_only_a_later_program_knows_is_the_stores_to_answer(kind: int) -> None:
    made = np.zeros(1, RECORD)
    made["kind"] = kind
    assert not are_plain(made).any()
