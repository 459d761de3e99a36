"""Each rule of the exchange prevents a match that is lost or told twice: with the rule off, the same trace shows it.

A match is lost where both hold the value, the asker was not told, and its certificate says that the holder was covered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from gateway.ledger import Tombstone
from gateway.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.world import Node, World


@dataclass(frozen=True)
class Outcome:
    """What the asker knows at the end, and whether it should have been told."""

    state: str
    told: int
    due: bool = True

    @property
    def sound(self) -> bool:
        """Tell whether nothing was lost, doubled or told of the dead."""
        return self.told == 1 or (self.told == 0 and self.state != "covered") if self.due else self.told == 0


def outcome(asker: Node, holder: Node, check_id: bytes, *, due: bool = True) -> Outcome:
    times = sum(asker.times_told(holder).values())
    return Outcome(asker.states(check_id)[holder.name], times, due)


def c1_gateway_restarts_and_the_snapshot_is_on_its_way(world: World) -> Outcome:
    holder = world.attached("DE", "x")
    world.stop(world.hubs[0])
    world.hub()
    link = holder.dial(world.hubs[0])
    world.settle()
    holder.begin_snapshot(link)
    asker = world.attached("NL", "x")
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def two_replicas(world: World) -> tuple[Node, Node]:
    """Attach a holder and an asker to two hubs that share the ledger; the holder's delta reaches the first only."""
    second = world.hub()
    holder, asker = world.attached("DE", hub=world.hubs[0]), world.attached("NL", "x", hub=world.hubs[0])
    first = holder.link
    for node in (holder, asker):
        link = node.dial(second)
        world.settle()
        node.snapshot(link)
        world.settle()
    world.window()
    holder.publish("x", to=[first])
    world.settle()
    return holder, asker


def c2_published_at_one_replica_only(world: World) -> Outcome:
    holder, asker = two_replicas(world)
    world.window()
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def c3_published_elsewhere_just_before_the_check(world: World) -> Outcome:
    holder, asker = two_replicas(world)
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def c4_a_snapshot_races_a_submit(world: World) -> Outcome:
    holder = world.node("DE")
    link = holder.dial(world.hubs[0])
    world.settle()
    plane = holder.begin_snapshot(link)
    holder.publish("x")
    world.settle()
    holder.finish_snapshot(link, plane)
    asker = world.attached("NL", "x")
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def c5_two_checks_at_once(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x"), world.attached("NL", "x")
    check_id = asker.check("x")
    holder.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def c12_a_withdrawal_beside_an_answer(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x"), world.attached("NL", "x")
    world.ledger.write([Tombstone(holder.id, holder.values["x"])])
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id, due=False)


def the_plane_comes_after_the_items_were_routed(world: World) -> Outcome:
    asker, holder = world.attached("NL", "x"), world.node("DE")
    holder.keep("x")
    link = holder.dial(world.hubs[0])
    world.settle()
    check_id = asker.check("x")
    world.settle()
    holder.snapshot(link)
    world.window()
    return outcome(asker, holder, check_id)


def a_half_open_session_took_the_question(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x"), world.attached("NL", "x")
    holder.link.deaf = True
    check_id = asker.check("x")
    world.settle()
    link = holder.dial(world.hubs[0])
    world.settle()
    holder.snapshot(link)
    world.window()
    return outcome(asker, holder, check_id)


def edges_are_not_durable_at_the_window_s_end(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x"), world.attached("NL", "x")
    world.hubs[0].hold_writes = True
    check_id = asker.check("x")
    world.window()
    return outcome(asker, holder, check_id)


def i9_a_restored_holder_has_not_caught_up(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x", "y"), world.attached("NL", "x", "y")
    asker.check("y")
    world.window()
    # Its disk is an older one: until it has taken its list again, it answers nothing.
    holder.cursor, holder.catching_up = 0, True
    link = holder.dial(world.hubs[0])
    world.settle()
    holder.snapshot(link)
    world.settle()
    check_id = asker.check("x")
    world.window()
    told = asker.times_told(holder)[asker.values["x"]]
    return Outcome(asker.states(check_id)["DE"], told)


def i9_an_old_process_beside_a_restored_one(world: World) -> Outcome:
    old, asker = world.attached("DE", "x"), world.attached("NL", "x", "y")
    holder = world.node("DE")
    holder.incarnation = b"n" * 16
    link = holder.dial(world.hubs[0])
    world.settle()
    holder.snapshot(link)
    holder.publish("y")
    world.settle()
    link = old.dial(world.hubs[0])
    world.settle()
    if link.closed is None:
        old.snapshot(link)
        world.settle()
    check_id = asker.check("y")
    world.window()
    return outcome(asker, holder, check_id)


def c12_a_value_is_withdrawn_and_submitted_again(world: World) -> Outcome:
    asker, holder = world.attached("DE", "x"), world.attached("NL", "x")
    asker.check("x")
    world.window()
    holder.withdraw("x")
    world.settle()
    before = len(asker.told)
    holder.publish("x")
    check_id = asker.check("x")
    world.window()
    return Outcome(asker.states(check_id)["NL"], len(asker.told) - before)


def c10_a_ledger_is_put_back_to_a_copy(world: World) -> Outcome:
    holder, asker = world.attached("DE", "x"), world.attached("NL", "x")
    copy = world.back_up()
    # The notice is durable in the ledger, and does not reach the holder before the ledger forgets it.
    holder.deaf_to_notices = True
    asker.check("x")
    world.window()
    assert len(asker.told) == 1
    assert not holder.told
    world.restore(copy)
    world.hub()
    holder.deaf_to_notices = False
    for node in (holder, asker, holder, asker):
        if node.link.closed is not None:
            link = node.dial(world.hubs[0])
            world.settle()
            if link.closed is None:
                node.snapshot(link)
                world.settle()
    if not asker.told:
        # It follows another ledger, and so asks everything again.
        asker.check("x")
    world.window()
    last = list(asker.certificates)[-1]
    return Outcome(asker.states(last)["DE"], sum(holder.times_told(asker).values()))


TRACES: dict[str, Callable[[World], Outcome]] = {
    "require_complete_plane": c1_gateway_restarts_and_the_snapshot_is_on_its_way,
    "compare_with_ledger": c2_published_at_one_replica_only,
    "read_sequence_after_arrival": c3_published_elsewhere_just_before_the_check,
    "merge_deltas_into_snapshot": c4_a_snapshot_races_a_submit,
    "reroute_before_barrier": the_plane_comes_after_the_items_were_routed,
    "unique_edges": c5_two_checks_at_once,
    "refuse_dead_references": c12_a_withdrawal_beside_an_answer,
    "same_session_answers": a_half_open_session_took_the_question,
    "wait_for_edges": edges_are_not_durable_at_the_window_s_end,
    "catch_up_before_answers": i9_a_restored_holder_has_not_caught_up,
    "fence_incarnations": i9_an_old_process_beside_a_restored_one,
    "free_withdrawn_keys": c12_a_value_is_withdrawn_and_submitted_again,
    "renew_restored_ledger": c10_a_ledger_is_put_back_to_a_copy,
}


def test_every_rule_has_a_trace() -> None:
    assert set(TRACES) == set(Rules.__dataclass_fields__)


@pytest.mark.parametrize("rule", TRACES)
def test_nothing_is_lost_or_doubled_with_all_rules_on(make_world: Callable[..., World], rule: str) -> None:
    found = TRACES[rule](make_world())
    assert found.sound, found


@pytest.mark.parametrize("rule", TRACES)
def test_the_trace_fails_with_its_rule_off(make_world: Callable[..., World], rule: str) -> None:
    found = TRACES[rule](make_world(rules=replace(Rules(), **{rule: False})))
    assert not found.sound, found
