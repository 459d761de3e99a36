"""A collector: takes spans, metrics and logs over OTLP/gRPC on a real socket, and keeps every byte that it was sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_PROTOCOL: Final = {"traces": trace_service_pb2, "metrics": metrics_service_pb2, "logs": logs_service_pb2}
_SERVICES: Final = {what: next(iter(one.DESCRIPTOR.services_by_name.values())) for what, one in _PROTOCOL.items()}
_REQUESTS: Final[dict[str, Any]] = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}


class SpanSeen(NamedTuple):
    """One span as it came."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: int
    attributes: dict[str, str | int]


class Sink:
    """A context manager that listens on a free port of loopback; `endpoint` says where."""

    def __init__(self, *, tls: tuple[bytes, bytes] | None = None) -> None:
        """Bind a port.

        Args:
            tls: Key and certificate in PEM; plain by default.
        """
        self._lock = threading.Lock()
        self._received: list[tuple[str, bytes]] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers(
            [_service(what, service.full_name, self._keep) for what, service in _SERVICES.items()]
        )
        self._scheme = "http" if tls is None else "https"
        self._port = (
            self._server.add_insecure_port("localhost:0")
            if tls is None
            else self._server.add_secure_port("localhost:0", grpc.ssl_server_credentials([tls]))
        )

    @property
    def endpoint(self) -> str:
        """Return the endpoint for `otlp` settings."""
        return f"{self._scheme}://localhost:{self._port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(1).wait()

    def _keep(self, what: str, request: bytes) -> None:
        with self._lock:
            self._received.append((what, request))

    def requests(self) -> list[tuple[str, Any]]:
        """Return what came so far: kind and request."""
        with self._lock:
            return [(what, _REQUESTS[what].FromString(raw)) for what, raw in self._received]

    def places(self) -> list[tuple[str, bytes]]:
        """Return everything that came, each request as it was on the wire and as text shows it, for a scanner."""
        with self._lock:
            raw = [(f"{what} {number}", raw) for number, (what, raw) in enumerate(self._received)]
        return raw + [(f"{what} as text", str(request).encode()) for what, request in self.requests()]

    def spans(self) -> list[SpanSeen]:
        """Return all spans so far."""
        return [
            SpanSeen(
                service=str(_plain(resource.resource.attributes)["service.name"]),
                name=one.name,
                trace_id=one.trace_id.hex(),
                span_id=one.span_id.hex(),
                parent=one.parent_span_id.hex(),
                kind=one.kind,
                attributes=_plain(one.attributes),
            )
            for resource in self._resources("traces", "resource_spans")
            for scope in resource.scope_spans
            for one in scope.spans
        ]

    def metric_names(self) -> Counter[tuple[str, str]]:
        """Return how often each (service, metric) came."""
        return Counter(
            (str(_plain(resource.resource.attributes)["service.name"]), one.name)
            for resource in self._resources("metrics", "resource_metrics")
            for scope in resource.scope_metrics
            for one in scope.metrics
        )

    def metric_labels(self) -> list[dict[str, str | int]]:
        """Return the labels of every point of every metric so far."""
        return [
            _plain(point.attributes)
            for resource in self._resources("metrics", "resource_metrics")
            for scope in resource.scope_metrics
            for one in scope.metrics
            for point in getattr(one, one.WhichOneof("data")).data_points
        ]

    def resources(self) -> list[dict[str, str | int]]:
        """Return the resources of all that came."""
        spans = self._resources("traces", "resource_spans")
        return [_plain(one.resource.attributes) for one in [*spans, *self._resources("metrics", "resource_metrics")]]

    def wait(self, wanted: Callable[[Self], object], timeout_s: float = 30) -> None:
        """Wait until something has come."""
        deadline = time.monotonic() + timeout_s
        while not wanted(self):
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s; came so far: {self._summary()}"
            time.sleep(0.05)

    def _summary(self) -> Counter[tuple[str, str]]:
        return Counter((one.service, one.name) for one in self.spans())

    def _resources(self, what: str, field: str) -> Iterator[Any]:
        for kind, request in self.requests():
            if kind == what:
                yield from getattr(request, field)


def _plain(attributes: Any) -> dict[str, str | int]:
    pairs: list[KeyValue] = list(attributes)
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in pairs}


def _service(what: str, name: str, keep: Callable[[str, bytes], None]) -> grpc.GenericRpcHandler:
    def export(request: bytes, _context: object) -> bytes:
        keep(what, request)
        return b""

    # Without types: what is kept is what was on the wire.
    return grpc.method_handlers_generic_handler(name, {"Export": grpc.unary_unary_rpc_method_handler(export)})
