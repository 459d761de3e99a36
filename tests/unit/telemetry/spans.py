"""Spans of code under test, as its provider records them; the provider is one for a whole test process."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def recorded() -> InMemorySpanExporter:
    """Return an exporter that gets every span of this process from now on."""
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)  # tests/conftest.py has set it
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter
