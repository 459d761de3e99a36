"""A MAC of one step, item, party or decision never fits another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.protocol.macs import answer_mac, ask_macs, ask_proofs, confirm_macs, masked_tags, pair_mac

SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32
HASH, TOKEN, OWN, PEER = b"h" * 32, b"t" * 16, b"o" * 16, b"p" * 16


def all_macs(secret: bytes) -> list[bytes]:
    return [
        ask_macs(secret, HASH, TOKEN, OWN),
        ask_macs(secret, HASH, OWN, TOKEN),
        ask_proofs(secret, HASH, TOKEN, OWN, bytes([0]))[0],
        ask_proofs(secret, HASH, TOKEN, OWN, bytes([1]))[0],
        answer_mac(secret, HASH, "spiffe://f/node/A", (OWN, PEER), 3),
        answer_mac(secret, HASH, "spiffe://f/node/A", (PEER, OWN), 3),
        answer_mac(secret, HASH, "spiffe://f/node/A", (OWN, PEER), 2),
        answer_mac(secret, HASH, "spiffe://f/node/B", (OWN, PEER), 3),
        confirm_macs(secret, HASH[:16]),
        confirm_macs(secret, HASH[1:16] + b"x"),
        pair_mac(secret, HASH[:16], ("spiffe://f/node/A", "spiffe://f/node/B"), (OWN, PEER), 3),
        pair_mac(secret, HASH[:16], ("spiffe://f/node/B", "spiffe://f/node/A"), (OWN, PEER), 3),
        pair_mac(secret, HASH[:16], ("spiffe://f/node/A", "spiffe://f/node/B"), (PEER, OWN), 3),
    ]


def test_every_field_and_step_gives_another_mac() -> None:
    macs = all_macs(SECRET) + all_macs(OTHER_SECRET)
    assert len(set(macs)) == len(macs)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ProtocolError):
        ask_macs(SECRET, HASH, TOKEN * 2, OWN)
    with pytest.raises(ProtocolError):
        ask_macs(SECRET[:31], HASH, TOKEN, OWN)


def test_group_tags_are_read_under_the_match_secret_only() -> None:
    """Two askers' tags of one value, or one asker's in two checks, have nothing in common for whoever lacks it."""
    tags = b"lineline" + b"recordre"
    hidden = masked_tags(tags, ask_proofs(SECRET, HASH, TOKEN, OWN)[1])
    assert masked_tags(hidden, ask_proofs(SECRET, HASH, TOKEN, OWN)[1]) == tags
    others = [(OTHER_SECRET, HASH, TOKEN, OWN), (SECRET, b"i" * 32, TOKEN, OWN), (SECRET, HASH, TOKEN, PEER)]
    assert all(masked_tags(hidden, ask_proofs(*one)[1]) != tags for one in others)
    with pytest.raises(ProtocolError):
        masked_tags(hidden, hidden + b"x")
    with pytest.raises(ProtocolError):
        ask_proofs(SECRET, HASH, TOKEN, OWN, b"\0\0")


@pytest.mark.parametrize("references", [(OWN[:8], PEER + OWN[8:]), (OWN + PEER[:1], PEER[1:]), (OWN, b""), (b"", PEER)])
def test_references_that_could_slide_into_each_other_make_no_mac(references: tuple[bytes, bytes]) -> None:
    with pytest.raises(ProtocolError):
        pair_mac(SECRET, HASH[:16], ("spiffe://f/node/A", "spiffe://f/node/B"), references, 3)
    with pytest.raises(ProtocolError):
        answer_mac(SECRET, HASH, "spiffe://f/node/A", references, 3)


@pytest.mark.parametrize("decision", [-1, 256, 1 << 31])
def test_a_decision_that_is_no_byte_makes_no_mac(decision: int) -> None:
    with pytest.raises(ProtocolError):
        answer_mac(SECRET, HASH, "spiffe://f/node/A", (OWN, PEER), decision)


@settings(max_examples=50)
@given(st.lists(st.tuples(*(st.binary(min_size=n, max_size=n) for n in (32, 16, 16))), max_size=20))
def test_a_batch_gives_the_macs_of_its_items_in_order(rows: list[tuple[bytes, bytes, bytes]]) -> None:
    columns = (b"".join(column) for column in zip(*rows, strict=True)) if rows else (b"", b"", b"")
    secrets, tokens, references = columns
    single = [ask_macs(secret, HASH, token, reference) for secret, token, reference in rows]
    assert ask_macs(secrets, HASH, tokens, references) == b"".join(single)
