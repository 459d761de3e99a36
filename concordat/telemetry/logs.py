"""Logs without content: one JSON line per event on stderr, with the trace in which it happened.

A foreign exception may quote what it could not read, so the log keeps its type and the stack, never its text; the text
of a `ConcordatError` holds no identifier by the rules of `concordat.errors`.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from concordat.errors import ConcordatError

if TYPE_CHECKING:
    from types import TracebackType

_EXTRAS: Final = ("rpc_method", "party", "code", "count")
# What these say in passing are URLs, headers and values of attributes; what matters of them is said by our own code.
_QUIET: Final = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "alembic": logging.WARNING,
    "opentelemetry": logging.CRITICAL,
}
# They bring handlers of their own, whose lines would not be JSON.
_WITH_HANDLERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


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


def log_to_stderr(service: str, level: int = logging.INFO) -> None:
    """Send logs and uncaught exceptions to stderr as JSON, those of libraries too.

    Args:
        service: Shown in each line, such as `custodian-c1`.
        level: Of the root logger.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(lowest)
    for name in _WITH_HANDLERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    sys.excepthook = _log_uncaught


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    # Below its first line asyncio shows the task, with the text of the exception that ended it.
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _log_uncaught(kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
    """Log what ends the process; Python's own hook would write the text of a foreign exception to stderr."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("concordat").critical("ended by an unexpected error", exc_info=(kind, error, trace_back))
