"""The demo refuses before the work what it could not write after it, and its screen is quiet where nobody looks."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from concordat.cli import run
from demo.show import SHOWN_MATCHES, Screen


def screen(*, terminal: bool = False) -> tuple[Screen, io.StringIO]:
    seen = io.StringIO()
    return Screen(Console(file=seen, width=100, force_terminal=terminal)), seen


def test_a_folder_in_use_is_not_kept_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["demo", "--once", "--keep", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "no-folder/out.json"])
def test_an_outcome_that_could_not_be_written_is_refused_first(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--once", "--json", str(tmp_path / place)]) == 2
    assert "a folder that exists" in capsys.readouterr().out


def test_a_step_is_one_line_in_a_file() -> None:
    shown, seen = screen()
    with shown.step("sweep"), shown.step("submit", total=2) as advance:
        advance(2)
    assert [line.split(" ")[1] for line in seen.getvalue().splitlines()] == ["submit", "sweep"]


def test_only_the_first_matches_are_shown_one_by_one() -> None:
    shown, seen = screen()
    for _ in range(SHOWN_MATCHES + 3):
        shown.on_event("nodes-1", {"event": "told", "node": "NL", "handle": "M-1", "other": "spiffe://x/node/RO"})
    lines = seen.getvalue().splitlines()
    assert (len(lines), lines[-1]) == (SHOWN_MATCHES + 1, "  ... and so on")
    assert shown.told == SHOWN_MATCHES + 3


def test_whoever_lingers_is_told_where_to_look_and_may_end_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    shown, seen = screen()
    shown.linger(Path("/kept in/node/NL"))
    assert "node matches --home '/kept in/node/NL'" in seen.getvalue()
    assert "console link --home '/kept in/console/console'" in seen.getvalue()
