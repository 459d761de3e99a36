"""An independent Rust implementation (the `voprf` wheel) agrees in both directions."""

from __future__ import annotations

import pytest
from voprf import ristretto

from concordat.oprf import client, server, threshold
from concordat.oprf.dleq import PROOF_BYTES
from concordat.oprf.suite import VOPRF

SEED, INFO = bytes(range(32)), b"second opinion"
INPUTS = [b"one", b"two \x00", b"3" * 1000]


@pytest.fixture(name="theirs")
def their_server() -> ristretto.Evaluator:
    return ristretto.Evaluator.from_seed(SEED, INFO)


@pytest.fixture(name="ours")
def our_share() -> server.KeyShare:
    secret, public = VOPRF.derive_key_pair(SEED, INFO)
    return server.KeyShare(1, secret, public)


def test_both_derive_the_same_public_key(theirs: ristretto.Evaluator, ours: server.KeyShare) -> None:
    assert theirs.public_key.serialize() == ours.public


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_our_client_accepts_their_proofs_and_reaches_their_outputs(
    rows: int, theirs: ristretto.Evaluator, ours: server.KeyShare
) -> None:
    inputs = INPUTS[:rows]
    blinded = client.blind(inputs)
    messages = [ristretto.BlindedInput.deserialize(blinded.elements[32 * i : 32 * i + 32]) for i in range(rows)]
    answer = theirs.evaluate_batch(messages).serialize()
    evaluation = server.Evaluation(1, elements=answer[PROOF_BYTES:], proof=answer[:PROOF_BYTES])
    key = threshold.GroupKey.from_shares(1, {1: ours.public})
    expected = b"".join(theirs.evaluate_known_input(x) for x in inputs)
    assert expected == client.finalize(inputs, blinded, [evaluation], key)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_their_client_accepts_our_proofs_and_reaches_their_outputs(
    rows: int, theirs: ristretto.Evaluator, ours: server.KeyShare
) -> None:
    inputs = INPUTS[:rows]
    clients, messages = zip(*(ristretto.Client.blind(x) for x in inputs), strict=True)
    evaluation = server.evaluate(ours, b"".join(m.serialize() for m in messages))
    answer = ristretto.VerifiableBatchOutput.deserialize(evaluation.proof + evaluation.elements)
    outputs = ristretto.Client.finalize_batch(clients, answer, theirs.public_key)
    assert [theirs.evaluate_known_input(x) for x in inputs] == outputs


def test_their_client_refuses_our_proof_of_another_batch(theirs: ristretto.Evaluator, ours: server.KeyShare) -> None:
    asker, message = ristretto.Client.blind(b"one")
    evaluation = server.evaluate(ours, message.serialize())
    other = server.evaluate(ours, client.blind([b"two"]).elements)
    answer = ristretto.VerifiableBatchOutput.deserialize(other.proof + evaluation.elements)
    # Their binding panics, which Python sees as a BaseException.
    with pytest.raises(BaseException, match=r"(?i)proof"):
        ristretto.Client.finalize_batch([asker], answer, theirs.public_key)


def test_a_shared_key_gives_the_outputs_of_their_single_server(theirs: ristretto.Evaluator) -> None:
    secret, _ = VOPRF.derive_key_pair(SEED, INFO)
    key, shares = threshold.unsafe_deal(3, 5, secret=secret)
    blinded = client.blind(INPUTS)
    evaluations = [server.evaluate(shares[i], blinded.elements) for i in (4, 0, 2)]
    expected = b"".join(theirs.evaluate_known_input(x) for x in INPUTS)
    assert expected == client.finalize(INPUTS, blinded, evaluations, key)
