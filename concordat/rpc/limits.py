"""Channel options that server and client share, so that the two ends cannot drift apart."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 32 << 20
KEEPALIVE_MS: Final = 20_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000

Options = list[tuple[str, int | str]]


def keepalive() -> Options:
    """Return options that find a dead peer within 30 s, on idle connections too."""
    return [
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ]


def message_limits(max_message_bytes: int) -> Options:
    """Return options that refuse larger messages in both directions."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
