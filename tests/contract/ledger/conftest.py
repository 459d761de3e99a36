"""Ledgers under the contract."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

NOW_MS = 1_800_000_000_000


@pytest.fixture
def open_ledger(open_database: Callable[[], Engine]) -> Callable[[], Ledger]:
    """Open the same ledger each time."""
    numbers = itertools.count(1)

    def make() -> Ledger:
        return Ledger(
            open_database(), now_ms=lambda: NOW_MS, random_bytes=lambda size: next(numbers).to_bytes(size, "big")
        )

    return make


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()
