"""Ledgers under the contract: SQLite, and PostgreSQL where there is one."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.database import open_engine
from gateway.ledger import Ledger
from gateway.schema_versions import migrate
from tests.postgres import Server, open_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from gateway.postgres import Postgres

NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with open_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Server) -> Iterator[str]:
    """Give a database with today's tables, to be copied."""
    with postgres.fresh() as name:
        engine = open_engine(postgres.database(name))
        migrate(engine)
        engine.dispose()
        yield name


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_database(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], Callable[[], Engine]]]:
    """Make an empty ledger's database; what it returns opens that one each time."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def opener(where: Path | Postgres) -> Callable[[], Engine]:
            def open_it() -> Engine:
                engine = open_engine(where)
                stack.callback(engine.dispose)
                return engine

            return open_it

        def make() -> Callable[[], Engine]:
            if backend == "sqlite":
                return opener(tmp_path / f"ledger-{next(numbers)}.db")
            server: Server = request.getfixturevalue("postgres")
            name = stack.enter_context(server.fresh(request.getfixturevalue("template")))
            return opener(server.database(name))

        yield make


@pytest.fixture
def open_database(new_database: Callable[[], Callable[[], Engine]]) -> Callable[[], Engine]:
    """Open the same database each time, as a restarted gateway or a replica does."""
    return new_database()


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
