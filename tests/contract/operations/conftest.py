"""The store of operations under the contract, with the federation of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.operations_store import OperationStore
from tests.unit.operations.conftest import clock, federation, homes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from concordat.clock import ManualClock
    from concordat.identity.home import Home

__all__ = ["clock", "federation", "homes", "store"]


@pytest.fixture
def store(
    open_database: Callable[[], Engine],
    homes: dict[str, Home],
    clock: ManualClock,
) -> OperationStore:
    return OperationStore(open_database(), manifest=lambda: homes["g1"].manifest, clock=clock)
