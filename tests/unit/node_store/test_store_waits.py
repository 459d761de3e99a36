"""Which transactions wait for the disk: all but that of a few new tokens, which the next one takes along (I9)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from services.node.store.database import Database
from services.node.store.store import FEW_TOKENS
from tests.unit.node_store.conftest import token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.node_store.conftest import Desk

NORMAL, FULL = 1, 2


def level(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA synchronous").fetchone()[0])


def test_a_transaction_waits_for_the_disk_unless_it_is_said_not_to(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "some.sqlite")) as database:
        with database.write() as db:
            assert level(db) == FULL
        with database.write(durable=False) as db:
            assert level(db) == NORMAL
        with pytest.raises(OSError, match="broken"), database.write(durable=False):
            raise OSError("broken")
        with database.write() as db:
            assert level(db) == FULL


@pytest.mark.parametrize(("number", "waits"), [(1, False), (FEW_TOKENS, False), (FEW_TOKENS + 1, True)])
def test_few_tokens_do_not_wait_and_their_numbers_do(desk: Desk, number: int, *, waits: bool) -> None:
    desk.put(*(f"person{at}@mail.example" for at in range(number)))
    said: list[str] = []
    with desk.store.read() as db:
        db.set_trace_callback(said.append)
    desk.tokenise(100)
    assert ("PRAGMA synchronous = NORMAL" not in said) is waits
    said.clear()
    # What goes out is durable before: the number of a token, and with it the token.
    batch = desk.store.take_unpublished(1, 100)
    assert batch is not None
    assert not any("synchronous" in one for one in said)
    with desk.store.read() as db:
        assert level(db) == FULL


def test_a_token_that_did_not_wait_is_there_for_other_connections_and_after_the_process(desk: Desk) -> None:
    desk.put("someone@mail.example")
    desk.tokenise()
    with closing(sqlite3.connect(desk.path)) as other:
        assert other.execute("SELECT token FROM token").fetchall() == [(token("someone@mail.example"),)]
        assert other.execute("SELECT count(*) FROM to_tokenise").fetchone() == (0,)
