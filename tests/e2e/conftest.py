"""Federations of real processes that several tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.local import KillableFederation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def shared_federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableFederation]:
    """Two nodes; one worker runs all files that use it (tests/conftest.py)."""
    with KillableFederation(tmp_path_factory.mktemp("shared"), ("NL", "DE")) as federation:
        federation.prepare()
        yield federation


@pytest.fixture
def whole_federation(shared_federation: KillableFederation) -> KillableFederation:
    """The shared federation with all processes running; a test may kill some, and brings values of its own."""
    shared_federation.whole()
    return shared_federation
