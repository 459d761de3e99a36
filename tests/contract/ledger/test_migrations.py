"""How tables come to today's version: all or nothing, one at a time, never from a newer one (I9)."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from concordat.errors import ConfigError, UnavailableError
from gateway import operations_schema, schema_versions
from gateway.database import open_engine
from gateway.ledger import Ledger
from gateway.ledger_schema import metadata
from gateway.schema_versions import REVISIONS, ensure_schema, migrate, revision
from tests.contract.ledger.test_ledger_contract import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server

SCRIPTS = Path(schema_versions.__file__).parent / "migrations"
BROKEN = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "9999", "{last}"
def upgrade() -> None:
    op.create_table("half", sa.Column("done", sa.Integer))
    op.execute("UPDATE meta SET value = NULL")
    op.execute("SELECT * FROM a_table_that_is_not_there")
"""
# The tables as the program made them before there were migrations.
VERSION_1 = Path(__file__).parent / "ledger-version-1.sql"


@pytest.fixture
def empty_database(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Open the same database without any table."""
    engines: list[Engine] = []

    def opened(where: object) -> Engine:
        engines.append(open_engine(where))  # type: ignore[arg-type]  # a path or a PostgreSQL
        return engines[-1]

    if backend == "sqlite":
        yield lambda: opened(tmp_path / "empty.db")
    else:
        server: Server = request.getfixturevalue("postgres")
        with server.fresh() as name:
            yield lambda: opened(server.database(name))
    for engine in engines:
        engine.dispose()


def open_ledger(engine: Engine) -> Ledger:
    return Ledger(engine, now_ms=lambda: 0, random_bytes=lambda size: b"r" * size)


def shape(engine: Engine) -> dict[str, object]:
    """Return tables, columns and keys as the database describes them."""
    inspector = inspect(engine)
    found: dict[str, object] = {}
    for table in inspector.get_table_names():
        columns = {one["name"]: (str(one["type"]), one["nullable"]) for one in inspector.get_columns(table)}
        indexes = {
            str(one["name"]): (one["column_names"], bool(one["unique"]), str(_where(one)))
            for one in inspector.get_indexes(table)
        }
        key = inspector.get_pk_constraint(table)["constrained_columns"]
        found[table] = (columns, indexes, key, [one["referred_table"] for one in inspector.get_foreign_keys(table)])
    return found


def _where(index: object) -> object:
    options = index.get("dialect_options", {})  # type: ignore[attr-defined]
    return options.get("sqlite_where", options.get("postgresql_where"))


def test_the_known_steps_are_those_that_there_are() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert [step.revision for step in scripts.walk_revisions()] == list(reversed(REVISIONS))


def test_migrations_make_the_tables_that_the_program_uses(empty_database: Callable[[], Engine]) -> None:
    engine = empty_database()
    assert migrate(engine) == (None, REVISIONS[-1])
    assert operations_schema.operation_table.metadata is metadata
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    made = shape(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert made == shape(engine)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_text_sorts_as_python_does_whatever_the_locale(empty_database: Callable[[], Engine]) -> None:
    engine = empty_database()
    migrate(engine)
    query = text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type = 'character varying' AND table_name <> 'alembic_version'"
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    assert len(found) > 10
    assert {collation for _, _, collation in found} == {"C"}


def test_a_second_migration_changes_nothing(empty_database: Callable[[], Engine]) -> None:
    engine = empty_database()
    migrate(engine)
    ledger = open_ledger(engine)
    ledger.open_edges([pair("A:x", "B:x")])
    assert migrate(engine) == (REVISIONS[-1], REVISIONS[-1])
    assert open_ledger(engine).figures() == ledger.figures()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_ledger_from_before_migrations_is_taken_over_without_loss(
    empty_database: Callable[[], Engine], tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "empty.db") as connection:
        connection.executescript(VERSION_1.read_text())
    connection.close()
    ledger = open_ledger(empty_database())
    assert ledger.incarnation == bytes(range(16))
    assert ledger.position() == 41
    assert ledger.sequences() == {"A": 7}
    assert [one.cursor for one in ledger.notices_above("A", 0, limit=9)] == [1, 2]
    # Of A and B both were told, of C nobody but A: the mark of the second step.
    assert ledger.visible_edges() == {("A", "B", 1): 1}
    assert ledger.figures()["edges_live"] == 2
    with sqlite3.connect(tmp_path / "empty.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISIONS[-1],)]
    connection.close()


@pytest.mark.parametrize("from_step", [None, REVISIONS[-1]])
def test_a_migration_that_fails_halfway_leaves_the_old_tables(
    empty_database: Callable[[], Engine], tmp_path: Path, from_step: str | None
) -> None:
    engine = empty_database()
    if from_step is not None:
        migrate(engine)
        open_ledger(engine)
    before = shape(engine)
    broken = _scripts_with_a_broken_step(tmp_path)
    with pytest.raises(UnavailableError):
        migrate(engine, scripts=broken)
    assert shape(engine) == before
    with engine.connect() as connection:
        assert revision(connection) == from_step
        if from_step is not None:
            assert connection.execute(text("SELECT count(*) FROM meta WHERE value IS NULL")).scalar() == 0


def _scripts_with_a_broken_step(folder: Path) -> Path:
    copy = folder / "migrations"
    (copy / "versions").mkdir(parents=True)
    for file in [SCRIPTS / "env.py", *(SCRIPTS / "versions").glob("r*.py")]:
        (copy / file.relative_to(SCRIPTS)).write_text(file.read_text())
    (copy / "versions" / "broken.py").write_text(BROKEN.format(last=REVISIONS[-1]))
    return copy


def test_a_newer_database_is_refused_and_left_alone(empty_database: Callable[[], Engine]) -> None:
    engine = empty_database()
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '4711'"))
    for use in (ensure_schema, migrate, open_ledger):
        with pytest.raises(ConfigError, match="newer than this program"):
            use(engine)
    with engine.connect() as connection:
        assert revision(connection) == "4711"


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_shared_database_is_not_migrated_by_whoever_starts(empty_database: Callable[[], Engine]) -> None:
    engine = empty_database()
    with pytest.raises(ConfigError, match="no tables yet: run `concordat gateway migrate"):
        open_ledger(engine)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{REVISIONS[0]}'"))
    with pytest.raises(ConfigError, match=f"older version {REVISIONS[0]}: run"):
        open_ledger(engine)


def test_gateways_that_start_at_once_migrate_once(empty_database: Callable[[], Engine]) -> None:
    """And begin one ledger between them."""
    engines = [empty_database() for _ in range(4)]
    start = threading.Barrier(len(engines))

    def begin(number: int) -> tuple[str | None, bytes]:
        start.wait(60)
        before, _ = migrate(engines[number])
        opened = Ledger(engines[number], now_ms=lambda: 0, random_bytes=lambda size: bytes([number]) * size)
        return before, opened.incarnation

    with ThreadPoolExecutor(len(engines)) as threads:
        found = list(threads.map(begin, range(len(engines))))
    assert sorted(before or "" for before, _ in found) == ["", *[REVISIONS[-1]] * 3]
    assert len({incarnation for _, incarnation in found}) == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("setting", ["synchronous_commit = off", "synchronous_commit = local"])
def test_every_connection_waits_until_what_it_commits_is_durable(
    postgres: Server, open_database: Callable[[], Engine], setting: str
) -> None:
    """I9: whatever the server's default says; and each transaction is serialisable."""
    engine = open_database()
    postgres.execute(f"ALTER DATABASE {engine.url.database} SET {setting}")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "serializable"
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "serializable"
