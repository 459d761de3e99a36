"""`gateway status` and the metrics say how far sweeps are, beside the running gateway and after it was killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from concordat.api.operator import SweepParty, SweepPhase, SweepProgress, SweepStanding
from concordat.cli import run
from gateway.metrics import SweepMetrics
from gateway.sweep.watch import STANDING_NAME, SweepWatch, read_standing
from tests.unit.operations.charters import NOW, proposed, sign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.clock import ManualClock
    from concordat.identity.home import Home
    from gateway.operations_store import OperationStore

    Homes = dict[str, Home]

SWEEP: Final = b"s" * 16
PARTIES: Final = (
    SweepParty(name="AT", standing=SweepStanding.JOINED),
    SweepParty(name="BE", standing=SweepStanding.JOINED, owes=True),
    SweepParty(name="CZ", standing=SweepStanding.DROPPED, code="deadline"),
)


def progress(done: int) -> SweepProgress:
    return SweepProgress(
        phase=SweepPhase.WINDOWS, windows_done=done, windows=64, pairs_percent=0, rows_about=2000, parties=PARTIES
    )


class Watched:
    """A watch over sweeps that a test makes up."""

    def __init__(self, folder: Path | None, clock: ManualClock) -> None:
        self.sweeps: dict[bytes, tuple[str, SweepProgress]] = {}
        self.changes = 0
        self.watch = SweepWatch(lambda: dict(self.sweeps), folder, clock=clock, changed=self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def status(homes: Homes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def told(*more: str) -> str:
        arguments = ("--home", str(homes["g1"].path), "--ledger", str(tmp_path / "gateway.sqlite"))
        assert run(["gateway", "status", *arguments, *more]) == 0
        return capsys.readouterr().out

    return told


def swept(store: OperationStore, homes: Homes) -> None:
    given = proposed(homes, "AT")
    store.propose(str(homes["AT"].identity), given.raw, given.signature, given.keys)
    for name in ("BE", "CZ"):
        store.countersign(str(homes[name].identity), "action-day", sign(homes[name], given.raw))
    store.start_sweep(str(homes["AT"].identity), "action-day", SWEEP)


async def test_status_tells_of_a_running_sweep(
    store: OperationStore, homes: Homes, clock: ManualClock, status: Callable[..., str]
) -> None:
    def sweeps() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(status("--json"))["sweeps"]
        return found

    assert sweeps() == []
    swept(store, homes)
    assert sweeps() == [{"operation": "action-day", "as_of": None}]
    assert "has not said how far" in status()
    folder = homes["g1"].path / "sweeps"
    (folder / SWEEP.hex()).mkdir(parents=True)
    watched = Watched(folder, clock)
    watched.sweeps[SWEEP] = ("action-day", progress(12))
    await watched.watch.look()
    (found,) = sweeps()
    assert (found["operation"], found["as_of"]) == ("action-day", int(NOW))
    assert (found["phase"], found["windows_done"], found["windows"]) == ("windows", 12, 64)
    assert [(one["name"], one["standing"], one["code"]) for one in found["parties"]] == [
        ("AT", "joined", ""),
        ("BE", "joined", ""),
        ("CZ", "dropped", "deadline"),
    ]
    told = status()
    for words in ("12 of 64 windows", "waits for BE", "CZ [deadline]", "about 2,000"):
        assert words in told
    assert (folder / SWEEP.hex() / STANDING_NAME).stat().st_mode & 0o777 == 0o600


async def test_what_has_not_changed_is_not_told_again(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / SWEEP.hex()).mkdir()
    watched = Watched(tmp_path, clock)
    await watched.watch.look()
    assert watched.changes == 0
    for done, changes, as_of in ((1, 1, NOW), (1, 1, NOW), (2, 2, NOW + 20)):
        watched.sweeps[SWEEP] = ("action-day", progress(done))
        await watched.watch.look()
        kept = read_standing(tmp_path, SWEEP)
        assert kept is not None
        assert (watched.changes, kept.progress.windows_done, kept.as_of) == (changes, done, as_of)
        clock.advance(10)
    watched.sweeps.clear()
    await watched.watch.look()
    assert watched.changes == 3


async def test_a_sweep_that_ended_meanwhile_or_is_in_memory_only_leaves_nothing(
    tmp_path: Path, clock: ManualClock
) -> None:
    for folder in (tmp_path, None):
        watched = Watched(folder, clock)
        watched.sweeps[SWEEP] = ("action-day", progress(1))
        await watched.watch.look()
        assert watched.changes == 1
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 -- an empty folder of the test


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"operation": "x", "as_of": 1, "more": 2}'])
def test_what_is_no_standing_is_as_if_nothing_was_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SWEEP.hex()).mkdir()
    (tmp_path / SWEEP.hex() / STANDING_NAME).write_bytes(content)
    assert read_standing(tmp_path, SWEEP) is None


def test_the_metrics_are_of_all_sweeps_together_and_name_nobody() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = SweepMetrics(provider.get_meter("test"))

    def shown() -> tuple[dict[str, float], set[str]]:
        data = reader.get_metrics_data()
        assert data is not None
        found = [one for each in data.resource_metrics for scope in each.scope_metrics for one in scope.metrics]
        points = [(one.name, point) for one in found for point in one.data.data_points]
        labels = {label for _, point in points for label in point.attributes or ()}
        return {name.removeprefix("concordat."): point.value for name, point in points}, labels  # type: ignore[union-attr]

    metrics.show([progress(12), progress(20)])
    figures, labels = shown()
    assert figures == {
        "sweeps": 2,
        "sweeps.windows.done": 32,
        "sweeps.windows": 128,
        "sweeps.owing": 2,
        "sweeps.dropped": 2,
    }
    assert labels == set()
    metrics.show([])
    assert set(shown()[0].values()) == {0}
    provider.shutdown()
