"""The finder of candidates never misses an equal prefix, and names whose tokens are not pseudorandom."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sweep.finder import MOST_ROWS, Finder

FINDER = Finder()


def needed(sources: list[list[int]]) -> set[tuple[int, int]]:
    many = Counter(prefix for source in sources for prefix in source)
    return {(at, row) for at, source in enumerate(sources) for row, one in enumerate(source) if many[one] > 1}


def found(sources: list[list[int]], span_bits: int) -> tuple[set[tuple[int, int]], set[int]]:
    offsets = np.array([prefix for source in sources for prefix in source], np.int64)
    result = FINDER.find(offsets, [len(source) for source in sources], span_bits)
    for positions in result.positions:
        assert (np.diff(positions) > 0).all()
    return {(at, int(row)) for at, rows in enumerate(result.positions) for row in rows}, set(result.refused)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 20).flatmap(
        lambda bits: st.tuples(
            st.just(bits),
            st.lists(st.sets(st.integers(0, (1 << bits) - 1), max_size=30).map(sorted), min_size=1, max_size=6),
        )
    )
)
def test_no_equal_prefix_is_missed(world: tuple[int, list[list[int]]]) -> None:
    bits, sources = world
    positions, _ = found(sources, bits)
    assert needed(sources) <= positions


@pytest.mark.parametrize(("parties", "rows"), [(2, 30_000), (40, 3000), (26, 12_000)])
def test_few_others_are_found_in_sets_of_chance(parties: int, rows: int) -> None:
    """Several parts, many parties; sets that share one value in a hundred."""
    draw = random.Random(parties)
    common = draw.sample(range(1 << 33), rows // 100)
    sources = [sorted({*common, *draw.sample(range(1 << 33), rows)}) for _ in range(parties)]
    positions, refused = found(sources, 33)
    must = needed(sources)
    assert must <= positions
    assert not refused
    assert len(positions) < len(must) + parties * rows / 100


def test_as_many_equal_prefixes_as_there_are_participants_do_not_wrap_around() -> None:
    """A counter of one byte that came to 256 would show 0: nobody."""
    sources = [[0] * (MOST_ROWS // 8)] * 32
    positions, refused = found(sources, 20)
    assert positions == needed(sources)
    assert not refused


def test_a_participant_whose_tokens_gather_in_one_place_is_named() -> None:
    gathered = [*range(0, 1 << 12, 40), *[1 << 19] * (MOST_ROWS + 1)]
    spread = list(range(0, 1 << 20, 1 << 10))
    positions, refused = found([spread, gathered, spread], 20)
    assert refused == {1}
    assert {(0, row) for row in range(len(spread))} <= positions


def test_nothing_is_found_in_nothing() -> None:
    assert found([[], []], 20) == (set(), set())
    assert found([[5], []], 20) == (set(), set())
