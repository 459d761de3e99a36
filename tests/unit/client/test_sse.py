from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordat.client.sse import MAX_EVENT_CHARS, EventReader, ServerEvent
from concordat.errors import ProtocolError

STREAM = (
    "\ufeff: comment\r\nid: 7\r\nevent: state\r\ndata: größe\r\ndata:  two\r\n\r\n"
    "data\n\nid\ndata: last\n\nretry: 1500\rdata:x\r\rid: bad\u0000id\ndata: y\n\n: ping\n\ndata: unfinished"
).encode()
EVENTS = [
    ServerEvent("state", "größe\n two", "7"),
    ServerEvent("message", "", "7"),
    ServerEvent("message", "last", ""),
    ServerEvent("message", "x", ""),
    ServerEvent("message", "y", ""),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    reader = EventReader()
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[begin:end] for begin, end in pairwise(places)]

    found = [event for chunk in chunks for event in reader.feed(chunk)]

    assert found == EVENTS
    assert reader.retry_s == 1.5


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 9999 + b"\n", b"x" * 9999])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    reader = EventReader()
    with pytest.raises(ProtocolError, match="characters"):
        [list(reader.feed(piece)) for _ in range(MAX_EVENT_CHARS // 9999 + 2)]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(noise: bytes) -> None:
    assert all(event.id.isprintable() for event in EventReader().feed(noise))
