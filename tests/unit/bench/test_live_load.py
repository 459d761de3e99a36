"""The load of the bench of live checks: what it asks is acceptable, and what comes back wrong is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.live_load import Question, Writer, missed, wrong_answers
from bench.live_world import CLOCK, Holding
from concordat.errors import UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.protocol.check import accept_audience, accept_header, accept_items
from concordat.protocol.macs import ASKER_TOLD, answer_mac
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = "spiffe://bench.example/node/DE"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The folder of a node that asks."""
    folder: Path = tmp_path_factory.mktemp("bench") / "federation"
    nodes = (NodePlan.parse("NL"), NodePlan.parse("DE"))
    init_federation(folder, FederationPlan(name="bench.example", nodes=nodes), unsafe_dealer=True)
    return load_home(folder / "node" / "NL", clock=CLOCK)


def writer(home: Home) -> Writer:
    return Writer([home], [Holding.draw(HOLDER, 30, seed=1)], seed=2)


def answered(question: Question, *, holder: str = HOLDER, secret: bytes | None = None) -> None:
    """Let the holder of every hit answer."""
    for reference, (match_secret, _) in question.hits.items():
        theirs = reference[::-1]
        mac = answer_mac(secret or match_secret, question.header.hash, HOLDER, (reference, theirs), ASKER_TOLD)
        told = wire.Told(own_reference=reference, other=holder, other_reference=theirs, decision=1, answer_mac=mac)
        question.told.append(told)
    question.covered = {HOLDER}


def test_a_check_is_one_that_hub_and_holder_accept(home: Home) -> None:
    question = writer(home).question(0, size=10, hits=3)
    check = question.check
    accept_header(question.header, manifest=home.manifest, asker=str(home.identity), now=CLOCK.now())
    accept_items(check.items, count=10, exact=True)
    accept_audience(question.header, check.audience_salt, list(check.audience_sets), check.items.audiences)
    assert len(question.hits) == 3


def test_no_value_is_asked_twice_and_none_is_made_up(home: Home) -> None:
    asks = writer(home)
    secrets = [secret for _ in range(10) for secret, _ in asks.question(0, size=3, hits=3).hits.values()]
    assert len(set(secrets)) == 30
    with pytest.raises(UnavailableError):
        asks.question(0, size=1, hits=1)


def test_right_answers_are_right_and_each_fault_is_counted(home: Home) -> None:
    asks = writer(home)
    right, doubled, owed, forged, other, late = (asks.question(0, size=2, hits=2) for _ in range(6))
    for question in (right, doubled, owed, late):
        answered(question)
    answered(forged, secret=b"x" * 32)
    answered(other, holder="spiffe://bench.example/node/FR")
    doubled.told.append(doubled.told[0])
    owed.told.pop()
    late.told.pop()
    late.covered = set()
    assert [wrong_answers([one]) for one in (right, doubled, owed, forged, other, late)] == [0, 1, 1, 2, 2, 0]
    assert [missed([one]) for one in (right, owed, late)] == [0, 1, 1]
