"""The store is one private file that two processes may write, and that a failed transaction leaves as it was."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError
from services.node.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.node_store.conftest import Desk


def test_the_file_and_what_lies_beside_it_are_the_owners_alone(desk: Desk) -> None:
    desk.put("a@mail.example")
    for path in desk.path.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_store_that_others_can_read_is_not_opened(desk: Desk) -> None:
    desk.path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Store.open(desk.path)


def test_a_store_of_another_version_is_not_opened(desk: Desk) -> None:
    with desk.store.write() as db:
        db.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    with pytest.raises(ConfigError, match="another version"):
        Store.open(desk.path)


def test_a_file_that_is_no_store_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no store" * 1000)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no store"):
        Store.open(path)


def test_writing_is_durable_and_checks_what_rows_refer_to(desk: Desk) -> None:
    with desk.store.read() as db:
        modes = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert modes == ["wal", 2, 1]


def test_the_incarnation_stays_until_it_is_renewed(desk: Desk) -> None:
    first = desk.store.incarnation()
    desk.reopen()
    assert desk.store.incarnation() == first
    assert len(first) == 16
    assert desk.store.renew_incarnation() == desk.store.incarnation() != first


def test_a_transaction_that_fails_leaves_nothing(desk: Desk) -> None:
    def write_twice() -> None:
        with desk.store.write() as db:
            db.execute("INSERT INTO meta VALUES ('x', 1)")
            db.execute("INSERT INTO meta VALUES ('x', 2)")

    with pytest.raises(sqlite3.IntegrityError):
        write_twice()
    with desk.store.read() as db:
        assert db.execute("SELECT count(*) FROM meta WHERE key = 'x'").fetchone() == (0,)


def test_two_openers_and_their_threads_write_one_after_the_other(desk: Desk) -> None:
    with Store.open(desk.path) as other, ThreadPoolExecutor(4) as threads:
        stores = [desk.store, other] * 50
        list(threads.map(lambda pair: pair[1].set_condition(f"c{pair[0]}", "x", 1.0), enumerate(stores)))
    assert len(desk.store.conditions()) == 100
