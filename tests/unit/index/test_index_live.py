"""What could make the live index miss a value, each in its own test (I3, I9)."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from services.node.index.keeper import FOLDER, GONE_S, LIVE_NAME
from services.node.store.store import FILE_NAME
from tests.unit.index.shelf import KilledError, Shelf, filled, split, token

if TYPE_CHECKING:
    from pathlib import Path

A, B, C, D = (token(high << 60, 7) for high in (3, 1, 15, 8))


def compact(shelf: Shelf) -> None:
    """Let enough time go by for a withdrawal to be heeded."""
    shelf.keeper.tend()
    shelf.clock.advance(GONE_S)
    assert shelf.keeper.tend()


def test_a_number_that_was_taken_back_is_not_taken_for_known(shelf: Shelf) -> None:
    filled(shelf, A)
    taken_back = shelf.put(B)
    with suppress(KilledError), shelf.store.group():
        assert shelf.store.take_unpublished(1, 10) is not None
        assert len(shelf.store.lookup(B, 1)) == 1
        raise KilledError
    assert shelf.found(B) == []
    shelf.remove(taken_back)
    shelf.put(C)
    shelf.number()
    # Not together with B, whose row would lead to the id that C has now.
    assert len(shelf.found(A + C)) == 2


def test_what_another_process_numbered_is_found_by_the_next_look_up(shelf: Shelf) -> None:
    filled(shelf, A)
    for one in (B, C, D):
        value = shelf.put(one)
        assert shelf.found(one) == []
        shelf.number(store=shelf.other)
        assert shelf.found(one) == [value]


def test_a_run_made_while_others_number_covers_what_it_holds_and_no_more(shelf: Shelf) -> None:
    gone, _ = filled(shelf, A, B)
    shelf.remove(gone)
    shelf.put(C)
    shelf.number()
    compact(shelf)
    assert len(shelf.found(A + B + C)) == 2
    shelf.reopen()
    assert len(shelf.found(A + B + C)) == 2


def test_a_value_that_got_the_id_of_one_that_is_gone_is_found_and_in_the_plane(shelf: Shelf) -> None:
    _, last = filled(shelf, A, B)
    shelf.remove(last)
    assert shelf.put(C, value_id=last) == last
    shelf.number()
    assert shelf.found(B + C) == [last]
    assert set(split(shelf.store.snapshot((1,))[1])) == {A, C}
    compact(shelf)
    for _ in range(2):
        assert shelf.found(B + C) == [last]
        assert set(split(shelf.store.snapshot((1,))[1])) == {A, C}
        assert shelf.reopen()


def test_a_withdrawn_value_is_found_no_more_and_its_token_leaves_the_file(shelf: Shelf) -> None:
    first, _ = filled(shelf, A, B)
    path = shelf.home / FOLDER / LIVE_NAME
    words = A[7::-1]
    assert words in path.read_bytes()
    shelf.remove(first)
    assert shelf.found(A + B) != []
    assert split(shelf.store.snapshot((1,))[1]) == [B]
    assert not shelf.keeper.tend()
    compact(shelf)
    assert words not in path.read_bytes()
    assert not shelf.keeper.tend()


def test_a_narrowed_value_is_out_and_back_when_it_is_widened(shelf: Shelf) -> None:
    first, second = filled(shelf, A, B)
    shelf.keep(first, kept=False)
    assert shelf.found(A + B) == [second]
    assert split(shelf.store.snapshot((1,))[1]) == [B]
    shelf.keep(first, kept=True)
    assert shelf.found(A + B) == [first, second]
    assert len(split(shelf.store.snapshot((1,))[1])) == 2


def test_a_good_run_is_used_at_the_next_start_with_what_came_since(shelf: Shelf) -> None:
    values = filled(shelf, A, B)
    values.append(shelf.put(C))
    shelf.number()
    assert shelf.reopen()
    assert shelf.index.state is not None
    assert shelf.index.state.beside_rows == 1
    assert shelf.found(A + B + C) == values


def test_a_store_restored_from_an_older_copy_does_not_use_the_run(shelf: Shelf, tmp_path: Path) -> None:
    """The copy numbers on to the run's own sequence and beyond: only the stamps show that it is not the same store."""
    filled(shelf, A)
    shelf.close()
    shelf.other.close()
    shutil.copy(tmp_path / FILE_NAME, tmp_path / "copy")
    shelf = Shelf(tmp_path, delta_rows=0)
    shelf.put(B)
    shelf.number()
    assert shelf.keeper.tend()
    shelf.close()
    shelf.other.close()
    restore(tmp_path)
    shelf = Shelf(tmp_path)
    assert shelf.index.state is None
    for one in (C, D):
        shelf.put(one)
        shelf.number()
    assert len(shelf.found(A + B + C + D)) == 3
    shelf.keeper.tend()
    assert len(shelf.found(A + B + C + D)) == 3
    shelf.close()
    shelf.other.close()


def test_a_store_restored_from_before_a_withdrawal_does_not_use_the_run(shelf: Shelf, tmp_path: Path) -> None:
    first, second = filled(shelf, A, B)
    shelf.close()
    shelf.other.close()
    shutil.copy(tmp_path / FILE_NAME, tmp_path / "copy")
    shelf = Shelf(tmp_path)
    shelf.remove(first)
    compact(shelf)
    assert shelf.found(A + B) == [second]
    shelf.close()
    shelf.other.close()
    restore(tmp_path)
    shelf = Shelf(tmp_path)
    # Another withdrawal in the copy takes the same place in the list, but not the same stamp.
    shelf.remove(second)
    shelf.reopen()
    assert shelf.found(A + B) == [first]
    shelf.close()
    shelf.other.close()


def restore(home: Path) -> None:
    for name in ("-wal", "-shm"):
        (home / f"{FILE_NAME}{name}").unlink(missing_ok=True)
    (home / "copy").rename(home / FILE_NAME)


def test_a_run_of_another_incarnation_is_not_used(shelf: Shelf) -> None:
    filled(shelf, A)
    shelf.other.renew_incarnation()
    assert not shelf.reopen()
    assert not (shelf.home / FOLDER / LIVE_NAME).exists()


def test_an_older_run_is_not_used_once_the_store_forgot_what_it_needs(shelf: Shelf) -> None:
    first, second, _ = filled(shelf, A, B, C)
    path = shelf.home / FOLDER / LIVE_NAME
    old = path.read_bytes()
    shelf.remove(first)
    shelf.remove(second)
    compact(shelf)
    shelf.close()
    path.write_bytes(old)
    shelf.open()
    # It would do no harm to look-ups, but the plane would show for ever what was withdrawn.
    assert split(shelf.store.snapshot((1,))[1]) == [C]


def test_a_damaged_run_is_made_again(shelf: Shelf) -> None:
    values = filled(shelf, A, B)
    path = shelf.home / FOLDER / LIVE_NAME
    whole = path.read_bytes()
    for damaged in (whole[:5000], whole[:4100] + b"x" + whole[4101:], b""):
        shelf.close()
        path.write_bytes(damaged)
        assert not shelf.open()
        assert shelf.found(A + B) == values
        assert shelf.keeper.tend()
        assert shelf.found(A + B) == values
        assert shelf.reopen()


def test_a_small_store_has_no_run(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, min_rows=3)
    shelf.put(A)
    shelf.number()
    assert not shelf.keeper.tend()
    assert not (tmp_path / FOLDER).exists()
    assert len(shelf.found(A)) == 1
    shelf.close()
    shelf.other.close()
