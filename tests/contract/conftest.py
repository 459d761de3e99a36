"""Databases under the contract: SQLite, and PostgreSQL where there is one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.database import open_engine
from gateway.schema_versions import migrate
from tests.postgres import Server, open_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from gateway.postgres import Postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with open_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Server) -> Iterator[str]:
    """Give a database with today's tables, to be copied."""
    # A locale that sorts otherwise than Python does, as a server of an authority may well have.
    with postgres.fresh(options="TEMPLATE template0 ENCODING UTF8 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'") as name:
        engine = open_engine(postgres.database(name))
        migrate(engine)
        engine.dispose()
        yield name


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_database(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Open the same database with today's tables each time, as a restarted gateway or a replica does."""
    with ExitStack() as stack:
        where: Path | Postgres = tmp_path / "ledger.db"
        if backend == "postgresql":
            server: Server = request.getfixturevalue("postgres")
            where = server.database(stack.enter_context(server.fresh(request.getfixturevalue("template"))))

        def open_it() -> Engine:
            engine = open_engine(where)
            stack.callback(engine.dispose)
            return engine

        if backend == "sqlite":
            migrate(open_it())
        yield open_it
