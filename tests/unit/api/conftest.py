"""A federation with two partners and a console, made once, and its API at a time that tests set."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from gateway.database import open_engine
from gateway.operations_store import OperationStore
from gateway.schema_versions import ensure_schema
from tests.unit.api.api_world import ApiClient, RelayByHand, app_of, http_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx
    from fastapi import FastAPI


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("api") / "federation"
    plan = FederationPlan(
        name="api.example",
        nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")),
        partners=(PartnerPlan.parse("IJM"), PartnerPlan.parse("OSCE")),
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time() + 60)


@pytest.fixture
def home(federation: Path, clock: ManualClock) -> Callable[[str], Home]:
    return lambda name: load_home(federation / name, clock=clock)


@pytest.fixture
def relay() -> RelayByHand:
    return RelayByHand()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with tables and nothing in them; to make them takes longer than most tests."""
    path = tmp_path_factory.mktemp("ledger") / "empty.sqlite"
    engine = open_engine(path)
    ensure_schema(engine)
    engine.dispose()
    return path


@pytest.fixture
def store(
    home: Callable[[str], Home], tmp_path: Path, clock: ManualClock, empty_ledger: Path
) -> Iterator[OperationStore]:
    engine = open_engine(Path(shutil.copy(empty_ledger, tmp_path)))
    manifest = home("gateway/g1").manifest
    yield OperationStore(engine, manifest=lambda: manifest, clock=clock)
    engine.dispose()


@pytest.fixture
def app(home: Callable[[str], Home], clock: ManualClock, store: OperationStore, relay: RelayByHand) -> FastAPI:
    return app_of(home("gateway/g1"), clock, store, relay)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with http_of(app) as client:
        yield client


@pytest.fixture
def client(home: Callable[[str], Home], http: httpx.AsyncClient, clock: ManualClock) -> Callable[[str], ApiClient]:
    gateway = str(home("gateway/g1").identity)
    return lambda name: ApiClient(home(name), http, clock, gateway)


@pytest.fixture
async def ijm(client: Callable[[str], ApiClient]) -> ApiClient:
    """A partner with a token."""
    found = client("partner/IJM")
    await found.log_in()
    return found
