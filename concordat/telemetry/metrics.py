"""Metrics: numbers of a process, with few labels from the list of what may leave, and never a party's name.

with timed(_DURATION, {"rpc.method": method}) as labels:
    labels["concordat.code"] = "ok"
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from concordat.telemetry.allowed import clean_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATM: Final = Path("/proc/self/statm")


def meter() -> Meter:
    """Return the meter of all Concordat code."""
    return metrics.get_meter("concordat")


def duration(name: str, description: str) -> Histogram:
    """Make a histogram of seconds."""
    return meter().create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=SECONDS
    )


@contextmanager
def timed(histogram: Histogram, labels: dict[str, str | int]) -> Iterator[dict[str, str | int]]:
    """Record how long the block takes, with what the block adds to the labels."""
    begun = time.perf_counter()
    try:
        yield labels
    finally:
        histogram.record(time.perf_counter() - begun, clean_attributes(labels))


def watch_process() -> None:
    """Let the process's time and memory be read whenever metrics are."""
    meter().create_observable_counter(
        "process.cpu.time", [_cpu], unit="s", description="Time that the processors gave to this process."
    )
    if _STATM.exists():
        meter().create_observable_gauge(
            "process.memory.usage", [_resident], unit="By", description="Memory of this process that is resident."
        )


def _cpu(_options: CallbackOptions) -> Iterable[Observation]:
    used = os.times()
    yield Observation(used.user + used.system)


def _resident(_options: CallbackOptions) -> Iterable[Observation]:
    yield Observation(int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
