"""How a gateway may be told of its PostgreSQL: no password where it would be seen, no plain text to another machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConfigError
from gateway.config import load_settings
from gateway.database import open_engine
from gateway.postgres import Dialect, Postgres, require_server, sqlstate

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "postgresql+pg8000://hub@127.0.0.1:5432/ledger"
REMOTE = "postgresql+pg8000://hub@db.example/ledger"
SECRET = "correct-horse"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(SECRET + "\n")
    return path


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql+pg8000://hub:{SECRET}@127.0.0.1/ledger", "ledger_password_file"),
        (f"postgresql+pg8000://hub@127.0.0.1/ledger?password={SECRET}", "ledger_password_file"),
        (f"postgresql+pg8000://hub@127.0.0.1/ledger?sslkey={SECRET}", "unknown option"),
        (f"postgresql://hub@{SECRET}/ledger", "must begin with"),
        (f"mysql://hub@{SECRET}/ledger", "must begin with"),
        (f"postgresql+pg8000://127.0.0.1/{SECRET}", "lacks a part"),
        (f"postgresql+pg8000://{SECRET}@127.0.0.1/", "lacks a part"),
        (f"postgresql+pg8000://hub@127.0.0.1:{SECRET}/ledger", "cannot be read"),
    ],
)
def test_a_url_that_is_not_what_it_must_be_is_refused_and_not_repeated(tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "gateway.toml").write_text(f'ledger = "{url}"\n')
    with pytest.raises(ConfigError, match=says) as refusal:
        load_settings(tmp_path)
    assert SECRET not in str(refusal.value)


def test_another_machine_is_reached_with_tls_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ledger_tls_ca"):
        open_engine(Postgres(REMOTE))
    with pytest.raises(ConfigError, match="no certificates in PEM"):
        open_engine(Postgres(REMOTE, tls_ca=tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigError, match="no certificates in PEM"):
        open_engine(Postgres(REMOTE, tls_ca=tmp_path / "empty.pem"))


@pytest.mark.parametrize(
    "url",
    [
        LOCAL,
        "postgresql+pg8000://hub@localhost/ledger",
        "postgresql+pg8000://hub@[::1]:5432/ledger",
        "postgresql+pg8000://hub@/ledger?unix_sock=/run/postgresql/.s.PGSQL.5432",
    ],
)
def test_this_machine_is_reached_without(url: str) -> None:
    open_engine(Postgres(url)).dispose()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_password_file_that_others_can_read_is_refused(password: Path, mode: int) -> None:
    password.chmod(mode)
    with pytest.raises(ConfigError, match="0600"):
        open_engine(Postgres(LOCAL, password_file=password))


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe", b"x" * 5000])
def test_a_password_file_holds_one_line(password: Path, content: bytes) -> None:
    password.write_bytes(content)
    with pytest.raises(ConfigError):
        open_engine(Postgres(LOCAL, password_file=password))


def test_a_password_is_in_no_text_that_the_gateway_makes(tmp_path: Path, password: Path) -> None:
    (tmp_path / "gateway.toml").write_text(f'ledger = "{LOCAL}"\nledger_password_file = "{password.name}"\n')
    settings = load_settings(tmp_path)
    where = settings.database(tmp_path)
    assert where == Postgres(LOCAL, password_file=password)
    engine = open_engine(where)
    for text in (repr(where), repr(engine), str(engine.url), json.dumps(settings.model_dump(mode="json"))):
        assert SECRET not in text
    engine.dispose()


class Answering:
    """A connection and cursor of a server with these settings."""

    def __init__(self, *row: str) -> None:
        self.row = row

    def cursor(self) -> Answering:
        return self

    def execute(self, _statement: str) -> None:
        pass

    def fetchone(self) -> tuple[str, ...]:
        return self.row

    def close(self) -> None:
        pass

    def commit(self) -> None:
        pass


def test_a_server_that_keeps_what_it_takes_is_taken() -> None:
    for commit in ("on", "remote_apply"):
        require_server(Answering("on", "on", commit, "UTF8"))


@pytest.mark.parametrize(
    "row",
    [
        ("off", "on", "on", "UTF8"),
        ("on", "off", "on", "UTF8"),
        ("on", "on", "off", "UTF8"),
        ("on", "on", "on", "LATIN1"),
    ],
)
def test_a_server_that_may_lose_what_it_took_is_refused(row: tuple[str, ...]) -> None:
    """I9: without fsync an acknowledged commit may be gone after a crash."""
    with pytest.raises(ConfigError):
        require_server(Answering(*row))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        ({"C": "57P01"}, True),
        ({"C": "08006"}, True),
        ({"C": "40001"}, False),
        ({"C": "23505"}, False),
        ("text", False),
    ],
)
def test_what_says_that_the_connection_is_gone(error: Any, lost: bool) -> None:
    dialect = Dialect(dbapi=Dialect.import_dbapi())  # type: ignore[no-untyped-call]
    raised = dialect.loaded_dbapi.Error(error)
    assert dialect.is_disconnect(raised, None, None) is lost
    assert dialect.is_disconnect(dialect.loaded_dbapi.InterfaceError("network error"), None, None)
    assert sqlstate(raised) == (error["C"] if isinstance(error, dict) else "")
