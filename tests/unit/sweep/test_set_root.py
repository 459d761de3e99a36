"""The root of a set is the Merkle tree hash of RFC 9162 over leaves of 256 tokens, in whatever pieces the set comes."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.protocol.set_root import LEAF_TOKENS, SetRoot, commitment, set_root

LEAF = LEAF_TOKENS * 16


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


def tokens(number: int) -> bytes:
    return random.Random(number).randbytes(16 * number)


@pytest.mark.parametrize("number", [0, 1, 255, 256, 257, 512, 513, 256 * 7, 256 * 7 + 5, 256 * 11 + 1])
def test_the_root_is_that_of_the_rfc(number: int) -> None:
    packed = tokens(number)
    assert set_root(packed) == by_the_book([packed[at : at + LEAF] for at in range(0, len(packed), LEAF)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=8))
def test_pieces_make_no_difference(sizes: list[int]) -> None:
    packed, whole, at = tokens(sum(sizes)), SetRoot(), 0
    for size in sizes:
        whole.update(packed[at : at + 16 * size])
        at += 16 * size
    assert whole.digest() == set_root(packed)


def test_every_token_and_the_order_count() -> None:
    packed = tokens(600)
    swapped = packed[16:32] + packed[:16] + packed[32:]
    roots = {set_root(one) for one in (packed, swapped, packed[:-16], packed[16:])}
    assert len(roots) == 4


def test_a_commitment_shows_a_guess_at_the_set_to_nobody_without_the_salt() -> None:
    """A root of one token could be guessed by whoever has the operation key and the label."""
    root, salt = set_root(tokens(1)), bytes(range(32))
    assert commitment(salt, root, 1) == commitment(salt, root, 1)
    assert len({commitment(salt, root, 1), commitment(bytes(32), root, 1), commitment(salt, root, 2), root}) == 4
