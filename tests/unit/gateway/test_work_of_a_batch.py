"""What a batch costs the hub, counted and not timed: statements of the ledger, messages, passes over the columns."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.sql import selectable

from concordat.protocol.check import EVERYONE
from concordat.wire.v1 import check_pb2 as wire
from gateway.database import open_engine
from gateway.ledger import EdgeCandidate, Ledger
from gateway.tick import LiveCheck
from tests.unit.gateway.world import START, told_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.unit.gateway.world import World

PER_GROUP = 16
"""A few more than a group of answers takes, whatever its size."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine of an empty database."""
    made = open_engine(tmp_path / "ledger.db")
    yield made
    made.dispose()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    """A ledger in it."""
    drawn = itertools.count(1)
    return Ledger(engine, now_ms=lambda: int(START * 1000), random_bytes=lambda size: next(drawn).to_bytes(size, "big"))


def hits(first: int, number: int) -> list[EdgeCandidate]:
    """Return answers about values of their own."""
    return [
        EdgeCandidate(
            party_a="spiffe://test.example/node/NL",
            reference_a=at.to_bytes(16, "big"),
            party_b="spiffe://test.example/node/DE",
            reference_b=at.to_bytes(16, "little"),
            namespace=1,
            told_a=True,
            told_b=True,
            check_id=b"c" * 16,
            decision=3,
            answer_mac=b"m" * 32,
        )
        for at in range(first, first + number)
    ]


def test_a_group_of_answers_takes_as_many_statements_as_one_answer(engine: Engine, ledger: Ledger) -> None:
    run: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: run.append(statement))
    counts = []
    for first, number in ((1, 1), (2, 1), (10, 100)):
        run.clear()
        assert len(ledger.open_edges(hits(first, number))) == 2 * number
        counts.append(len(run))
    # The first one asks where the lists of both parties end.
    assert counts[0] - 2 == counts[1] == counts[2] <= PER_GROUP


def test_no_statement_of_an_answer_is_built_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """To build one costs more than to run it."""
    ledger.open_edges(hits(1, 1))
    built: list[object] = []
    begun = selectable.Select.__init__

    def noted(self: selectable.Select[tuple[object]], *entities: object) -> None:
        built.append(self)
        begun(self, *entities)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(selectable.Select, "__init__", noted)
    ledger.open_edges(hits(2, 1))
    assert built == []


def test_each_party_is_asked_once_about_a_check_and_about_its_own_items_only(world: World) -> None:
    values = {"DE": ["a", "b"], "FR": ["b", "c"]}
    holders = [world.attached(name, *held) for name, held in values.items()]
    nl = world.attached("NL", *"abcdefgh")
    world.settle()
    nl.check(*"hgfedcba")
    world.settle()
    for holder, held in zip(holders, values.values(), strict=True):
        (asked,) = [frame.question for frame in holder.link.seen if frame.HasField("question")]
        positions = np.frombuffer(asked.positions, dtype="<u4").tolist()
        assert ["hgfedcba"[position] for position in positions] == sorted(held, reverse=True)
        assert told_once(nl, holder)


@pytest.mark.parametrize("optional", [False, True], ids=("bare", "all"))
def test_a_question_has_the_columns_of_its_own_items(optional: bool) -> None:
    count = 9

    def column(width: int) -> bytes:
        return b"".join(bytes([at]) * width for at in range(count))

    extra = {"audiences": bytes(range(count)), "group_tags": column(16)} if optional else {}
    items = wire.CheckItems(
        tokens=column(16), references=column(16), ask_macs=column(32), grades=bytes(range(count)), **extra
    )
    check = LiveCheck.__new__(LiveCheck)
    check.message, check.tick = wire.Check(header=b"h", signature=b"s", items=items, audience_sets=EVERYONE), 7
    parts = [np.array([4]), np.array([0, 3, 8]), np.array([8])]
    for part, question in zip(parts, check.questions(parts), strict=True):
        at = part.tolist()
        assert (question.tick, question.header, question.signature) == (7, b"h", b"s")
        assert np.frombuffer(question.positions, dtype="<u4").tolist() == at
        assert question.items.tokens == b"".join(bytes([one]) * 16 for one in at)
        assert question.items.references == b"".join(bytes([one]) * 16 for one in at)
        assert question.items.ask_macs == b"".join(bytes([one]) * 32 for one in at)
        assert question.items.grades == bytes(at)
        assert question.items.audiences == (bytes(at) if optional else b"")
        assert question.items.group_tags == (b"".join(bytes([one]) * 16 for one in at) if optional else b"")
