"""An asker that breaks the protocol learns nothing of a holder by it, and makes it covered for nobody less (I11, I6).

A holder that refuses a question is timed out in that tick for all, and only who may hold a value is asked: so whoever
could provoke a refusal would see who holds it, silently or not, and could keep that party from being covered. The hub
and the holder are the ones that run in production; the askers are made by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConcordatError
from concordat.protocol.check import CHECK_COST
from services.node.exchange.seen import SeenChecks
from tests.unit.gateway.partners import Partner, coverage
from tests.unit.gateway.world import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.wire.v1 import check_pb2
    from tests.simulation.live import Live

PHONE, OTHER = "+447700900001", "+447700900002"
# The tokens of a real store are made from epoch and value.
HELD, ALSO_HELD = f"1{PHONE}", f"1{OTHER}"


@pytest.fixture
def live(make_live: Callable[..., Live]) -> Live:
    """DE holds two values; NL asks about something else in every tick that matters."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    live.nodes["DE"].submit(PHONE, OTHER)
    live.run(3)
    return live


def partner(live: Live) -> Partner:
    return Partner("IJM", live.world.federation, live.world.clock)


def attached_by_hand(live: Live, name: str, *values: str) -> Node:
    node = Node(name, live.world.federation, live.world.clock)
    node.keep(*values)
    link = node.dial(live.hub)
    live.world.settle()
    node.snapshot(link)
    live.world.settle()
    return node


def state(live: Live, asker: Partner, message: check_pb2.Check) -> str:
    """Ask, and return what the certificate says of DE; a query that the hub refuses asks nobody."""
    try:
        number = asker.ask(live.hub, message)
    except ConcordatError as error:
        return error.code
    live.world.window()
    return coverage(live.hub.outcomes.pop(number))["DE"]


def test_a_partner_uses_an_id_again_behind_a_check_that_lives_longer(live: Live) -> None:
    """What lives longer must not make the holder remember what the hub has forgotten."""
    ijm, hub = partner(live), live.hub
    ijm.ask(hub, ijm.message(ALSO_HELD))
    now_ms = int(live.world.clock.now() * 1000)
    check_id = b"again".ljust(16)
    assert state(live, ijm, ijm.message(HELD, check_id=check_id, expires_at_ms=now_ms + 61_000)) == "covered"
    live.run(130)
    assert state(live, ijm, ijm.message(HELD, check_id=check_id)) == "covered"


def test_a_partner_uses_an_id_again_before_a_holder_with_a_slower_clock_has_forgotten_it(live: Live) -> None:
    ijm = partner(live)
    now_ms = int(live.world.clock.now() * 1000)
    check_id = b"again".ljust(16)
    assert state(live, ijm, ijm.message(HELD, check_id=check_id, expires_at_ms=now_ms + 61_000)) == "covered"
    live.run(62)
    assert state(live, ijm, ijm.message(HELD, check_id=check_id)) in {"covered", "request_reused"}


def test_a_partner_puts_other_items_under_one_header_at_another_hub(live: Live) -> None:
    """A hub that was started anew, or a replica, does not know which ids are spent."""
    ijm = partner(live)
    message = ijm.message(HELD)
    assert state(live, ijm, message) == "covered"
    live.restart_hub()
    live.attach("DE")
    live.run(1)
    other = ijm.message(ALSO_HELD)
    message.items.CopyFrom(other.items)
    assert state(live, ijm, message) == "covered"


def test_a_node_uses_an_id_again(live: Live) -> None:
    fr = attached_by_hand(live, "FR", HELD, ALSO_HELD)
    check_id = fr.check(HELD, check_id=b"again".ljust(16))
    live.world.window()
    assert fr.states(check_id)["DE"] == "covered"
    check_id = fr.check(ALSO_HELD, check_id=check_id)
    live.world.window()
    assert fr.states(check_id)["DE"] == "covered"


@pytest.mark.parametrize("fields", [{"expires_at_ms": 20}, {"issued_at_ms": 119_990}])
@pytest.mark.parametrize("holder_s", [-5, 5])
def test_a_node_signs_what_a_holder_with_another_clock_refuses(
    live: Live, fields: dict[str, int], holder_s: int
) -> None:
    fr = attached_by_hand(live, "FR", HELD)
    holder = live.nodes["DE"].party.core._ticks._answerer
    holder._clock = type(live.world.clock)(live.world.clock.now() + holder_s)
    now_ms = int(live.world.clock.now() * 1000)
    moved: dict[str, Any] = {name: now_ms + by_ms for name, by_ms in ({"expires_at_ms": 240_000} | fields).items()}
    fr.check(HELD, **moved)
    check_id = fr.check("nobody's")
    live.world.window()
    assert fr.states(check_id)["DE"] == "covered"


def test_an_asker_that_fills_a_holder_s_memory_is_answered_all_the_same(live: Live) -> None:
    fr = attached_by_hand(live, "FR", HELD, ALSO_HELD)
    holder = live.nodes["DE"].party.core._ticks._answerer
    holder._seen = SeenChecks(max_items=10 * (CHECK_COST + 1), max_items_of_asker=3 * (CHECK_COST + 1))
    for _ in range(4):
        check_id = fr.check(HELD)
        live.world.window()
        assert fr.states(check_id)["DE"] == "covered"
    assert holder._seen.items <= 3 * (CHECK_COST + 1)
