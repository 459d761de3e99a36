"""An acknowledgement that never comes ends the session, as a node that waits for it would neither publish nor ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.errors import UnavailableError
from concordat.wire.v1 import session_pb2
from services.node.exchange.core import ACKNOWLEDGEMENT_S
from tests.unit.exchange.hub_by_hand import HubByHand

if TYPE_CHECKING:
    from tests.unit.exchange.parties import Party

ONE, TWO = "+447700900001", "+447700900002"


def work(node: Party, after_s: float) -> list[session_pb2.NodeFrame]:
    node.clock.advance(after_s)
    return node.core.step([], work=True)


def test_a_snapshot_that_is_never_installed(holder: Party) -> None:
    hub = HubByHand(holder)
    hub.welcome()
    while holder.core.has_more:
        work(holder, 0)
    work(holder, 0)
    work(holder, ACKNOWLEDGEMENT_S - 1)
    with pytest.raises(UnavailableError) as caught:
        work(holder, 2)
    assert caught.value.code == "deadline"


def test_a_delta_that_is_never_acknowledged_and_goes_into_the_next_snapshot(holder: Party) -> None:
    hub = HubByHand(holder)
    hub.attach()
    holder.submit(ONE)
    assert [frame.WhichOneof("frame") for frame in work(holder, 0)] == ["publish"]
    work(holder, 1)
    with pytest.raises(UnavailableError):
        work(holder, ACKNOWLEDGEMENT_S + 1)
    holder.core.detach()
    (check,) = HubByHand(holder).attach()
    assert len(check.items.grades) == 1


def test_a_gateway_that_goes_on_acknowledging_is_waited_for(holder: Party) -> None:
    hub = HubByHand(holder)
    hub.attach()
    for number in range(5):
        holder.submit(f"+44770090001{number}")
        (frame,) = work(holder, 0)
        work(holder, ACKNOWLEDGEMENT_S - 1)
        hub.give(published=session_pb2.Published(sequence=frame.publish.sequence))
    assert not [frame for frame in work(holder, 1000) if frame.HasField("publish")]
