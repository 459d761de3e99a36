"""Each rule of a window holds by itself, whatever another rule would catch later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.protocol.set_root import set_root
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep_windows import Columns, Declaration, Plan, WindowReader, merge
from tests.unit.sweep.sweep_world import NAMESPACES


def packed(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(16, "big") for number in numbers)


def reader(*windows: bytes, size: int | None = None, bits: int = 1) -> WindowReader:
    """Return a reader whose committed root is that of these very windows."""
    whole = b"".join(windows)
    counts = np.zeros(256, np.int64)
    declared = len(whole) // 16 if size is None else size
    return WindowReader(Declaration(declared, counts, set_root(whole), bytes(32)), Plan(bits))


def feed(state: WindowReader, *windows: bytes, below: int = 2) -> None:
    for number, tokens in enumerate(windows):
        state.take(wire.SweepWindow(window=number, tokens=tokens), below)


LOW, HIGH = (1 << 127) - 1, 1 << 127


def test_windows_as_committed_are_taken() -> None:
    windows = packed(0, 1, 1 << 64, LOW), packed(HIGH, HIGH + 1, (1 << 128) - 1)
    state = reader(*windows)
    feed(state, *windows)
    assert state.complete


@pytest.mark.parametrize(
    "windows",
    [
        (packed(2, 1), b""),
        (packed(1, 1), b""),
        (packed(2 << 64 | 1, 2 << 64), b""),
        (packed(1, HIGH), b""),
        (b"", packed(LOW)),
        (packed(1)[:-1], b""),
    ],
)
def test_order_and_range_hold_even_where_the_root_fits(windows: tuple[bytes, bytes]) -> None:
    with pytest.raises(ProtocolError):
        feed(reader(*windows, size=2), *windows)


@pytest.mark.parametrize("size", [1, 3])
def test_the_size_holds_even_where_the_root_fits(size: int) -> None:
    windows = packed(1, 2), b""
    with pytest.raises(ProtocolError):
        feed(reader(*windows, size=size), *windows)


def test_a_window_beyond_the_credit_is_refused() -> None:
    windows = packed(1), packed(HIGH)
    with pytest.raises(ProtocolError):
        feed(reader(*windows), *windows, below=1)


def test_a_window_that_no_pseudorandom_set_fills_so_is_refused() -> None:
    windows = packed(*range(5000)), b""
    with pytest.raises(ProtocolError) as refusal:
        feed(reader(*windows, bits=3), windows[0])
    assert refusal.value.code == "too_large"


def join(classes: bytes, *counts: int, size: int | None = None) -> wire.SweepJoin:
    column = b"".join(number.to_bytes(8, "little") for number in counts)
    total = sum(counts) if size is None else size
    return wire.SweepJoin(size=total, classes=classes, counts=column, set_root=bytes(32), salt=bytes(32))


@pytest.mark.parametrize(
    "bad",
    [
        join(b"\x07", 3),
        join(b"\x31", 3),
        join(b"\x02\x01", 1, 1),
        join(b"\x01\x01", 1, 1),
        join(b"\x01", 1, 1),
        join(b"\x01\x02", 1, 0),
        join(b"\x01", 2, size=3),
        join(b"\x01\x02\x03", (1 << 63), (1 << 63), 5, size=5),
        join(b"\x01", 101),
    ],
)
def test_a_join_whose_fields_contradict_each_other_is_refused(bad: wire.SweepJoin) -> None:
    with pytest.raises(ProtocolError):
        Declaration.read(bad, namespaces=NAMESPACES, max_size=100)


def test_a_join_is_read_as_declared() -> None:
    declared = Declaration.read(join(b"\x01\x14", 2, 3), namespaces=NAMESPACES, max_size=100)
    assert {int(byte): int(declared.counts[byte]) for byte in np.flatnonzero(declared.counts)} == {1: 2, 0x14: 3}


@pytest.mark.parametrize(
    ("sizes", "bits"), [([], 0), ([0, 0], 0), ([4], 0), ([5], 1), ([8, 1], 1), ([9], 2), ([16], 2), ([17], 3)]
)
def test_the_largest_set_decides_on_a_power_of_two_of_windows(sizes: list[int], bits: int) -> None:
    assert Plan.for_sizes(sizes, 4).window_bits == bits


# Few distinct words, so that tokens often share one word and not the other.
words = st.sampled_from([0, 1, 2, (1 << 63), (1 << 64) - 1])
sources = st.lists(st.sets(st.tuples(words, words), max_size=12), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(sources)
def test_merge_finds_exactly_the_rows_that_two_sources_hold(held: list[set[tuple[int, int]]]) -> None:
    columns, expected = {}, {}
    for party, tokens in enumerate(held):
        ordered = sorted(tokens)
        columns[party] = Columns.of(packed(*(high << 64 | low for high, low in ordered)))
        for position, token in enumerate(ordered):
            if sum(token in other for other in held) > 1:
                expected[party, position] = token
    shared = merge(columns)
    found = list(zip(shared.party.tolist(), shared.position.tolist(), shared.token.tolist(), strict=True))
    assert [(party, position) for party, position, _ in found] == sorted(expected)
    # Equal numbers where tokens are equal, and there only.
    numbers: dict[tuple[int, int], set[int]] = {}
    for party, position, number in found:
        numbers.setdefault(expected[party, position], set()).add(number)
    assert all(len(one) == 1 for one in numbers.values())
    assert len({next(iter(one)) for one in numbers.values()}) == len(numbers)
