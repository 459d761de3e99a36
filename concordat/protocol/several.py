"""Several frames of a session in one message: what waits while a message is being written shares the next one (3.2).

A frame that comes alone travels as it is, at once. Where many wait, one message costs both ends what one frame did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from concordat.errors import ProtocolError
from concordat.wire.v1 import session_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

F = TypeVar("F", wire.NodeFrame, wire.HubFrame)

MAX_FRAMES: Final = 256
MAX_BYTES: Final = 512 << 10
"""Once a message has so many, what waits goes into the next one."""


def frames_of(message: F) -> Sequence[F]:
    """Return the frames of a message in their order.

    Raises:
        ProtocolError: It says that it holds several, and holds none, too many, or one that holds several again.
    """
    if not message.HasField("several"):
        return (message,)
    frames: Sequence[F] = message.several.frames
    if not 1 <= len(frames) <= MAX_FRAMES or any(frame.HasField("several") for frame in frames):
        raise ProtocolError("a message holds no frames, too many, or such as hold several again")
    return frames


def hub_message(frames: Sequence[wire.HubFrame]) -> wire.HubFrame:
    """Return frames as one message to a node."""
    return frames[0] if len(frames) == 1 else wire.HubFrame(several=wire.HubFrames(frames=frames))


def node_message(frames: Sequence[wire.NodeFrame]) -> wire.NodeFrame:
    """Return frames as one message to a gateway."""
    return frames[0] if len(frames) == 1 else wire.NodeFrame(several=wire.NodeFrames(frames=frames))
