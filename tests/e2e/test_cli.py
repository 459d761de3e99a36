"""The command line: help for everything, and one line for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat import cli
from tests.e2e.local import concordat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App

ROLES = ("audit", "console", "custodian", "demo", "federation", "gateway", "health", "home", "node", "oprf", "partner")


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


def test_an_unknown_command_gets_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["no-such-command"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_folder_that_is_not_there_gets_one_line_and_code_2() -> None:
    with concordat("node", "status", "--home", "no-such-folder") as process:
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert "[bad_config]" in err
