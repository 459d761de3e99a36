"""An element has one encoding and is not the identity; a scalar is below the order; everything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import BadProofError, ConcordatError, ConfigError, ProtocolError
from concordat.oprf import client, group, server, threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.oprf.engine import Engine

P = 2**255 - 19
GENERATOR = group.mult_base(group.scalar_from_int(1))


def encoded(value: int) -> bytes:
    return value.to_bytes(32, "little")


WRONG_ELEMENTS = {
    "identity": bytes(32),
    "bit 255 set": GENERATOR[:31] + bytes([GENERATOR[31] | 128]),
    "identity with bit 255 set": bytes(31) + b"\x80",
    "negative (odd)": encoded(1),
    "negative (odd), large": encoded(P - 2),
    "the field's prime itself": encoded(P),
    "not reduced": encoded(P + 2),
    "all ones": b"\xff" * 32,
    "on no point": encoded(4 * 10**9 + 6),
    "the negated encoding": encoded(P - int.from_bytes(GENERATOR, "little")),
}
WRONG_LENGTHS = {"one byte short": GENERATOR[:31], "one byte long": GENERATOR + b"\x00"}
WRONG_SCALARS = {
    "the order": encoded(group.ORDER),
    "over the order": encoded(group.ORDER + 5),
    "bit 255 set": encoded(2**255 + 5),
    "all ones": b"\xff" * 32,
    "short": bytes(31),
    "long": bytes(33),
}

wrong_element = pytest.mark.parametrize("wrong", WRONG_ELEMENTS.values(), ids=WRONG_ELEMENTS)


@pytest.mark.parametrize("wrong", [*WRONG_ELEMENTS.values(), *WRONG_LENGTHS.values(), b""])
def test_one_wrong_element_is_refused(wrong: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^public share 2"):
        group.decode_element(wrong, "public share 2")


@wrong_element
def test_a_wrong_element_in_a_column_is_refused_with_its_row(wrong: bytes, engine: Engine) -> None:
    with pytest.raises(ProtocolError, match="element 2"):
        engine.decode(GENERATOR * 2 + wrong + GENERATOR, "column")


@pytest.mark.parametrize("wrong", WRONG_SCALARS.values(), ids=WRONG_SCALARS)
def test_a_wrong_scalar_is_refused(wrong: bytes) -> None:
    with pytest.raises(ProtocolError):
        group.decode_scalar(wrong, "proof")


def test_the_largest_scalar_is_a_scalar() -> None:
    assert group.decode_scalar(encoded(group.ORDER - 1), "proof") == encoded(group.ORDER - 1)


@wrong_element
def test_a_custodian_refuses_a_wrong_blinded_element(wrong: bytes, engine: Engine) -> None:
    _, (share, *_) = threshold.unsafe_deal(2, 3)
    with pytest.raises(ProtocolError, match="blinded elements: element 1"):
        server.evaluate(share, GENERATOR + wrong, engine=engine)


@wrong_element
def test_a_client_refuses_a_wrong_evaluated_element_and_names_the_custodian(wrong: bytes, engine: Engine) -> None:
    key, shares = threshold.unsafe_deal(2, 3)
    blinded = client.blind([b"a", b"b"])
    good = server.evaluate(shares[1], blinded.elements)
    bad = server.Evaluation(2, good.elements[:32] + wrong, good.proof)
    with pytest.raises(BadProofError, match="custodian 2"):
        client.verify(blinded.elements, bad, key.public_shares[2], engine=engine)


@wrong_element
def test_a_wrong_public_share_or_public_key_makes_no_group_key(wrong: bytes) -> None:
    key, _ = threshold.unsafe_deal(2, 3)
    with pytest.raises(ProtocolError, match="public share 3"):
        threshold.GroupKey(2, 3, {**key.public_shares, 3: wrong}, key.public_key)
    with pytest.raises(ProtocolError, match="public share 1"):
        threshold.GroupKey.from_shares(2, {**key.public_shares, 1: wrong})
    with pytest.raises(ProtocolError, match="public key"):
        threshold.GroupKey(2, 3, key.public_shares, wrong)


@wrong_element
def test_a_client_refuses_a_wrong_public_share(wrong: bytes) -> None:
    _, (share, *_) = threshold.unsafe_deal(2, 3)
    blinded = client.blind([b"a"])
    with pytest.raises(ProtocolError, match="public share 1"):
        client.verify(blinded.elements, server.evaluate(share, blinded.elements), wrong)


@pytest.mark.parametrize("secret", [bytes(32), *WRONG_SCALARS.values()])
def test_a_zero_or_oversize_key_makes_no_share(secret: bytes) -> None:
    for make in (
        lambda: server.KeyShare.from_secret(1, secret),
        lambda: server.KeyShare(1, secret, GENERATOR),
        lambda: threshold.unsafe_deal(2, 3, secret=secret),
    ):
        call: Callable[[], object] = make
        with pytest.raises(ConfigError):
            call()


def test_a_share_that_does_not_fit_its_public_share_or_index_is_refused() -> None:
    one = group.scalar_from_int(1)
    with pytest.raises(ConfigError, match="does not fit"):
        server.KeyShare(1, one, group.mult_base(group.scalar_from_int(2)))
    for index in (0, -1):
        with pytest.raises(ConfigError, match="index"):
            server.KeyShare(index, one, GENERATOR)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=0, max_size=96))
def test_decoding_returns_what_it_got_or_a_concordat_error(data: bytes) -> None:
    try:
        assert group.decode_elements(data, "column") == data
    except ConcordatError as e:
        message = str(e)
        assert len(data) < 8 or data.hex()[:16] not in message


@settings(max_examples=50, deadline=None)
@given(st.integers(1, group.ORDER - 1), st.integers(0, 255))
def test_a_flipped_bit_never_decodes_to_the_same_element(scalar: int, bit: int) -> None:
    element = group.mult_base(group.scalar_from_int(scalar))
    assert group.decode_element(element, "e") == element
    flipped = bytearray(element)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        other = group.decode_element(bytes(flipped), "e")
    except ProtocolError:
        return
    assert group.small_combination([1, -1], [other, element]) != group.IDENTITY
