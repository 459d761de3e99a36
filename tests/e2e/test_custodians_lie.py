"""A custodian that returns wrong points is named and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.local import KillableFederation, mails, settled, until, waiting, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def with_liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableFederation]:
    folder = tmp_path_factory.mktemp("liar")
    with KillableFederation(folder, ("NL", "DE"), sabotage={"c2": "wrong-points"}) as federation:
        federation.prepare()
        federation.whole()
        yield federation


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


def test_with_a_liar_and_one_more_away_work_waits_and_names_both(with_liar: KillableFederation, tmp_path: Path) -> None:
    federation = with_liar
    federation.kill(federation.custodians["c3"])
    mark = federation.mark()
    federation.submit("NL", mails(tmp_path / "more.csv", range(2_000, 2_010)))
    reason = federation.wait_event(waiting("NL", waits=True), since=mark)["reason"]
    assert "2 of 3 custodians are needed" in reason
    until("both are named", lambda: {"c2", "c3"} <= words_of(federation.status("NL")["conditions"][0]["text"]))
    federation.revive(federation.custodians["c3"])
    federation.wait_event(waiting("NL", waits=False), since=mark)
    settled(federation, told=0)
    assert federation.status("NL")["conditions"] == []


def log_of(federation: KillableFederation, name: str) -> str:
    return (federation.folder / f"{federation.host_of(name).name}.log").read_text("utf-8")
