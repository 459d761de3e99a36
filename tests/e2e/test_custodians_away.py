"""One of three custodians may be away; with two away work waits, says why, and ends when one returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.local import mail, mails, run_json, settled, waiting, words_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.local import KillableFederation

pytestmark = pytest.mark.slow


def test_one_of_three_custodians_away_stops_nothing(whole_federation: KillableFederation, tmp_path: Path) -> None:
    federation, number = whole_federation, 40_000
    federation.kill(federation.custodians["c1"])
    file = mails(tmp_path / "same.csv", [number])
    for name in federation.names:
        federation.submit(name, file)
    told = settled(federation, told=0).told
    assert {key: times for key, times in told.items() if key[1] == mail(number)} == {
        ("NL", mail(number), "DE", mail(number)): 1,
        ("DE", mail(number), "NL", mail(number)): 1,
    }
    for name in federation.names:
        status = federation.status(name)
        assert (status["conditions"], status["incidents"]) == ([], [])


def test_with_two_custodians_away_a_submit_waits_says_why_and_ends_when_one_returns(
    whole_federation: KillableFederation, tmp_path: Path
) -> None:
    federation, mark = whole_federation, whole_federation.mark()
    c1, c2, _ = federation.custodians.values()
    federation.kill(c1, c2)
    federation.submit("NL", mails(tmp_path / "some.csv", range(41_000, 41_010)))
    reason = federation.wait_event(waiting("NL", waits=True), since=mark)["reason"]
    assert "2 of 3 custodians are needed" in reason
    status = federation.status("NL")
    assert status["without_token"] == 10
    (condition,) = status["conditions"]
    assert {"c1", "c2"} & words_of(condition["text"])
    assert "cannot be reached now" in condition["text"]
    assert status["incidents"] == []
    # What was accepted is there, and a second submit is taken as well.
    assert len(run_json("node", "records", "--home", federation.home("NL"))["records"]) >= 10
    federation.submit("NL", mails(tmp_path / "more.csv", range(41_010, 41_015)))

    federation.revive(c2)
    federation.wait_event(waiting("NL", waits=False), since=mark)
    assert settled(federation, told=0).left == {"NL": 0, "DE": 0}
    status = federation.status("NL")
    assert (status["without_token"], status["conditions"]) == (0, [])
