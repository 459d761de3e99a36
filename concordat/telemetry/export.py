"""From settings to exporters: one `setup` a process, and a `close` that ends in time whatever the collector does."""

from __future__ import annotations

import atexit
import logging
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import concordat
from concordat.telemetry.logs import log_to_stderr
from concordat.telemetry.metrics import watch_process
from concordat.telemetry.nothing import Nothing
from concordat.telemetry.settings import TelemetrySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FLUSH_S: Final = 3.0


@dataclass(slots=True)
class Telemetry:
    """What a process exports; a context manager that sends the rest and stops."""

    prometheus: Callable[[], bytes] | None = None
    """Returns the metrics in Prometheus's text format, where `setup` was asked for it."""
    stops: list[Callable[[], None]] = field(default_factory=list, repr=False)
    """What `close` has to end."""

    def close(self) -> None:
        """Send what waits, for at most `FLUSH_S`; a second time does nothing."""
        stops, self.stops = self.stops, []
        if not stops:
            return
        atexit.unregister(self.close)
        # In threads of their own: an exporter that waits for its collector must not hold up the end of the process.
        threads = [threading.Thread(target=stop, daemon=True, name="telemetry-end") for stop in stops]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(FLUSH_S / len(threads))
        except RuntimeError:
            # The interpreter makes no threads any more: what waits is lost, and the process ends.
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def setup(
    service: str,
    *,
    settings: TelemetrySettings | None = None,
    otlp: str | None = None,
    home: Path | None = None,
    prometheus: bool = False,
    level: int = logging.INFO,
) -> Telemetry:
    """Send logs to stderr as JSON and, where the settings name a collector, spans and metrics to it.

    Args:
        service: Shown in each line and span, such as `custodian-c1`.
        settings: What is exported, and where to; nothing by default.
        otlp: Another collector than that of the settings.
        home: Folder in which a relative `otlp_ca` lies.
        prometheus: Whether metrics shall be readable in Prometheus's format.
        level: Of the root logger.

    Raises:
        ConfigError: `otlp` is no endpoint, or the roots of the collector's certificate cannot be read.
    """
    log_to_stderr(service, level)
    chosen = (settings or TelemetrySettings()).sending_to(otlp)
    providers = _providers(service, chosen, chosen.roots(home), prometheus=prometheus)
    telemetry = Telemetry(providers.prometheus, providers.stops)
    atexit.register(telemetry.close)
    return telemetry


@contextmanager
def exporting(service: str, otlp: str | None, *, home: Path | None = None) -> Iterator[None]:
    """Export the spans of one command to a collector, where one is given; without one nothing changes.

    Raises:
        ConfigError: `otlp` is no endpoint.
    """
    if otlp is None:
        yield
        return
    with setup(service, otlp=otlp, home=home, level=logging.WARNING):
        yield


@dataclass(slots=True)
class _Providers:
    prometheus: Callable[[], bytes] | None = None
    stops: list[Callable[[], None]] = field(default_factory=list)


def _providers(service: str, settings: TelemetrySettings, roots: bytes | None, *, prometheus: bool) -> _Providers:
    # Loaded only by what runs on: every other command starts sooner without it.
    from opentelemetry import metrics, propagate, trace  # noqa: PLC0415 -- as said above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- as said above

    from concordat.telemetry.otlp import (  # noqa: PLC0415 -- as said above
        Collector,
        meter_provider,
        metric_reader,
        prometheus_reader,
        tracer_provider,
    )

    # Not `Resource.create`, which adds what the environment says and what it finds out about the machine.
    resource = Resource(
        {
            "service.name": service,
            "service.version": concordat.__version__,
            "service.instance.id": uuid.uuid4().hex,
        }
    )
    made = _Providers()
    collector = Collector(settings.otlp, roots) if settings.otlp is not None else None
    traces = tracer_provider(resource, collector, ratio=settings.trace_ratio)
    readers: list[Any] = []
    if collector is not None:
        readers.append(metric_reader(collector))
        made.stops.append(traces.shutdown)
    if prometheus:
        reader, made.prometheus = prometheus_reader()
        readers.append(reader)
    # No library passes anything on by itself: what crosses is said in `concordat.telemetry.spans`.
    propagate.set_global_textmap(Nothing())
    trace.set_tracer_provider(traces)
    if readers:
        meters = meter_provider(resource, readers)
        made.stops.append(lambda: meters.shutdown(FLUSH_S * 1000))
        metrics.set_meter_provider(meters)
        watch_process()
    return made
