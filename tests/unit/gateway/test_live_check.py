"""A check from question to certificate, over the exchange without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from tests.unit.gateway.world import World


def test_two_holders_of_one_value_are_both_told_once(world: World) -> None:
    nl, de = world.attached("NL"), world.attached("DE", "x", "y")
    nl.publish("x")
    check_id = nl.check("x")
    world.settle()
    assert told_once(nl, de)
    assert [told.asked for told in nl.told] == [True]
    assert [told.asked for told in de.told] == [False]
    assert nl.certificates == {}
    world.window()
    assert nl.states(check_id) == {"DE": "covered", "FR": "offline", "RO": "offline"}


def test_certificate_leaves_at_the_window_s_end_for_hit_and_no_hit_alike(world: World) -> None:
    nl, fr = world.attached("NL", "x"), world.attached("FR", "z")
    world.attached("DE", "x")
    hit, miss = nl.check("x"), fr.check("z")
    manifest = world.federation.manifest
    world.advance((manifest.tick_ms + manifest.window_ms) / 1000 - 0.001)
    assert len(nl.told) == 1
    assert (nl.certificates, fr.certificates) == ({}, {})
    world.advance(0.001)
    one, two = nl.certificates[hit], fr.certificates[miss]
    assert one.issued_at_ms == two.issued_at_ms
    assert nl.states(hit) == {"DE": "covered", "FR": "covered", "RO": "offline"}
    assert fr.states(miss) == {"DE": "covered", "NL": "covered", "RO": "offline"}
