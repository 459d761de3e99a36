"""The OpenTelemetry SDK behind the list of what may leave: exporters, providers, sampling.

A collector that is away costs nothing but its spans: queues are bounded, and it is said once that it does not answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from typing_extensions import override

from concordat.telemetry.allowed import ATTRIBUTES, SCOPE
from concordat.telemetry.clean import clean_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

SPANS_EVERY_MS: Final = 1_000
METRICS_EVERY_MS: Final = 15_000
MOST_WAITING: Final = 4096
MOST_AT_ONCE: Final = 512
EXPORT_S: Final = 5.0
MOST_SERIES: Final = 500
# A proxy named in the environment must not see it.
_CHANNEL: Final[Any] = (("grpc.enable_http_proxy", 0),)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """Where to send to, and the roots that vouch for it; None for those of the machine."""

    endpoint: str
    roots: bytes | None = None

    def exporter_arguments(self) -> dict[str, Any]:
        """Return the arguments that both exporters take."""
        secure = self.endpoint.startswith("https://")
        return {
            "endpoint": self.endpoint,
            "insecure": not secure,
            "credentials": grpc.ssl_channel_credentials(self.roots) if secure else None,
            "timeout": EXPORT_S,
            "channel_options": _CHANNEL,
        }


class _Health:
    """Says once that the collector does not answer, and once that it does again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._away = False

    def note(self, *, taken: bool) -> None:
        if self._away != (not taken):
            self._away = not taken
            _log.warning("the collector takes %s again" if taken else "the collector takes no %s now", self._what)


class CleanSpans(SpanExporter):
    """Hands on what may leave of each span."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource
        self._health = _Health("spans")

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export copies without anything that is not on the list."""
        cleaned = clean_spans(spans, self._resource)
        if not cleaned:
            return SpanExportResult.SUCCESS
        result = self._exporter.export(cleaned)
        self._health.note(taken=result is SpanExportResult.SUCCESS)
        return result

    @override
    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


class _WatchedMetrics(MetricExporter):
    """Exports metrics, whose labels the provider's views have cut to the list."""

    def __init__(self, exporter: OTLPMetricExporter) -> None:
        super().__init__()
        self._exporter = exporter
        self._health = _Health("metrics")

    @override
    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        result = self._exporter.export(metrics_data, timeout_millis)
        self._health.note(taken=result is MetricExportResult.SUCCESS)
        return result

    @override
    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    @override
    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis)


def sampler(ratio: float) -> Sampler:
    """Return what decides by the trace's id alone, so that nobody who calls decides what is exported here."""
    own = TraceIdRatioBased(ratio)
    return ParentBased(root=own, remote_parent_sampled=own)


def tracer_provider(resource: Resource, collector: Collector | None, *, ratio: float) -> TracerProvider:
    """Return a provider; without a collector its spans have ids for the logs and are not recorded."""
    if collector is None:
        return TracerProvider(sampler=ALWAYS_OFF, resource=resource, shutdown_on_exit=False)
    limits = SpanLimits(max_span_attributes=16, max_events=0, max_links=0)
    provider = TracerProvider(sampler=sampler(ratio), resource=resource, span_limits=limits, shutdown_on_exit=False)
    exporter = CleanSpans(OTLPSpanExporter(**collector.exporter_arguments()), resource)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=SPANS_EVERY_MS,
            max_export_batch_size=MOST_AT_ONCE,
        )
    )
    return provider


def metric_reader(collector: Collector) -> MetricReader:
    """Return a reader that sends metrics to a collector."""
    exporter = _WatchedMetrics(OTLPMetricExporter(**collector.exporter_arguments()))
    return PeriodicExportingMetricReader(exporter, export_interval_millis=METRICS_EVERY_MS)


def prometheus_reader() -> tuple[MetricReader, Callable[[], bytes]]:
    """Return a reader of Prometheus's format, and what gives its text."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 -- of the gateway alone
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 -- of the gateway alone

    # Its own registry: the usual one adds what it finds out about the machine.
    registry = CollectorRegistry(auto_describe=False)
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False, disable_target_info=True)
    return reader, lambda: generate_latest(registry)


def meter_provider(resource: Resource, readers: Sequence[MetricReader]) -> MeterProvider:
    """Return a provider whose metrics have labels of the list only, few series, and no exemplars."""
    # What a library counts has names and values of its own making: dropped, whatever it is.
    others = View(instrument_name="*", aggregation=DropAggregation())
    own = View(
        instrument_name="*",
        meter_name=SCOPE,
        attribute_keys=set(ATTRIBUTES),
        aggregation_cardinality_limit=MOST_SERIES,
    )
    return MeterProvider(
        metric_readers=readers,
        resource=resource,
        # An exemplar holds the labels that the view has cut, and the id of a trace.
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
        views=[others, own],
    )
