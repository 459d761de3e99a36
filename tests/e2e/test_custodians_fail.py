"""A custodian that lies is named and left out; one of three may be away; with two away work waits, says why, ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.local import KillableFederation, mail, mails, run_json, settled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.processes import Event

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def with_liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableFederation]:
    folder = tmp_path_factory.mktemp("liar")
    with KillableFederation(folder, ("NL", "DE"), sabotage={"c2": "wrong-points"}) as federation:
        federation.prepare()
        federation.whole()
        yield federation


def waiting(node: str, *, waits: bool) -> Any:
    def wanted(event: Event) -> bool:
        return event.get("event") == "waiting" and event["node"] == node and bool(event["reason"]) == waits

    return wanted


@pytest.mark.xdist_group("e2e-liar")
def test_a_custodian_that_returns_wrong_points_is_named_and_left_out(
    with_liar: KillableFederation, tmp_path: Path
) -> None:
    federation, numbers = with_liar, range(100)
    file = mails(tmp_path / "same.csv", numbers)
    # Two batches one after the other: two of three custodians are asked for the first, the third for the second.
    for name in federation.names:
        federation.submit(name, mails(tmp_path / "first.csv", range(1_000, 1_010)))
    settled(federation, told=2 * 10)
    for name in federation.names:
        federation.submit(name, file)
    state = settled(federation, told=2 * 110)
    assert sum(state.told.values()) == 2 * 110
    assert not any("None" in row for row in state.values)
    assert len({row[-1] for row in state.values}) == 110, "both nodes have the same tokens, so no lie is in them"
    for name in federation.names:
        (incident,) = federation.status(name)["incidents"]
        assert incident["party"] == "spiffe://demo.concordat.example/custodian/c2"
        assert "proof" in incident["what"]
        assert f"CUSTODIAN LIES: {incident['party']}" in log_of(federation, name)


@pytest.mark.xdist_group("e2e-liar")
def test_with_a_liar_and_one_more_away_work_waits_and_names_both(with_liar: KillableFederation, tmp_path: Path) -> None:
    federation = with_liar
    federation.kill(federation.custodians["c3"])
    mark = federation.mark()
    federation.submit("NL", mails(tmp_path / "more.csv", range(2_000, 2_010)))
    reason = federation.wait_event(waiting("NL", waits=True), since=mark)["reason"]
    assert "2 of 3 custodians are needed" in reason
    until("both are named", lambda: {"c2", "c3"} <= set(words(federation.status("NL")["conditions"][0]["text"])))
    federation.revive(federation.custodians["c3"])
    federation.wait_event(waiting("NL", waits=False), since=mark)
    settled(federation, told=0)
    assert federation.status("NL")["conditions"] == []


@pytest.mark.xdist_group("e2e-shared")
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


@pytest.mark.xdist_group("e2e-shared")
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
    assert {"c1", "c2"} & set(words(condition["text"]))
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


def words(text: str) -> list[str]:
    return text.replace("(", " ").replace(":", " ").replace(";", " ").split()


def log_of(federation: KillableFederation, name: str) -> str:
    return (federation.folder / f"{federation.host_of(name).name}.log").read_text("utf-8")
