"""Which version the tables have, and the way from an older one to today's.

    ensure_schema(engine)        # at every start: today's tables, or a refusal that says what to do
    migrate(engine)              # what `concordat gateway migrate` does

The embedded database migrates itself. A shared one is migrated when its operator says so, as the gateways beside this
one may still run the older program. Either way it is one transaction that excludes a second migration: it is done, or
the old tables stand as before. A database that is newer than the program is never touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from concordat.errors import ConfigError
from gateway.ledger_schema import meta
from gateway.transactions import unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""The names of all steps, the newest last."""
LEDGER_VERSION: Final = b"1"
_SCRIPTS: Final = Path(__file__).parent / "migrations"
# Any number that nothing else in the database uses; PostgreSQL holds it until the migration's transaction ends.
_LOCK: Final = 0x434F4E434F524431
_PATIENCE_MS: Final = 60_000
MIGRATION_S: Final = 3600.0
"""How long a statement of a migration may take."""


def ensure_schema(engine: Engine) -> None:
    """Require today's tables; make or migrate those of an embedded database.

    Raises:
        ConfigError: The tables are of a newer program, of another version, or must be migrated first.
        UnavailableError: The database cannot be reached.
    """
    try:
        with engine.execution_options(read_only=True).begin() as connection:
            found = _known(revision(connection))
    except SQLAlchemyError as error:
        raise unavailable(error, "the ledger cannot be opened") from error
    if found == REVISIONS[-1]:
        return
    if engine.dialect.name != "sqlite":
        state = "has no tables yet" if found is None else f"has tables of the older version {found}"
        raise ConfigError(
            f"the ledger's database {state}: run `concordat gateway migrate --home HOME` once,"
            " or set migrate_at_start = true where only one gateway uses it"
        )
    migrate(engine)


def migrate(engine: Engine, *, scripts: Path = _SCRIPTS) -> tuple[str | None, str]:
    """Bring the tables to today's version; return the version before and after.

    Args:
        engine: Of a database that is empty, older or of today.
        scripts: Another folder of steps, in tests.

    Raises:
        ConfigError: The tables are of a newer program or of another version.
        UnavailableError: The database cannot be reached, or did not take a step: all is as it was.
    """
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                _exclude(connection)
            before = _known(revision(connection))
            _upgrade(connection, scripts)
            return before, revision(connection) or ""
    except SQLAlchemyError as error:
        raise unavailable(error, "the ledger's tables could not be migrated, and are as they were") from error


def revision(connection: Connection) -> str | None:
    """Return the name of the step that was taken last; None before the first.

    Raises:
        ConfigError: The tables are of a version before migrations that is not the ledger's.
    """
    inspector = inspect(connection)
    if inspector.has_table("alembic_version"):
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found
    if inspector.has_table(meta.name):
        version = connection.execute(meta.select().where(meta.c.key == "version")).first()
        if version is not None and version.value != LEDGER_VERSION:
            raise ConfigError("the ledger's database is of another version")
    return None


def _known(found: str | None) -> str | None:
    if found is not None and found not in REVISIONS:
        raise ConfigError("the ledger's database is newer than this program: use the program that migrated it")
    return found


def _exclude(connection: Connection) -> None:
    # Each statement must see what the migration before it has done, which a serialisable one would not.
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _upgrade(connection: Connection, scripts: Path) -> None:
    # Loaded here, as a start with today's tables has no use for it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # Percent signs mean something in Alembic's settings.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
