"""The whole sweep, hub and participants, gives what plain sets give."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sweep.effects import SweepSettings
from tests.unit.sweep.sweep_world import Entry, World, digest, entry, name, oracle

PARTIES = [name(short) for short in ("AT", "BE", "CZ", "DE", "EE")]
# Namespace by value, as for equal values; the assessments differ between holders.
classes = st.builds(lambda t, a: t << 4 | a << 6, st.integers(0, 2), st.integers(0, 2))
borders = st.sampled_from(
    [
        bytes(16),
        b"\xff" * 16,
        *[(window << 120).to_bytes(16, "big") for window in (0x20, 0x40, 0x80, 0xC0)],
        *[((window << 120) - 1).to_bytes(16, "big") for window in (0x20, 0x40, 0x80, 0xC0)],
        bytes(15) + b"\x01",
        bytes(8) + b"\x01" + bytes(7),
    ]
)
tokens = st.one_of(borders, st.integers(0, 40).map(lambda number: digest("token", number)[:16]))
# A second secret under one token is another value that only looks equal.
values = st.tuples(tokens, st.sampled_from([0, 0, 0, 1]))


@st.composite
def holdings(draw: st.DrawFn) -> dict[str, list[Entry]]:
    result: dict[str, list[Entry]] = {}
    for party in PARTIES[: draw(st.integers(2, len(PARTIES)))]:
        held: dict[bytes, Entry] = {}
        for token, secret in draw(st.lists(values, max_size=25)):
            namespace = token[-1] % 5 + 1
            byte = namespace | draw(classes)
            held[token] = Entry(token, digest("secret", token, secret), byte)
        result[party] = list(held.values())
    return result


@settings(max_examples=60, deadline=None)
@given(holdings(), st.integers(1, 8), st.integers(1, 3), st.integers(0, 1000))
def test_counts_shared_values_and_edges_are_those_of_sets(
    held: dict[str, list[Entry]], window_tokens: int, credit: int, seed: int
) -> None:
    world = World(held, settings=SweepSettings(window_tokens=window_tokens, credits=credit), seed=seed).run()
    truth = oracle(held)
    assert truth.counts == world.counts
    assert truth.edges == world.edges
    assert world.conclusion is not None
    assert truth.shared == world.conclusion.result.shared_values
    assert set(world.states.values()) == {"included"}
    assert {done.report_version for done in world.done.values()} == {1}


def test_several_windows_are_merged_within_the_credit() -> None:
    held = {party: [entry(value) for value in range(at, 600, 2 + at)] for at, party in enumerate(PARTIES)}
    world = World(held, settings=SweepSettings(window_tokens=8, credits=2), seed=7).run()
    assert oracle(held).edges == world.edges
    assert world.hub.windows == (64, 64)
    # What may be on its way, and as many windows whose candidates are not answered.
    assert world.largest_hold <= 2 * 2


def test_sources_may_be_empty() -> None:
    held: dict[str, list[Entry]] = {PARTIES[0]: [], PARTIES[1]: [entry(1)], PARTIES[2]: []}
    world = World(held).run()
    assert world.counts == {1: 1}
    assert world.edges == set()


def test_all_sources_may_be_empty() -> None:
    world = World({party: [] for party in PARTIES}).run()
    assert world.counts == {}


def test_equal_tokens_with_different_confirms_are_two_values_and_no_edge() -> None:
    held = {PARTIES[0]: [entry(1)], PARTIES[1]: [entry(1, secret=9)], PARTIES[2]: [entry(1)]}
    world = World(held).run()
    assert world.counts == {1: 2}
    assert {(PARTIES[0], PARTIES[2])} == {(left, right) for left, _, right, _ in world.edges}


def test_holders_that_name_different_namespaces_are_not_grouped() -> None:
    world = World({PARTIES[0]: [entry(1, 1)], PARTIES[1]: [entry(1, 2)]}).run()
    assert world.counts == {1: 1, 2: 1}
    assert world.edges == set()


def test_the_gravest_assessment_counts() -> None:
    suspected, identified, abuse = 4 | 1 << 4, 4 | 2 << 4, 4 | 1 << 6
    held = {PARTIES[0]: [entry(1, suspected)], PARTIES[1]: [entry(1, identified)], PARTIES[2]: [entry(1, abuse)]}
    world = World(held).run()
    assert world.counts == {4 | 2 << 4 | 1 << 6: 1}
