"""'No match' is said of covered parties and of no other; each other party is named with its reason (I6)."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.node.coverage import no_match, not_covered, with_unasked
from services.node.store.overview import FileProgress, PendingHolder
from services.node.submit_view import show_matches

PREFIX = "spiffe://test.example/node/"
ALL = tuple(PREFIX + name for name in ("BG", "DE", "RO"))


def pending(name: str, state: str) -> PendingHolder:
    return PendingHolder(PREFIX + name, state, 1)


def shown(progress: FileProgress, *waiting: PendingHolder) -> str:
    seen = io.StringIO()
    console = Console(file=seen, width=80)
    show_matches(console, console, found=[], pending=waiting, progress=progress, holders=ALL)
    return seen.getvalue()


def test_each_party_is_named_once_with_what_stands_in_its_way() -> None:
    said = not_covered([pending("RO", "new"), pending("RO", "offline"), pending("DE", "timed_out")])
    assert said == "not covered yet: DE (no answer in time), RO (offline); the running node goes on asking"
    assert not_covered([]) == ""


def test_no_match_is_said_of_covered_parties_by_name() -> None:
    assert no_match([PREFIX + "RO", PREFIX + "DE"], matched=False) == (
        "No match with the 2 parties that are covered: DE, RO."
    )
    assert no_match([PREFIX + "RO"], matched=True) == "Otherwise no match with the party that is covered: RO."
    assert no_match([], matched=True) == ""


def test_no_party_that_waits_is_among_those_without_a_match() -> None:
    said = shown(FileProgress(1, 1, 1, 1, 1), pending("DE", "offline"))
    assert "No match with the 2 parties that are covered: BG, RO." in said


@pytest.mark.parametrize("progress", [FileProgress(0, 0, 0, 0, 0), FileProgress(2, 2, 2, 1, 1)])
def test_nothing_is_said_of_values_that_were_not_asked_about(progress: FileProgress) -> None:
    assert "o match with" not in shown(progress)


def test_where_something_was_not_asked_everybody_is_still_to_be_covered() -> None:
    offline = pending("DE", "offline")
    assert with_unasked([offline], FileProgress(2, 2, 2, 2, 1), ALL) == [offline]
    for progress in (FileProgress(2, 2, 2, 1, 1), FileProgress(0, 0, 0, 0, 0)):
        said = with_unasked([offline], progress, ALL)
        assert [(one.holder, one.state) for one in said] == [
            (ALL[1], "offline"),
            (ALL[0], "new"),
            (ALL[2], "new"),
        ]


def test_where_all_are_away_nothing_is_known() -> None:
    said = shown(FileProgress(1, 1, 1, 1, 1), *(pending(name, "offline") for name in ("BG", "DE", "RO")))
    assert "Nobody is covered yet" in said
    assert "o match with" not in said
