"""Every intermediate value of RFC 9497's vectors comes out, on one server and through every t-subset of shares."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from concordat.oprf import client, dleq, group, server, threshold
from concordat.oprf.engine import Column, Engine
from concordat.oprf.suite import OPRF, VOPRF, Suite, finalize_hash

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "oprf" / "rfc9497.json").read_text())["modes"]
SUITES = {"OPRF": OPRF, "VOPRF": VOPRF}
CASES = [pytest.param(m, c, id=f"{m}-{i}") for m in SUITES for i, c in enumerate(VECTORS[m]["cases"])]
PROOFS = [pytest.param(c, id=str(i)) for i, c in enumerate(VECTORS["VOPRF"]["cases"])]


def packed(values: list[str]) -> bytes:
    return b"".join(map(bytes.fromhex, values))


def unpacked(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(v) for v in values]


def wide(scalars: bytes) -> bytes:
    """Stretch scalars to the 64 bytes that a draw takes; they are below the order and so come out unchanged."""
    return b"".join(s + bytes(32) for s in group.split(scalars))


def key_pair(mode: str) -> tuple[bytes, bytes]:
    vector = VECTORS[mode]
    return SUITES[mode].derive_key_pair(bytes.fromhex(vector["seed"]), bytes.fromhex(vector["key_info"]))


def blind_with(suite: Suite, case: dict[str, Any]) -> bytes:
    return group.mult_each(packed(case["blinds"]), suite.hash_to_group(unpacked(case["inputs"])))


@pytest.mark.parametrize("mode", SUITES)
def test_the_tag_and_the_derived_key_pair_are_those_of_the_rfc(mode: str) -> None:
    secret, public = key_pair(mode)
    assert bytes.fromhex(VECTORS[mode]["group_tag"]) == SUITES[mode].group_tag
    assert VECTORS[mode]["secret_key"] == secret.hex()
    assert VECTORS[mode].get("public_key", public.hex()) == public.hex()


@pytest.mark.parametrize(("mode", "case"), CASES)
def test_one_server_gives_blinded_element_evaluation_and_output(mode: str, case: dict[str, Any]) -> None:
    secret, _ = key_pair(mode)
    blinded = blind_with(SUITES[mode], case)
    evaluated = group.mult(secret, blinded)
    unblinded = group.mult_each(group.invert_scalars(packed(case["blinds"])), evaluated)
    assert packed(case["blinded_elements"]) == blinded
    assert packed(case["evaluation_elements"]) == evaluated
    assert packed(case["outputs"]) == finalize_hash(unpacked(case["inputs"]), unblinded)


@pytest.mark.parametrize("case", PROOFS)
def test_client_and_server_give_the_proof_bytes_and_the_output(case: dict[str, Any], engine: Engine) -> None:
    secret, public = key_pair("VOPRF")
    key, (share,) = threshold.unsafe_deal(1, 1, secret=secret)
    blinded = client.blind(unpacked(case["inputs"]), random=lambda _: wide(packed(case["blinds"])))
    nonce = bytes.fromhex(case["proof_nonce"])
    evaluation = server.evaluate(share, blinded.elements, random=lambda _: wide(nonce), engine=engine)
    assert public == key.public_key == share.public
    assert packed(case["blinded_elements"]) == blinded.elements
    assert packed(case["evaluation_elements"]) == evaluation.elements
    assert bytes.fromhex(case["proof"]) == evaluation.proof
    outputs = client.finalize(unpacked(case["inputs"]), blinded, [evaluation], key, engine=engine)
    assert packed(case["outputs"]) == outputs


@pytest.mark.parametrize("case", PROOFS)
def test_the_proof_of_the_rfc_holds_and_no_neighbour_of_it(case: dict[str, Any], engine: Engine) -> None:
    _, public = key_pair("VOPRF")
    blinded, evaluated = Column(packed(case["blinded_elements"])), Column(packed(case["evaluation_elements"]))
    proof = bytes.fromhex(case["proof"])
    assert dleq.holds(public, blinded, evaluated, proof, engine=engine)
    for flipped in (0, 20, 32, 52):
        wrong = proof[:flipped] + bytes([proof[flipped] ^ 1]) + proof[flipped + 1 :]
        assert not dleq.holds(public, blinded, evaluated, wrong, engine=engine)


@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 5)])
@pytest.mark.parametrize(("mode", "case"), CASES)
def test_every_subset_of_shares_combines_to_the_evaluation_of_the_rfc(
    mode: str, case: dict[str, Any], t: int, n: int, engine: Engine
) -> None:
    """Shares of sk·Δ⁻¹ reach sk through the integer coefficients."""
    secret, public = key_pair(mode)
    key, shares = threshold.unsafe_deal(t, n, secret=secret)
    assert key.public_key == public
    blinded = packed(case["blinded_elements"])
    subsets = list(combinations(shares, t))
    for subset in subsets:
        columns = {s.index: Column(group.mult(s.secret, blinded)) for s in subset}
        combined, factor = threshold.combine(columns, n, engine=engine)
        assert packed(case["evaluation_elements"]) == group.mult(group.scalar_from_int(factor), combined)
    assert len(subsets) == {2: 3, 3: 10}[t]


@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 5)])
@pytest.mark.parametrize("case", PROOFS)
def test_every_subset_of_shares_finalizes_to_the_output_of_the_rfc(
    case: dict[str, Any], t: int, n: int, engine: Engine
) -> None:
    secret, _ = key_pair("VOPRF")
    key, shares = threshold.unsafe_deal(t, n, secret=secret)
    inputs = unpacked(case["inputs"])
    blinded = client.blind(inputs, random=lambda _: wide(packed(case["blinds"])))
    for subset in combinations(shares, t):
        evaluations = [server.evaluate(share, blinded.elements, engine=engine) for share in reversed(subset)]
        assert packed(case["outputs"]) == client.finalize(inputs, blinded, evaluations, key, engine=engine)
