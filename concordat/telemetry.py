"""Logs and traces without content: one JSON line per event on stderr, spans with method and role only.

A foreign exception may quote what it could not read, so the log keeps its type and the stack, never its text; the text
of a `ConcordatError` holds no identifier by the rules of `concordat.errors`. Traces do not cross to another party.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from concordat.errors import ConcordatError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from opentelemetry.sdk.trace.export import SpanExporter

_EXTRAS: Final = ("rpc_method", "party", "code", "count")


class JsonFormatter(logging.Formatter):
    """One line of JSON per record: time, level, service, logger, message, trace, and a few named extras."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": _message(record),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        line.update({name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def describe(error: BaseException) -> list[dict[str, object]]:
    """Return an exception and its causes as types, places and, for our own errors, code and message."""
    chain: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 8:
        entry: dict[str, object] = {"type": f"{type(current).__module__}.{type(current).__qualname__}"}
        if isinstance(current, ConcordatError):
            entry["code"], entry["message"] = current.code, current.message
        frames = traceback.extract_tb(current.__traceback__)[-12:]
        entry["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append(entry)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def setup(service_name: str, *, otlp: str | None = None, level: int = logging.INFO) -> None:
    """Send logs and uncaught exceptions to stderr as JSON and, with `otlp`, spans to a collector.

    Args:
        service_name: Shown in each line and span, such as `custodian-c1`.
        otlp: Endpoint of an OTLP/gRPC collector on the own machine or network; None keeps spans in the process.
        level: Of the root logger.

    Raises:
        ConfigError: If `otlp` is given and the exporter is not installed.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service_name))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _log_uncaught
    if otlp is None:
        return
    # Loaded only where spans go somewhere: every command starts sooner without it.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- as said above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 -- as said above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 -- as said above

    provider = TracerProvider(resource=Resource({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(_exporter(otlp)))
    trace.set_tracer_provider(provider)


def tracer() -> trace.Tracer:
    """Return the tracer of all Concordat code."""
    return trace.get_tracer("concordat")


@contextmanager
def active(span: trace.Span) -> Iterator[None]:
    """Make a span current without recording exceptions, whose texts may quote content."""
    with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield


def note_peer_role(role: str) -> None:
    """Put the caller's role, never its name, on the current span."""
    trace.get_current_span().set_attribute("concordat.peer.role", role)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    # Below its first line asyncio shows the task, with the text of the exception that ended it.
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _log_uncaught(kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
    """Log what ends the process; Python's own hook would write the text of a foreign exception to stderr."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("concordat").critical("ended by an unexpected error", exc_info=(kind, error, trace_back))


def _exporter(endpoint: str) -> SpanExporter:
    try:
        module = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    except ImportError as error:
        raise ConfigError("tracing needs the package opentelemetry-exporter-otlp-proto-grpc") from error
    exporter: SpanExporter = module.OTLPSpanExporter(endpoint=endpoint)
    return exporter
