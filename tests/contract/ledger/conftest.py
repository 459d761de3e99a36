"""Ledgers under the contract: SQLite now; another database joins by adding its engine here."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.database import open_engine
from gateway.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW_MS = 1_800_000_000_000


@pytest.fixture(params=["sqlite"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Open the same database each time, as a restarted gateway or a replica does."""
    numbers, engines = itertools.count(1), []
    where = {"sqlite": tmp_path / "ledger.db"}[request.param]

    def make() -> Ledger:
        engine = open_engine(where)
        engines.append(engine)
        return Ledger(engine, now_ms=lambda: NOW_MS, random_bytes=lambda size: next(numbers).to_bytes(size, "big"))

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()
