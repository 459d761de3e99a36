"""The commands of handling show before they do, and need another officer where four eyes are needed (LB-24, LB-26)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from concordat.cli import run
from services.node.journal import FILE_NAME

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk

CASE = ("--case", "THB-2026-0001")


def node(desk: Desk, *words: str) -> int:
    return run(["node", *words, "--home", str(desk.home.path)])


@pytest.fixture
def as_json(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert node(desk, *words, "--json") == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return call


def test_without_yes_a_change_is_only_shown(desk: Desk, as_json: Any) -> None:
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    change = ("handling", "set", *CASE, "--not-tell", "third_country,partner", "--officer", "officer-1")
    (shown,) = as_json(*change)["records"]
    assert shown["before"]["may_be_told"] == ["DE", "EUROPOL", "IJM", "OSCE", "UA"]
    assert shown["may_be_told"] == ["DE", "EUROPOL", "OSCE"]
    assert as_json("handling", "show", *CASE)["records"][0]["may_be_told"] == shown["before"]["may_be_told"]
    assert as_json(*change, "--yes")["done"] == "changed"
    assert as_json("handling", "show", *CASE)["records"][0]["may_be_told"] == ["DE", "EUROPOL", "OSCE"]


def test_a_second_officer_approves_what_shows_a_victim_outside_the_union(desk: Desk, as_json: Any) -> None:
    desk.submit("kind,identifier,role\nemail,one@mail.example,victim\n")
    asked = as_json("handling", "set", *CASE, "--tell", "UA", "--officer", "officer-1", "--yes")
    number = str(asked["records"][0]["proposal"])
    assert [one["officer"] for one in as_json("handling", "proposals")["proposals"]] == ["officer-1"]
    assert node(desk, "handling", "approve", number, "--officer", "officer-1") != 0
    assert as_json("handling", "approve", number, "--officer", "officer-2") == {"approved": int(number)}
    assert as_json("handling", "show", *CASE)["records"][0]["may_be_told"] == ["UA"]


@pytest.mark.parametrize(
    "words",
    [
        ("set", *CASE, "--officer", "o"),
        ("set", *CASE, "--officer", "o", "--tell", "Atlantis"),
        ("set", *CASE, "--officer", "o", "--visibility", "loud"),
        ("set", "--officer", "o", "--visibility", "silent"),
        ("show", "--case", "another"),
        ("approve", "7", "--officer", "o"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(desk: Desk, words: tuple[str, ...]) -> None:
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    before = desk.policies()
    assert node(desk, "handling", *words) != 0
    assert desk.policies() == before
    assert not (desk.home.path / FILE_NAME).exists() or not (desk.home.path / FILE_NAME).read_bytes()


def test_a_pseudonym_is_resolved_here_and_stands_for_one_person(desk: Desk, as_json: Any) -> None:
    """LB-16: neither the journal nor anything but the store has the name."""
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    as_json("officer", "add", "officer-17", "Canary Name", "--unit", "Unit 1")
    assert node(desk, "officer", "add", "officer-17", "Somebody Else", "--unit", "Unit 2") != 0
    found = as_json("officer", "show", "officer-17")["officers"]
    assert found == [{"pseudonym": "officer-17", "name": "Canary Name", "unit": "Unit 1"}]
    as_json("handling", "set", *CASE, "--visibility", "silent", "--officer", "officer-17", "--yes")
    assert b"officer-17" in (desk.home.path / FILE_NAME).read_bytes()
    others = [one for one in desk.home.path.iterdir() if one.is_file() and not one.name.startswith("store.sqlite")]
    assert not [one.name for one in others if b"Canary" in one.read_bytes()]


def test_a_preview_says_that_nothing_was_changed_and_how_to_do_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    change = ("handling", "set", *CASE, "--visibility", "silent", "--officer", "officer-1")
    capsys.readouterr()
    assert node(desk, *change) == 0
    assert "add --yes" in capsys.readouterr().out
    assert node(desk, *change, "--yes") == 0
    assert "add --yes" not in capsys.readouterr().out
