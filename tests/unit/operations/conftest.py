"""A federation of four nodes in one folder, made once; each test gets its own copy of the nodes' folders."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.plan import FederationPlan, NodePlan
from gateway.database import open_engine
from gateway.operations_store import OperationStore
from tests.unit.operations.charters import NODES, NOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("operations") / "federation"
    plan = FederationPlan(name="ops.example", nodes=tuple(NodePlan.parse(name) for name in NODES))
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@pytest.fixture
def homes(federation: Path, tmp_path: Path) -> dict[str, Home]:
    copy = tmp_path / "federation"
    shutil.copytree(federation, copy)
    paths = {name: copy / "node" / name for name in NODES} | {"g1": copy / "gateway" / "g1"}
    return {name: load_home(path, clock=SystemClock()) for name, path in paths.items()}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def store(homes: dict[str, Home], tmp_path: Path, clock: ManualClock) -> Iterator[OperationStore]:
    engine = open_engine(tmp_path / "gateway.sqlite")
    yield OperationStore(engine, manifest=lambda: homes["g1"].manifest, clock=clock)
    engine.dispose()
