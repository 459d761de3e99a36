"""kill -9 of the gateway or of a node in the middle of a sweep's windows: it goes on where it was, and ends exactly.

All are real processes. A relay holds the windows of one party from the middle on, so that the hub stands there for sure
when something is killed, however fast or slow the machine is; and it shows at which window each party was told to go
on. The operation is an exercise, whose report is not rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from concordat.errors import ConcordatError
from demo.processes import free_ports
from tests.e2e.local import KillableFederation, mails, run_json, until
from tests.e2e.sweep_hold import SweepHold
from tests.e2e.tap import Tapping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.full

NAMES: Final = ("NL", "DE")
SETS: Final = {"NL": range(640), "DE": range(320, 960)}
WINDOWS: Final = 64
HELD_FROM: Final = 40
DONE: Final = 10
# The state is saved behind each window. Nobody is given up because this machine is busy.
SETTINGS: Final = """
[limits]
absent_after_barriers = 10000
absent_after_s = 120
[sweep]
window_tokens = 10
save_s = 0
inactivity_s = 60
away_s = 60
"""


class Drill:
    """One exercise that is swept again and again, with a relay in front of the gateway."""

    def __init__(self, federation: KillableFederation, name: str) -> None:
        self.federation = federation
        self.name = name
        self.hold = SweepHold(name)

    def run(self, *arguments: str, home: str = "NL") -> dict[str, Any]:
        """Run a command of `node operation`."""
        return run_json("node", "operation", *arguments, "--home", self.federation.home(home))

    def open(self) -> None:
        """Open and sign it, and give both parties their sets."""
        federation, case = self.federation, str(self.federation.case())
        self.run("open", self.name, "--title", "Drill", "--participants", "NL,DE", "--case", case, "--exercise")
        self.run("sign", self.name, "--yes", home="DE")
        for name, numbers in SETS.items():
            file = mails(federation.folder / f"{name}.csv", numbers)
            where = ("--case", case, "--home", federation.home(name), "--operation", self.name, "--no-wait")
            assert run_json("node", "submit", file, *where)["accepted"] == len(numbers)
        with federation.stores() as stores:
            stores.wait_done(60)

    def start_and_hold(self, party: str) -> None:
        """Start a sweep, and come back when the hub stands in the middle because of a party's windows."""
        self.hold.hold(party, HELD_FROM)
        self.run("start-sweep", self.name)
        self.hold.wait_held()
        until(f"{DONE} windows are done", lambda: self.standing()["windows_done"] >= DONE)
        until(f"it waits for {party} alone", lambda: self.waits_for() == {party})

    def standing(self) -> dict[str, Any]:
        """Return what the gateway says of the sweep."""
        (found,) = run_json("gateway", "status", "--home", self.federation.home("g1", "gateway"))["sweeps"]
        return {"windows_done": 0, **found}

    def waits_for(self) -> set[str]:
        """Return for whom the gateway says that it waits."""
        return {one["name"] for one in self.standing()["parties"] if one["owes"]}

    def report(self, version: int) -> dict[str, Any]:
        """Wait for a version of the report."""
        found: dict[str, Any] = {}

        def is_there() -> bool:
            try:
                found.update(self.run("report", self.name))
            except (AssertionError, ConcordatError):
                return False
            return bool(found["version"] >= version)

        until(f"version {version} of the report is there", is_there)
        assert found["version"] == version
        return found


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    federation = KillableFederation(tmp_path / "drill", NAMES)
    made = Drill(federation, "drill")
    with Tapping(gate=made.hold.gate) as tapping, federation:
        manifest = federation.prepare()
        gateway, behind = manifest.gateways[0], f"localhost:{free_ports(1)[0]}"
        home = federation.home("g1", "gateway")
        (home / "gateway.toml").write_text(f'address = "{behind}"\n{SETTINGS}', encoding="utf-8")
        clients = {manifest.party(name).id: federation.home(name) for name in NAMES}
        tapping.add(home, listen=gateway.address, dial=behind, clients=clients)
        federation.start()
        made.open()
        yield made
        made.hold.release()
    assert tapping.wire.errors == []


def is_exact(report: dict[str, Any]) -> bool:
    """Tell whether a report says of the two sets what is so."""
    one, two = (set(numbers) for numbers in SETS.values())
    assert report["exercise"]
    assert {part["party"].rpartition("/")[2]: (part["state"], part["size"]) for part in report["participants"]} == {
        name: ("included", len(numbers)) for name, numbers in SETS.items()
    }
    return (report["totals"]["communication_devices"], report["matches"]) == (len(one | two), len(one & two))


def test_a_killed_gateway_goes_on_at_the_next_window(drill: Drill) -> None:
    hold, hub = drill.hold, drill.federation.hub
    drill.start_and_hold("DE")
    assert [hold.plans(name) for name in NAMES] == [[0], [0]]
    drill.federation.kill(hub)
    hold.release()
    drill.federation.revive(hub)
    assert is_exact(drill.report(1))
    (_, next_nl), (_, next_de) = hold.plans("NL"), hold.plans("DE")
    assert next_nl == next_de
    assert 0 < next_nl <= HELD_FROM
    assert f"goes on: {next_nl} of {WINDOWS} windows" in (drill.federation.folder / "gateway.log").read_text()
    for name in NAMES:
        before, after = hold.sent(name)
        assert before[0] == 0
        # What the hub had is not sent again, and all that is behind it is.
        assert after == list(range(next_nl, WINDOWS))


@pytest.mark.parametrize("killed", NAMES)
def test_a_killed_node_goes_on_at_its_next_window(drill: Drill, killed: str) -> None:
    """Once the one on which the hub waits, once the other."""
    hold, host = drill.hold, drill.federation.host_of(killed)
    drill.start_and_hold("DE")
    drill.federation.kill(host)
    drill.federation.revive(host)
    if killed != "DE":
        # While the hub still waits for the other one.
        hold.wait_plans(killed, 2)
    hold.release()
    assert is_exact(drill.report(1))
    first, again = hold.plans(killed)
    assert first == 0
    # One that is not held may have been ahead.
    assert DONE < again <= WINDOWS
    before, after = hold.sent(killed)
    assert before[0] == 0
    assert after == list(range(again, WINDOWS))
    # Nobody else had to begin anew.
    (other,) = set(NAMES) - {killed}
    assert hold.plans(other) == [0]
    assert hold.sent(other) == [list(range(WINDOWS))]
