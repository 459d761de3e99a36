"""What an operator does with a ledger on PostgreSQL: check the settings, migrate, look at the numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from concordat.cli import run
from concordat.errors import UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.plan import FederationPlan, NodePlan
from gateway.database import open_engine
from gateway.schema_versions import REVISIONS, ensure_schema

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    plan = FederationPlan(name="test.example", nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")))
    init_federation(tmp_path / "f", plan, unsafe_dealer=True)
    return next((tmp_path / "f" / "gateway").iterdir())


def test_an_operator_migrates_a_shared_ledger_once_and_sees_its_numbers(
    postgres: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def gateway(command: str) -> tuple[int, str, str]:
        code = run(["gateway", command, "--home", str(home), "--json"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    with postgres.fresh() as name:
        where = postgres.database(name)
        lines = [f'ledger = "{where.url}"']
        if where.password_file is not None:
            lines.append(f'ledger_password_file = "{where.password_file}"')
        (home / "gateway.toml").write_text("\n".join(lines))
        code, out, _ = gateway("check-config")
        assert (code, json.loads(out)["settings"]["ledger"]) == (0, where.url)
        code, out, _ = gateway("status")
        assert (code != 0, json.loads(out)["error"]["code"]) == (True, "bad_config")
        assert "run `concordat gateway migrate" in json.loads(out)["error"]["message"]
        assert [json.loads(gateway("migrate")[1]) for _ in range(2)] == [
            {"before": None, "after": REVISIONS[-1]},
            {"before": REVISIONS[-1], "after": REVISIONS[-1]},
        ]
        code, out, _ = gateway("status")
        found = json.loads(out)
        assert (code, found["edges_live"], found["notices"]) == (0, 0, 0)
        assert found.pop("sweeps") == []
        assert all(isinstance(value, int) for value in found.values())


@pytest.mark.parametrize(
    ("database", "user", "says"),
    [("no_such_database", None, "no such database"), (None, "no_such_user", "does not let this user in|no such user")],
)
def test_a_server_that_lets_nobody_in_is_named_with_its_reason(
    postgres: Server, database: str | None, user: str | None, says: str
) -> None:
    where = postgres.database(database or "postgres")
    url = make_url(where.url)
    engine = open_engine(replace(where, url=str(url.set(username=user or url.username))))
    with pytest.raises(UnavailableError, match=says):
        ensure_schema(engine)
    engine.dispose()


def test_a_server_without_tls_is_refused_where_tls_is_demanded(postgres: Server, home: Path) -> None:
    where = replace(postgres.database("postgres"), tls_ca=home / "tls-roots.crt")
    says = "speaks no TLS" if postgres.execute("SHOW ssl") == [("off",)] else "certificate is not one of"
    engine = open_engine(where)
    with pytest.raises(UnavailableError, match=says):
        ensure_schema(engine)
    engine.dispose()


def test_a_server_that_is_not_there_is_named_without_a_traceback(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "gateway.toml").write_text('ledger = "postgresql+pg8000://hub@127.0.0.1:1/ledger"\n')
    assert run(["gateway", "status", "--home", str(home)]) != 0
    err = capsys.readouterr().err
    assert "the ledger cannot be opened: nobody answers at its address" in " ".join(err.split())
    assert "Traceback" not in err
