"""Logs, traces and metrics without content: who may be asked about the machine learns nothing about the work."""

from concordat.telemetry.calls import calling, serving
from concordat.telemetry.export import Telemetry, exporting, setup
from concordat.telemetry.logs import JsonFormatter, describe, log_to_stderr
from concordat.telemetry.metrics import duration, meter, timed
from concordat.telemetry.settings import TelemetrySettings
from concordat.telemetry.spans import (
    CODE,
    METHOD,
    ROLE,
    TRACEPARENT,
    active,
    failed,
    incoming,
    incoming_metadata,
    note_peer_role,
    public_code,
    span,
    traceparent,
    tracer,
    unexported,
)

__all__ = [
    "CODE",
    "METHOD",
    "ROLE",
    "TRACEPARENT",
    "JsonFormatter",
    "Telemetry",
    "TelemetrySettings",
    "active",
    "calling",
    "describe",
    "duration",
    "exporting",
    "failed",
    "incoming",
    "incoming_metadata",
    "log_to_stderr",
    "meter",
    "note_peer_role",
    "public_code",
    "serving",
    "setup",
    "span",
    "timed",
    "traceparent",
    "tracer",
    "unexported",
]
