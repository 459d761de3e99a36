"""The root of a set is the Merkle tree hash of RFC 9162 over 4096 leaves by prefix, whatever windows it comes in."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.protocol.set_root import commitment, join_roots, set_root, window_root

HIGH = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 4095).map(lambda leaf: leaf << 52),
    st.integers(1, 4095).map(lambda leaf: (leaf << 52) - 1),
    st.just((1 << 64) - 1),
)
highs = st.lists(HIGH, max_size=60).map(sorted)


def by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_the_book(leaves[:k]) + by_the_book(leaves[k:])).digest()


def leaves_of(high: list[int]) -> list[bytes]:
    leaves = [b""] * 4096
    for one in high:
        leaves[one >> 52] += (one >> 32).to_bytes(4, "little")
    return leaves


def whole(high: list[int]) -> bytes:
    return set_root(np.array(high, np.uint64))


def by_windows(high: list[int], prefix_bits: int, window_bits: int) -> bytes:
    prefixes = np.array([one >> (64 - prefix_bits) for one in high], np.int64)
    span = 1 << (prefix_bits - window_bits)
    subtrees = []
    for window in range(1 << window_bits):
        mine = prefixes[(prefixes >= window * span) & (prefixes < (window + 1) * span)] - window * span
        subtrees.append(window_root(mine, prefix_bits=prefix_bits, window=window, window_bits=window_bits))
    return join_roots(subtrees)


@settings(max_examples=15, deadline=None)
@given(highs)
def test_the_root_is_that_of_the_rfc(high: list[int]) -> None:
    assert whole(high) == by_the_book(leaves_of(high))


@settings(max_examples=40, deadline=None)
@given(highs, st.integers(32, 56), st.integers(0, 7))
def test_window_by_window_is_the_same_as_whole(high: list[int], prefix_bits: int, window_bits: int) -> None:
    assert by_windows(high, prefix_bits, window_bits) == whole(high)


def test_a_window_a_leaf_is_the_same_as_whole() -> None:
    high = sorted(random.Random(1).getrandbits(64) for _ in range(5000))
    assert by_windows(high, 44, 12) == whole(high)


@settings(max_examples=40, deadline=None)
@given(st.lists(HIGH, min_size=1, max_size=40), st.integers(0, 39), HIGH)
def test_a_prefix_changed_added_or_left_out_changes_the_root(high: list[int], at: int, other: int) -> None:
    ordered, at = sorted(high), at % len(high)
    root = whole(ordered)
    assert whole(sorted([*ordered, other])) != root
    assert whole(ordered[:at] + ordered[at + 1 :]) != root
    changed = sorted([*ordered[:at], ordered[at] ^ 1 << 32, *ordered[at + 1 :]])
    assert whole(changed) != root


@pytest.mark.parametrize(("bits", "window", "window_bits"), [(31, 0, 0), (32, 1, 0), (32, -1, 2), (32, 0, 13)])
def test_no_root_is_made_of_what_is_no_window(bits: int, window: int, window_bits: int) -> None:
    with pytest.raises(ProtocolError):
        window_root(np.empty(0, np.int64), prefix_bits=bits, window=window, window_bits=window_bits)


@pytest.mark.parametrize("count", [0, 3, 8192])
def test_subtrees_of_no_cut_are_not_joined(count: int) -> None:
    with pytest.raises(ProtocolError):
        join_roots([bytes(32)] * count)


def test_a_commitment_shows_a_guess_at_the_set_to_nobody_without_the_salt() -> None:
    """A root of one token could be guessed by whoever has the operation key and the label."""
    root, salt = whole([1 << 60]), bytes(range(32))
    assert commitment(salt, root, 1) == commitment(salt, root, 1)
    assert len({commitment(salt, root, 1), commitment(bytes(32), root, 1), commitment(salt, root, 2), root}) == 4
