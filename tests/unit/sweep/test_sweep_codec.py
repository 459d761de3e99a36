"""Frames of a sweep: what is encoded is decoded, whatever the gaps; what no encoder writes is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.protocol.sweep_frames import ESCAPE, Cut, Encoder, decode, packed, unpacked

GAPS = st.one_of(
    st.sampled_from([0, 1, ESCAPE - 1, ESCAPE, ESCAPE + 1, 2 * ESCAPE - 1, 2 * ESCAPE, 9 * ESCAPE]),
    st.integers(0, 200_000),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(GAPS, max_size=60), st.integers(0, 7), st.integers(36, 39), st.sampled_from([1, 7]))
def test_what_is_encoded_is_decoded(gaps: list[int], window: int, prefix_bits: int, times: int) -> None:
    """More than 64 escapes take another way than few; bits below the prefix do not travel."""
    cut = Cut(prefix_bits, 3)
    offsets = np.cumsum(np.array(gaps * times, np.int64))
    below = (1 << cut.shift) - 1
    high = (offsets.astype(np.uint64) + np.uint64(cut.base(window))) << np.uint64(cut.shift) | np.uint64(below)
    words = unpacked(packed(Encoder(cut).encode(high, window)))
    assert decode(words, cut.span).tolist() == offsets.tolist()
    assert decode(words, cut.span, np.empty(len(words) + 3, np.int64)).tolist() == offsets.tolist()
    assert len(words) == sum(gap // ESCAPE + 1 for gap in gaps * times)
    if len(offsets):
        with pytest.raises(ProtocolError, match="outside"):
            decode(words, int(offsets[-1]))


def test_an_encoder_forgets_the_window_before() -> None:
    encoder = Encoder(Cut(32, 1))
    long, short = np.arange(0, 1 << 40, 1 << 33, dtype=np.uint64), np.array([5 << 32], np.uint64)
    encoder.encode(long, 0)
    assert encoder.encode(short, 0).tolist() == [5]
    assert encoder.encode(short[:0], 1).tolist() == []
    assert encoder.encode(np.array([(1 << 63) + (7 << 32)], np.uint64), 1).tolist() == [7]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.just(ESCAPE), st.integers(0, ESCAPE)), max_size=300))
def test_decoding_anything_gives_ascending_prefixes_of_the_window_or_a_refusal(words: list[int]) -> None:
    span, total, expected = 1 << 22, 0, []
    for word in words:
        total += word
        if word != ESCAPE:
            expected.append(total)
    column = np.array(words, np.uint16)
    if words and (words[-1] == ESCAPE or total >= span):
        with pytest.raises(ProtocolError):
            decode(column, span)
    else:
        assert decode(column, span).tolist() == expected


def test_escapes_alone_lead_nowhere() -> None:
    with pytest.raises(ProtocolError, match="escape"):
        decode(np.full(3, ESCAPE, np.uint16), 1 << 32)


def test_half_a_word_is_refused() -> None:
    with pytest.raises(ProtocolError, match="whole"):
        unpacked(b"\x01\x02\x03")


def test_words_are_little_endian() -> None:
    assert packed(np.array([0x0102], np.uint16)) == b"\x02\x01"
    assert unpacked(b"\x02\x01").tolist() == [0x0102]


@pytest.mark.parametrize(
    ("sizes", "bits"), [([], 0), ([0, 0], 0), ([4], 0), ([5], 1), ([8, 1], 1), ([9], 2), ([16], 2), ([17], 3)]
)
def test_the_largest_set_decides_on_a_power_of_two_of_windows(sizes: list[int], bits: int) -> None:
    assert Cut.for_sizes(sizes, 4).window_bits == bits


@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 32), (1, 32), (1 << 20, 32), ((1 << 20) + 1, 33), (10_000_000, 36), (1 << 28, 40)]
)
def test_a_prefix_tells_the_tokens_of_the_largest_set_apart(largest: int, bits: int) -> None:
    assert Cut.for_sizes([largest, 3]).prefix_bits == bits


def test_there_are_at_most_4096_windows() -> None:
    assert Cut.for_sizes([1 << 28], 1).windows == 4096


@pytest.mark.parametrize(("prefix", "window"), [(31, 0), (57, 12), (32, 13), (32, -1), (37, 0), (56, 12)])
def test_no_other_cut_is_taken(prefix: int, window: int) -> None:
    with pytest.raises(ProtocolError):
        Cut(prefix, window)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=40), st.integers(0, 6))
def test_borders_part_a_set_by_its_top_bits(high: list[int], window_bits: int) -> None:
    cut = Cut(32, window_bits)
    edges = [window << (64 - window_bits) for window in range(1, cut.windows)]
    ordered = sorted([*high, *edges, *(edge - 1 for edge in edges)])
    borders = cut.borders(np.array(ordered, np.uint64)).tolist()
    for window in range(cut.windows):
        mine = ordered[borders[window] : borders[window + 1]]
        assert mine == [one for one in ordered if one >> (64 - window_bits) == window]
