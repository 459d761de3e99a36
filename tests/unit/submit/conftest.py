from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from services.node.store.store import Store
from services.node.submit import Submitter
from tests.unit.custodian.running import CASE, home_of, make_federation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concordat.identity.home import Home


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_federation(tmp_path_factory.mktemp("submit") / "federation")


@pytest.fixture
def home(federation: Path, tmp_path: Path) -> Home:
    shutil.copytree(federation / "node/NL", tmp_path / "node/NL")
    return home_of(tmp_path, "node/NL")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    with Store.open(home.path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def submitter(home: Home, store: Store) -> Submitter:
    return Submitter(home, store, SystemClock(), CASE)
