"""What is done for one new value costs the same in a store that holds many: no step reads all of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.unit.node_store.conftest import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.node_store.conftest import Desk

HELD = 3000
# Instructions of SQLite's machine; reading 3000 rows takes more than 15 000.
AT_MOST = 3000
HOLDERS = ["spiffe://test.example/node/DE"]


def put_one(desk: Desk) -> None:
    desk.put("new@mail.example")


def tokenised_one(desk: Desk) -> None:
    put_one(desk)
    desk.tokenise()


def published_one(desk: Desk) -> None:
    tokenised_one(desk)
    desk.publish()


STEPS: dict[str, tuple[Callable[[Desk], None], Callable[[Desk], object]]] = {
    "look up": (lambda _desk: None, lambda desk: desk.store.lookup(token("7@mail.example"), 1)),
    "submit": (lambda _desk: None, put_one),
    "find what has no token": (put_one, lambda desk: desk.store.untokenised(1, "strong", 100)),
    "make a token": (put_one, lambda desk: desk.tokenise()),
    "number": (tokenised_one, lambda desk: desk.store.take_unpublished(1, 100)),
    "form a batch": (published_one, lambda desk: desk.store.form_batches(1, 100, HOLDERS, random.Random(1))),
    "say that all is published": (published_one, lambda desk: desk.store.all_published()),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_does_not_read_the_whole_store(desk: Desk, name: str) -> None:
    prepare, step = STEPS[name]
    desk.put(*(f"{number}@mail.example" for number in range(HELD)))
    desk.tokenise_at_once()
    desk.publish(HELD)
    desk.store.form_batches(1, HELD, HOLDERS, random.Random(1))
    prepare(desk)
    counted = [0]

    def count() -> int:
        counted[0] += 50
        return 0

    with desk.store.read() as db:
        db.set_progress_handler(count, 50)
    step(desk)
    assert 0 <= counted[0] <= AT_MOST
