"""Databases on the PostgreSQL that CONCORDAT_TEST_POSTGRES names; without it, whoever asks for one is skipped."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url

from gateway.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL, Engine

VARIABLE = "CONCORDAT_TEST_POSTGRES"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A server on which the test may do as it likes."""

    url: URL
    password_file: Path | None
    admin: Engine

    def database(self, name: str) -> Postgres:
        """Return the way to a database."""
        url = self.url.set(database=name, password=None)
        return Postgres(url.render_as_string(hide_password=False), password_file=self.password_file)

    @contextmanager
    def fresh(self, template: str | None = None, options: str = "") -> Iterator[str]:
        """Give a new database, a copy of another where one is named, and drop it afterwards."""
        name = f"concordat_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} {f'TEMPLATE {template}' if template else ''} {options}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the one who may do everything."""
        with self.admin.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def cut(self, name: str) -> int:
        """End every connection to a database, as a server that is killed does; return how many there were."""
        (row,) = self.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        )
        return int(str(row[0]))


@contextmanager
def open_server(folder: Path) -> Iterator[Server]:
    """Give the server, or skip."""
    text = os.environ.get(VARIABLE)
    if not text:
        pytest.skip(f"{VARIABLE} is not set: no PostgreSQL to test on")
    url = make_url(text)
    password_file = None
    if url.password is not None:
        password_file = folder / "postgres-password"
        password_file.touch(mode=0o600)
        password_file.write_text(str(url.password))
    admin = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    yield Server(url, password_file, admin)
    admin.dispose()
