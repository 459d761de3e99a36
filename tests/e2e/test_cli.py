"""The command line: help for everything, one line for what is wrong, one JSON object where --json is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat import cli
from tests.e2e.local import concordat, mail, mails, run_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cyclopts import App

    from tests.e2e.local import KillableFederation

ROLES = ("demo", "federation", "custodian", "gateway", "node", "oprf")


def walk(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the path of every command and sub-command."""
    yield path
    for name in app:
        if not name.startswith("-"):
            yield from walk(app[name], (*path, name))


COMMANDS = sorted(walk(cli.app))
IDS = [" ".join(path) or "concordat" for path in COMMANDS]


def test_every_role_has_its_commands() -> None:
    assert {path[0] for path in COMMANDS if path} == set(ROLES)
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_every_command_explains_itself(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*path, "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"Usage: {' '.join(('concordat', *path))}")
    # Usage, and at least a sentence on what it does.
    assert len(said.out.splitlines()) > 3


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_a_wrong_option_gets_one_line_and_code_2(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*path, "--no-such-option", "1"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("concordat: ")
    assert said.err.endswith(" [bad_input]\n")
    assert said.err.count("\n") == 1


def test_an_unknown_command_gets_one_line_and_code_2() -> None:
    with concordat("no-such-command") as process:
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    with concordat("node", "status", "--home", "no-such-folder") as process:
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert "[bad_config]" in err


@pytest.mark.slow
@pytest.mark.xdist_group("e2e-shared")
def test_what_programs_read_is_one_json_object(whole_federation: KillableFederation, tmp_path: Path) -> None:
    federation, first = whole_federation, 50_000
    where = {name: ("--home", federation.home(name), "--case", federation.case()) for name in federation.names}
    file = mails(tmp_path / "list.csv", range(first, first + 3))
    with file.open("a", encoding="utf-8") as more:
        more.write("phone,nonsense\n")

    report = run_json("node", "submit", file, *where["NL"])
    assert (report["accepted"], report["refused"], report["again"], report["running"]) == (3, 1, False, True)
    assert [(one["line"], one["code"]) for one in report["refused_lines"]] == [(5, "unreadable_phone")]
    assert report["progress"] == dict.fromkeys(("values", "tokenised", "published", "asked", "settled"), 3)
    assert (report["not_covered"], report["matches"]) == ([], [])
    assert run_json("node", "submit", file, *where["NL"])["again"] is True

    (found,) = run_json("node", "check", mail(first), "--kind", "email", *where["DE"])["matches"]
    assert (found["other"].rpartition("/")[2], found["typed"], found["asked"]) == ("NL", mail(first), True)

    home = ("--home", federation.home("DE"))
    (match,) = (one for one in run_json("node", "matches", *home)["matches"] if one["typed"] == mail(first))
    assert match == found
    assert mail(first) in {one["typed"] for one in run_json("node", "records", *home)["records"]}
    refused = run_json("node", "records", "--refused", "--home", federation.home("NL"))["records"]
    assert [one["typed"] for one in refused] == ["nonsense"]
    status = run_json("node", "status", *home)
    assert (status["node"].rpartition("/")[2], status["running"], status["pending"]) == ("DE", True, [])
    assert [one["reference"] for one in run_json("node", "case", "show", *home)["cases"]] == ["THB-2026-0001"]
    assert run_json("node", "operation", "list", *home) == {"operations": []}

    hub = ("--home", federation.home("g1", "gateway"))
    assert run_json("gateway", "check-config", *hub)["nodes"] == 2
    assert run_json("gateway", "status", *hub)["edges_live"] >= 1
    custodian = ("--home", federation.home("c1", "custodian"))
    assert run_json("custodian", "check-config", *custodian, code=2)["error"]["code"] == "bad_config"
    assert run_json("federation", "check", federation.home("NL"))["manifest_version"] == 1
