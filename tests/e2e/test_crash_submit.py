"""I9: kill -9 of node, custodian, gateway or the submit itself, in the middle of 5 000 records, changes no end state.

One party submits 5 000 addresses, of which the other holds some. Each process is killed twice, at moments that show in
the store that half of the work is done and half is not. Keys stay the same, so even the tokens must be equal.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.local import (
    EndState,
    FreshStores,
    KillableFederation,
    concordat,
    count,
    mail,
    mails,
    settled,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.processes import Process

RECORDS: Final = 5_000
COMMON: Final = range(100, 5_000, 25)
OTHERS: Final = range(9_000, 9_100)
TOLD: Final = 2 * len(COMMON)
TOKENS: Final = "SELECT count(*) FROM token"
SENT: Final = "SELECT count(*) FROM sent_check"
OPEN: Final = "SELECT count(*) FROM pending WHERE state = 'new'"
STORED: Final = "SELECT count(*) FROM record"

pytestmark = pytest.mark.slow


class Bench:
    """A federation that is put back and run again, disturbed or not."""

    def __init__(self, federation: KillableFederation) -> None:
        self.federation = federation
        self.home = federation.home("NL")
        self._fresh = FreshStores(federation)
        self.many = mails(federation.folder / "many.csv", range(RECORDS))
        self.few = mails(federation.folder / "few.csv", [*COMMON, *OTHERS])

    def run(self, disturb: Callable[[Bench], None]) -> EndState:
        """Submit at both parties, disturb, and return the end state."""
        federation = self.federation
        try:
            federation.whole()
            federation.submit("DE", self.few)
            disturb(self)
            return settled(federation, told=TOLD)
        finally:
            federation.kill(*(one for one in federation.processes if one not in federation.custodians.values()))
            self._fresh.put_back()

    def submit(self) -> None:
        """Submit the many records to the end."""
        counts = self.federation.submit("NL", self.many).counts
        assert (counts.accepted, counts.refused) == (RECORDS, 0)

    def kill_at(self, tokens: int, *processes: Process) -> None:
        """Kill processes once so many tokens are there, and start them again."""
        until(f"{tokens} tokens", lambda: count(self.home, TOKENS) >= tokens)
        self.federation.kill(*processes)
        assert count(self.home, TOKENS) < RECORDS, "it was killed too late to disturb"
        self.federation.revive(*processes)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with KillableFederation(tmp_path_factory.mktemp("crash"), ("NL", "DE")) as federation:
        federation.prepare()
        yield Bench(federation)


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> EndState:
    return bench.run(Bench.submit)


def test_an_undisturbed_submit_ends_with_every_match_told_to_both_once(undisturbed: EndState) -> None:
    assert sum(undisturbed.records.values()) == RECORDS + len(COMMON) + len(OTHERS)
    assert sum(undisturbed.values.values()) == RECORDS + len(COMMON) + len(OTHERS)
    assert not any("None" in row for row in undisturbed.values), "a value has no token"
    assert undisturbed.left == {"NL": 0, "DE": 0}
    expected = {(a, mail(n), b, mail(n)): 1 for n in COMMON for a, b in (("NL", "DE"), ("DE", "NL"))}
    assert undisturbed.told == expected
    assert undisturbed.edges == {frozenset({("NL", mail(n)), ("DE", mail(n))}): 1 for n in COMMON}
    assert undisturbed.notices == {"NL": len(COMMON), "DE": len(COMMON)}


def kill_the_node(bench: Bench) -> None:
    host = bench.federation.host_of("NL")
    bench.submit()
    bench.kill_at(1_000, host)
    bench.kill_at(3_000, host)


def kill_the_gateway(bench: Bench) -> None:
    """Kill it once while tokens are made and published, and once while a check waits for its certificate."""
    bench.submit()
    bench.kill_at(1_000, bench.federation.hub)
    asked = count(bench.home, SENT)
    until("a check left after the restart", lambda: count(bench.home, SENT) > asked and count(bench.home, OPEN))
    bench.federation.kill(bench.federation.hub)
    assert count(bench.home, OPEN), "it was killed too late to disturb"
    bench.federation.revive(bench.federation.hub)


def kill_custodians(bench: Bench) -> None:
    c1, c2, _ = bench.federation.custodians.values()
    bench.submit()
    bench.kill_at(1_000, c1)
    bench.kill_at(2_000, c1, c2)


def kill_the_submit(bench: Bench) -> None:
    home, case = bench.home, bench.federation.case()
    stored = 0
    for least in (500, 2_000):
        arguments = ("node", "submit", bench.many, "--home", home, "--case", case, "--no-wait", "--json")
        with concordat(*arguments) as process:
            until(f"{least} rows", lambda least=least: count(home, STORED) >= least)  # type: ignore[misc]  # a default
            process.send_signal(signal.SIGKILL)
        stored = count(home, STORED)
        assert least <= stored < RECORDS, "it was killed too late to disturb"
    bench.submit()


@pytest.mark.parametrize(
    "disturb",
    [
        kill_the_node,
        kill_the_gateway,
        pytest.param(kill_custodians, marks=pytest.mark.full),
        pytest.param(kill_the_submit, marks=pytest.mark.full),
    ],
)
def test_kill_9_in_the_middle_changes_no_end_state(
    bench: Bench, undisturbed: EndState, disturb: Callable[[Bench], None]
) -> None:
    disturbed = bench.run(disturb)
    assert disturbed.records == undisturbed.records
    assert disturbed.values == undisturbed.values
    assert disturbed.left == undisturbed.left
    assert disturbed.told == undisturbed.told
    assert disturbed.edges == undisturbed.edges
    assert disturbed.ledger_told == undisturbed.ledger_told
    # The ledger wrote each notice once too, so none was hidden by the party that got it.
    assert disturbed.notices == undisturbed.notices
