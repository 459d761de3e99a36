"""Following a submit shows each step, says why something waits, and ends when all is done or nothing moves."""

from __future__ import annotations

import io
import random
import threading
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from services.node import tokenise
from services.node.daemon import SESSION
from services.node.exchange import asker
from services.node.follow import follow, is_running, progress_of
from services.node.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.node.submit import Submitter

HOLDER = "spiffe://test.example/node/DE"


def submitted(submitter: Submitter, folder: Path) -> int:
    path = folder / "list.csv"
    path.write_text("kind,identifier\nemail,a@mail.example\nemail,b@mail.example\n")
    return submitter.submit(path).file_id


def tokens(store: Store) -> None:
    batch = store.untokenised(1, "strong", 10)
    assert batch is not None
    store.store_tokens(batch, [(row.value_id, b"l" * 16, b"s" * 32, bytes([row.value_id]) * 16) for row in batch.rows])


def the_rest(store: Store) -> None:
    batch = store.take_unpublished(1, 10)
    assert batch is not None
    store.acknowledge_published(batch.sequence)
    (made,) = store.form_batches(1, 10, [HOLDER], random.Random(1))
    store.set_pending_state(made, HOLDER, "offline")


def in_background(path: Path, *works: Callable[[Store], None]) -> threading.Thread:
    def work() -> None:
        with Store.open(path) as other:
            for one in works:
                one(other)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_it_ends_when_every_holder_has_answered_or_is_known_to_be_absent(
    submitter: Submitter, store: Store, tmp_path: Path
) -> None:
    file_id = submitted(submitter, tmp_path)
    node = in_background(submitter.home.path / "store.sqlite", tokens, the_rest)
    seen = io.StringIO()
    found = follow(store, file_id, epoch=1, console=Console(file=seen, width=80))
    node.join()
    assert found == (2, 2, 2, 2, 2)
    assert "answered" in seen.getvalue()


@pytest.mark.parametrize("condition", [tokenise.CONDITION, asker.CONDITION, SESSION])
def test_it_says_what_the_node_waits_for_and_waits_with_it(
    submitter: Submitter, store: Store, tmp_path: Path, condition: str
) -> None:
    file_id = submitted(submitter, tmp_path)
    store.set_condition(condition, "waiting: 2 of 3 custodians are needed", 1.0)
    said = threading.Event()

    class Listening(io.StringIO):
        def write(self, text: str, /) -> int:
            if "2 of 3 custodians are needed" in text:
                said.set()
            return super().write(text)

    def custodians_return(other: Store) -> None:
        said.wait()
        other.set_condition(condition, "", 2.0)

    node = in_background(submitter.home.path / "store.sqlite", custodians_return, tokens, the_rest)
    follow(store, file_id, epoch=1, console=Console(file=Listening(), width=80), quiet=True, patience_s=0.0)
    # It has no patience of its own here, so it ended only because the reason was gone.
    assert said.is_set()
    assert store.conditions() == []
    node.join()


def test_it_gives_up_when_nothing_moves_and_nothing_is_said(submitter: Submitter, store: Store, tmp_path: Path) -> None:
    file_id = submitted(submitter, tmp_path)
    found = follow(store, file_id, epoch=1, console=Console(file=io.StringIO()), quiet=True, patience_s=0.0)
    assert found == progress_of(store, file_id, 1) == (2, 0, 0, 0, 0)


def test_a_folder_without_a_running_node_is_seen_as_such(submitter: Submitter) -> None:
    assert not is_running(submitter.home.path)
