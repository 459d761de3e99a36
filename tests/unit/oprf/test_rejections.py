"""A client takes no evaluation that is not proven, and no set of evaluations that is not exactly t of the group's."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concordat.errors import BadProofError, ConfigError, InputError, ProtocolError
from concordat.oprf import client, dleq, group, server, threshold
from concordat.oprf.client import BadEvaluationError, Evaluation
from concordat.oprf.engine import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.oprf.engine import Engine

INPUTS = [b"one", b"two", b"three"]
KEY, SHARES = threshold.unsafe_deal(2, 3)
BLINDED = client.blind(INPUTS)
GOOD = {s.index: server.evaluate(s, BLINDED.elements) for s in SHARES}


def flip(data: bytes, byte: int) -> bytes:
    return data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :]


def add_order(data: bytes, at: int) -> bytes:
    """Replace a scalar by its other form, which libsodium alone would take for the same."""
    value = int.from_bytes(data[at : at + 32], "little") + group.ORDER
    return data[:at] + value.to_bytes(32, "little") + data[at + 32 :]


def bit_255(data: bytes, byte: int) -> bytes:
    return data[:byte] + bytes([data[byte] | 128]) + data[byte + 1 :]


LIES: dict[str, Callable[[Evaluation], Evaluation]] = {
    "challenge flipped": lambda e: replace(e, proof=flip(e.proof, 3)),
    "response flipped": lambda e: replace(e, proof=flip(e.proof, 40)),
    "challenge over the order": lambda e: replace(e, proof=add_order(e.proof, 0)),
    "response over the order": lambda e: replace(e, proof=add_order(e.proof, 32)),
    "challenge with bit 255": lambda e: replace(e, proof=bit_255(e.proof, 31)),
    "response with bit 255": lambda e: replace(e, proof=bit_255(e.proof, 63)),
    "challenge and response swapped": lambda e: replace(e, proof=e.proof[32:] + e.proof[:32]),
    "challenge zero": lambda e: replace(e, proof=bytes(32) + e.proof[32:]),
    "response zero": lambda e: replace(e, proof=e.proof[:32] + bytes(32)),
    "proof empty": lambda e: replace(e, proof=b""),
    "proof short": lambda e: replace(e, proof=e.proof[:-1]),
    "proof long": lambda e: replace(e, proof=e.proof + b"\x00"),
    "elements swapped": lambda e: replace(e, elements=b"".join(reversed(group.split(e.elements)))),
    "element repeated": lambda e: replace(e, elements=e.elements[:32] + e.elements[:32] + e.elements[64:]),
    "one element wrong": lambda e: replace(e, elements=e.elements[:64] + SHARES[0].public),
    "one element with bit 255": lambda e: replace(e, elements=bit_255(e.elements, 31)),
    "one element too few": lambda e: replace(e, elements=e.elements[:-32]),
    "one element too many": lambda e: replace(e, elements=e.elements + e.elements[:32]),
    "no element": lambda e: replace(e, elements=b""),
    "cut in an element": lambda e: replace(e, elements=e.elements[:-1]),
    "blinded elements sent back": lambda e: replace(e, elements=BLINDED.elements),
    "proof of another batch": lambda e: replace(
        e, proof=server.evaluate(SHARES[e.index - 1], client.blind(INPUTS).elements).proof
    ),
    "evaluation of another batch": lambda e: server.evaluate(SHARES[e.index - 1], client.blind(INPUTS).elements),
    "evaluated with another share": lambda e: replace(GOOD[e.index % 3 + 1], index=e.index),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_lying_custodian_is_named_by_verify_and_by_finalize(
    lie: Callable[[Evaluation], Evaluation], index: int, engine: Engine
) -> None:
    bad = lie(GOOD[index])
    with pytest.raises(BadEvaluationError, match=f"custodian {index}") as caught:
        client.verify(BLINDED, bad, KEY.public_shares[index], engine=engine)
    assert caught.value.index == index
    other = GOOD[index % 3 + 1]
    with pytest.raises(BadEvaluationError, match=f"custodian {index}") as caught:
        client.finalize(INPUTS, BLINDED, [other, bad], KEY, engine=engine)
    assert caught.value.index == index


def test_without_the_liar_the_others_give_the_same_outputs(engine: Engine) -> None:
    pairs = ((1, 2), (1, 3), (2, 3), (3, 1))
    outputs = {client.finalize(INPUTS, BLINDED, [GOOD[i], GOOD[j]], KEY, engine=engine) for i, j in pairs}
    assert len(outputs) == 1
    assert len(outputs.pop()) == 64 * len(INPUTS)


@pytest.mark.parametrize("indices", [[], [1], [1, 2, 3], [2, 2], [1, 1, 2]])
def test_other_than_t_different_evaluations_are_refused(indices: list[int]) -> None:
    with pytest.raises(ProtocolError, match="evaluations"):
        client.finalize(INPUTS, BLINDED, [GOOD[i] for i in indices], KEY)


@pytest.mark.parametrize("index", [0, 4, -1, 2**40])
def test_an_index_outside_of_the_group_is_refused(index: int) -> None:
    with pytest.raises(ProtocolError, match="index"):
        client.finalize(INPUTS, BLINDED, [GOOD[1], replace(GOOD[2], index=index)], KEY)
    with pytest.raises(ProtocolError, match="index"):
        threshold.coefficients((1, index), 3)


def test_an_index_twice_has_no_coefficients() -> None:
    with pytest.raises(ProtocolError, match="twice"):
        threshold.coefficients((2, 2), 3)


def test_a_verified_evaluation_counts_only_for_its_batch_and_share() -> None:
    first, second = (client.verify(BLINDED.elements, GOOD[i], KEY.public_shares[i]) for i in (1, 2))
    plain = client.finalize(INPUTS, BLINDED, [GOOD[1], GOOD[2]], KEY)
    assert plain == client.finalize(INPUTS, BLINDED, [first, second], KEY)
    assert plain == client.finalize(INPUTS, BLINDED, [GOOD[1], second], KEY)
    with pytest.raises(ProtocolError, match="another batch"):
        client.finalize(INPUTS, client.blind(INPUTS), [first, second], KEY)
    other_key, _ = threshold.unsafe_deal(2, 3)
    with pytest.raises(ProtocolError, match="another share"):
        client.finalize(INPUTS, BLINDED, [first, second], other_key)


def test_nobody_but_verify_makes_a_verified_evaluation() -> None:
    true = client.verify(BLINDED.elements, GOOD[1], KEY.public_shares[1])
    with pytest.raises(TypeError, match="only verify"):
        client.VerifiedEvaluation(1, Column(BLINDED.elements), BLINDED.elements, SHARES[0].public, object())
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(true)


def test_other_inputs_than_the_blinded_are_refused() -> None:
    for inputs in (INPUTS[:-1], list(reversed(INPUTS)), [*INPUTS, b"four"], []):
        with pytest.raises(InputError, match="not those"):
            client.finalize(inputs, BLINDED, [GOOD[1], GOOD[2]], KEY)


def test_empty_and_overlong_batches_and_inputs_are_refused() -> None:
    one = BLINDED.elements[:32]
    for count in (0, client.MAX_BATCH + 1):
        with pytest.raises(InputError):
            client.blind([b"x"] * count)
        with pytest.raises(ProtocolError):
            server.evaluate(SHARES[0], one * count)
        with pytest.raises(ProtocolError):
            client.verify(one * count, GOOD[1], KEY.public_shares[1])
    with pytest.raises(InputError, match="65535"):
        client.blind([b"x" * 65536])
    with pytest.raises(ProtocolError) as caught:
        server.evaluate(SHARES[0], one * (server.MAX_BATCH + 1))
    assert caught.value.code == "too_large"
    with pytest.raises(ProtocolError):
        server.evaluate(SHARES[0], one + b"\x00")


def test_a_proof_covers_one_to_65535_pairs() -> None:
    for blinded, evaluated in ((b"", b""), (BLINDED.elements, BLINDED.elements[:32]), (bytes(32 * 65536),) * 2):
        with pytest.raises(ProtocolError, match="65535 pairs"):
            dleq.prove(SHARES[0].secret, SHARES[0].public, Column(blinded), evaluated, random=bytes)


def test_the_same_request_again_gets_the_same_elements_under_a_fresh_nonce() -> None:
    again = server.evaluate(SHARES[0], BLINDED.elements)
    assert again.elements == GOOD[1].elements
    assert again.proof[:32] != GOOD[1].proof[:32]
    assert again.proof[32:] != GOOD[1].proof[32:]


def test_public_shares_of_different_polynomials_make_no_group_key() -> None:
    _, others = threshold.unsafe_deal(2, 3)
    with pytest.raises(ConfigError, match="do not give the public key"):
        threshold.GroupKey.from_shares(2, {**KEY.public_shares, 3: others[2].public})
    swapped = {1: KEY.public_shares[2], 2: KEY.public_shares[1], 3: KEY.public_shares[3]}
    with pytest.raises(ConfigError, match="do not give the public key"):
        threshold.GroupKey(2, 3, swapped, KEY.public_key)
    with pytest.raises(ConfigError, match="do not give the public key"):
        threshold.GroupKey(2, 3, KEY.public_shares, others[0].public)


def test_every_t_subset_is_checked() -> None:
    """Of 3 of 5, a wrong last share lies in no subset but those with it."""
    key, _ = threshold.unsafe_deal(3, 5)
    with pytest.raises(ConfigError, match="5"):
        threshold.GroupKey(3, 5, {**key.public_shares, 5: KEY.public_key}, key.public_key)


def test_each_share_of_1_of_n_is_the_key_itself() -> None:
    with pytest.raises(ConfigError, match=r"\(3,\) do not give"):
        threshold.GroupKey.from_shares(1, {1: KEY.public_key, 2: KEY.public_key, 3: SHARES[0].public})


@pytest.mark.parametrize(("t", "n"), [(0, 3), (4, 3), (-1, 3), (2, 0), (2, 10)])
def test_a_threshold_that_is_none_is_refused(t: int, n: int) -> None:
    with pytest.raises(ConfigError, match="no threshold"):
        threshold.unsafe_deal(t, n)
    with pytest.raises(ConfigError, match="no threshold"):
        threshold.GroupKey.from_shares(t, dict.fromkeys(range(1, n + 1), KEY.public_key))


@pytest.mark.parametrize("indices", [{0, 1, 2}, {1, 2, 4}, {1, 2}])
def test_public_shares_are_there_for_each_of_1_to_n(indices: set[int]) -> None:
    with pytest.raises(ConfigError, match="each of 1 to 3"):
        threshold.GroupKey(2, 3, dict.fromkeys(indices, KEY.public_key), KEY.public_key)


def test_the_coefficients_are_the_small_integers_of_the_design() -> None:
    assert [threshold.delta(2, 3), threshold.delta(3, 5), threshold.delta(1, 1)] == [2, 24, 1]
    assert threshold.coefficients((1, 2), 3) == (4, -2)
    assert threshold.coefficients((1, 3), 3) == (3, -1)
    assert threshold.coefficients((3, 2), 3) == (-4, 6)
    assert threshold.coefficients((3, 4, 5), 5) == (240, -360, 144)


def test_secrets_show_in_no_repr_no_pickle_and_no_copy() -> None:
    share, blinds = SHARES[0], BLINDED
    shown = repr(share) + str(share) + repr(blinds) + f"{blinds}"
    for secret in (share.secret, blinds._blinds, *INPUTS):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    for held in (share, blinds):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(held)
        with pytest.raises(TypeError, match="pickled"):
            copy.deepcopy(held)


def test_the_public_side_travels_and_stays_as_it_is() -> None:
    again = pickle.loads(pickle.dumps(KEY))
    assert again == KEY
    assert hash(again) == hash(KEY)
    assert len(BLINDED) == 3
    with pytest.raises(TypeError):
        KEY.public_shares[1] = b""  # type: ignore[index]  # refused at run time too


def test_a_bad_evaluation_is_a_bad_proof_to_who_handles_only_that() -> None:
    with pytest.raises(BadProofError):
        client.verify(BLINDED.elements, replace(GOOD[1], proof=bytes(64)), KEY.public_shares[1])


@pytest.mark.parametrize("junk", [b"\xff" * 32, bytes(32)])
def test_a_custodian_is_not_blamed_for_what_the_caller_says_was_sent(junk: bytes, engine: Engine) -> None:
    sent = BLINDED.elements[:32] + junk + BLINDED.elements[64:]
    with pytest.raises(ProtocolError, match="blinded elements: element 1") as caught:
        client.verify(sent, GOOD[1], KEY.public_shares[1], engine=engine)
    assert not isinstance(caught.value, BadProofError)


def test_a_bad_evaluation_keeps_its_custodian_on_the_way_out_of_a_process() -> None:
    again = pickle.loads(pickle.dumps(BadEvaluationError("custodian 2: no", index=2)))
    assert (again.index, again.message, again.code) == (2, "custodian 2: no", "bad_proof")
