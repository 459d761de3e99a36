"""The queue of a session: bounded, and without questions of ticks that are over."""

from __future__ import annotations

import asyncio

import pytest

from concordat.protocol import several
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.rules import Limits
from gateway.session import Channel


def presence(name: str) -> session_pb2.HubFrame:
    return session_pb2.HubFrame(presence=session_pb2.Presence(attached=[name]))


def question(size: int = 1) -> session_pb2.HubFrame:
    return session_pb2.HubFrame(question=check_pb2.Question(header=b"h" * size))


async def taken(channel: Channel) -> list[session_pb2.HubFrame]:
    """Return what a channel sends until it has nothing more."""
    sent: list[session_pb2.HubFrame] = []

    async def write(frame: session_pb2.HubFrame) -> None:
        sent.append(frame)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.drain(write), 0.05)
    return sent


async def test_frames_leave_in_order() -> None:
    channel = Channel(Limits())
    frames = [presence("a"), question(), presence("b")]
    for number, frame in enumerate(frames):
        channel.put(frame, number)
    assert await taken(channel) == frames


async def test_questions_of_a_tick_that_is_over_never_leave() -> None:
    channel = Channel(Limits())
    channel.put(question(), 7)
    channel.put(presence("a"), 0)
    channel.put(question(2), 8)
    channel.forget(7)
    assert await taken(channel) == [presence("a"), question(2)]


@pytest.mark.parametrize(("size", "number"), [(1, 17), (1 << 19, 3)])
async def test_a_node_that_takes_nothing_is_cut_off(size: int, number: int) -> None:
    channel = Channel(Limits(queue_frames=16, queue_bytes=(1 << 20) + 100))
    for _ in range(number - 1):
        channel.put(question(size), 1)
    assert channel.code is None
    channel.put(question(size), 1)
    assert channel.code == "busy"
    await asyncio.wait_for(channel.closed(), 1)


async def test_what_was_forgotten_makes_room() -> None:
    channel = Channel(Limits(queue_frames=16, queue_bytes=1 << 20))
    for tick in range(1, 100):
        channel.put(question(900_000), tick)
        channel.forget(tick)
    assert channel.code is None


def test_the_first_code_counts() -> None:
    channel = Channel(Limits())
    channel.close("busy")
    channel.close("stopping")
    assert channel.code == "busy"


async def test_what_waits_shares_a_message_where_the_node_takes_several() -> None:
    channel = Channel(Limits())
    channel.takes_several = True
    frames = [presence("a"), question(), presence("b")]
    for number, frame in enumerate(frames):
        channel.put(frame, number)
    (message,) = await taken(channel)
    assert list(several.frames_of(message)) == frames


async def test_a_frame_that_comes_alone_travels_as_it_is() -> None:
    channel = Channel(Limits())
    channel.takes_several = True
    channel.put(presence("a"), 0)
    assert await taken(channel) == [presence("a")]


async def test_a_message_ends_where_its_room_ends() -> None:
    channel = Channel(Limits())
    channel.takes_several = True
    frames = [question(several.MAX_BYTES), question(2), question(several.MAX_BYTES - 1), *[presence("a")] * 300]
    for frame in frames:
        channel.put(frame, 0)
    messages = [several.frames_of(message) for message in await taken(channel)]
    assert [one for message in messages for one in message] == frames
    assert len(messages[0]) == 1
    assert max(len(message) for message in messages) == several.MAX_FRAMES


async def test_questions_of_a_tick_that_is_over_share_no_message() -> None:
    channel = Channel(Limits())
    channel.takes_several = True
    channel.put(question(), 7)
    channel.put(presence("a"), 0)
    channel.put(question(2), 8)
    channel.forget(7)
    (message,) = await taken(channel)
    assert list(several.frames_of(message)) == [presence("a"), question(2)]
