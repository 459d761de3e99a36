"""Several frames in one message (3.2): what goes in comes out in order, and foreign messages have limits."""

from __future__ import annotations

import pytest

from concordat.errors import ProtocolError
from concordat.protocol.several import MAX_FRAMES, frames_of, hub_message, node_message
from concordat.wire.v1 import check_pb2
from concordat.wire.v1 import session_pb2 as wire


def ack(cursor: int) -> wire.NodeFrame:
    return wire.NodeFrame(notice_ack=check_pb2.NoticeAck(cursor=cursor))


@pytest.mark.parametrize("number", [1, 2, MAX_FRAMES])
def test_frames_come_out_in_the_order_in_which_they_went_in(number: int) -> None:
    frames = [ack(cursor) for cursor in range(number)]
    sent = wire.NodeFrame.FromString(node_message(frames).SerializeToString())
    assert list(frames_of(sent)) == frames
    assert sent.HasField("several") == (number > 1)


def test_a_message_to_a_node_is_made_alike() -> None:
    frames = [wire.HubFrame(barrier=wire.Barrier(tick=tick)) for tick in (4, 5)]
    assert list(frames_of(hub_message(frames))) == frames
    assert hub_message(frames[:1]) == frames[0]


@pytest.mark.parametrize(
    "frames", [[], [ack(1)] * (MAX_FRAMES + 1), [ack(1), node_message([ack(2), ack(3)])]], ids=("none", "many", "deep")
)
def test_a_message_of_no_frames_of_too_many_or_of_messages_is_refused(frames: list[wire.NodeFrame]) -> None:
    with pytest.raises(ProtocolError):
        frames_of(wire.NodeFrame(several=wire.NodeFrames(frames=frames)))
