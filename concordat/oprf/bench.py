"""How many tokens a core makes and evaluates, beside libsodium's own multiplications in the same run.

All times are CPU time of this process, so that a busy machine changes them little; the ratio of client to scalar
multiplication says what the machine does not. 2 of 3 custodians, every proof verified.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import combinations, cycle
from typing import TYPE_CHECKING, Final

from concordat.errors import BadProofError, InputError
from concordat.oprf import client, group, server, threshold
from concordat.oprf.engine import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from concordat.oprf.engine import Engine
    from concordat.oprf.server import Evaluation, KeyShare
    from concordat.oprf.threshold import GroupKey

DEFAULT_SECONDS: Final = 5.0
DEFAULT_BATCH: Final = 1000
_PROOF_ROWS: Final = 2
_PROOFS_PER_SECOND: Final = 200
_BAD_EVERY: Final = 100


@dataclass
class _Spent:
    """CPU seconds by what they went into, and the rows that came out."""

    client_s: float = 0.0
    custodian_s: float = 0.0
    scalarmult_s: float = 0.0
    rows: int = 0


def run_bench(
    seconds: float = DEFAULT_SECONDS,
    *,
    batch: int = DEFAULT_BATCH,
    engine: Engine = REFERENCE,
    clock: Callable[[], float] = time.process_time,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, float | int]:
    """Measure, and inject 1 % of bad proofs among many small batches.

    Args:
        seconds: CPU time to spend on the speed part; the proofs add about a quarter. At least one round is made.
        batch: inputs a batch.
        engine: what is measured; where it is not the reference, the reference is measured in the same rounds.
        clock: CPU seconds of this process.
        progress: called between rounds with the part done, 0 to 1; its time is not counted.

    Returns:
        `client_tokens_per_core_s` (blind, verify two proofs, combine, finalize),
        `custodian_tokens_per_core_s` (one custodian's evaluate and prove), `scalarmult_per_core_s`,
        `client_per_scalarmult` (their ratio), `bad_proofs_sent`, `bad_proofs_caught`, `good_proofs_sent`,
        `good_proofs_refused`; for an engine other than the reference also `reference_client_tokens_per_core_s`,
        `reference_custodian_tokens_per_core_s` and `reference_client_per_scalarmult`.

    Raises:
        InputError: seconds or batch are out of range.
    """
    if not 0 < seconds <= 3600 or not 1 <= batch <= server.MAX_BATCH:
        raise InputError(f"seconds must be over 0 and up to 3600, batch 1 to {server.MAX_BATCH}")
    key, shares = threshold.unsafe_deal(2, 3)
    engine.wait()
    spent = {one: _Spent() for one in dict.fromkeys((engine, REFERENCE))}
    for subset in cycle(combinations(shares, key.t)):
        for one, its in spent.items():
            _round(key, subset, batch, its, clock, one)
        used = sum(its.client_s + its.custodian_s + its.scalarmult_s for its in spent.values())
        progress(min(used / seconds, 1.0) * 0.8)
        if used >= seconds:
            break
    scalarmult = sum(its.rows for its in spent.values()) / sum(its.scalarmult_s for its in spent.values())
    figures: dict[str, float | int] = {
        **_rates(spent[engine], key.t, scalarmult),
        "scalarmult_per_core_s": round(scalarmult, 1),
    }
    if engine is not REFERENCE:
        reference = _rates(spent[REFERENCE], key.t, scalarmult)
        figures |= {f"reference_{name}": figure for name, figure in reference.items()}
    proofs = max(_BAD_EVERY, int(seconds * _PROOFS_PER_SECOND))
    return figures | _try_proofs(proofs, key, shares, engine, progress)


def _rates(spent: _Spent, t: int, scalarmult: float) -> dict[str, float]:
    client_rate = spent.rows / spent.client_s
    return {
        "client_tokens_per_core_s": round(client_rate, 1),
        "custodian_tokens_per_core_s": round(spent.rows * t / spent.custodian_s, 1),
        "client_per_scalarmult": round(client_rate / scalarmult, 4),
    }


def _round(
    key: GroupKey,
    subset: tuple[KeyShare, ...],
    batch: int,
    spent: _Spent,
    clock: Callable[[], float],
    engine: Engine,
) -> None:
    inputs = [f"bench {spent.rows + i:012}".encode() for i in range(batch)]
    scalars = group.random_scalars(batch, os.urandom)

    start = clock()
    blinded = client.blind(inputs)
    blinding = clock()
    evaluations = [server.evaluate(share, blinded.elements, engine=engine) for share in subset]
    evaluating = clock()
    client.finalize(inputs, blinded, evaluations, key, engine=engine)
    finalizing = clock()
    group.mult_each(scalars, blinded.elements)
    multiplying = clock()

    spent.client_s += blinding - start + finalizing - evaluating
    spent.custodian_s += evaluating - blinding
    spent.scalarmult_s += multiplying - finalizing
    spent.rows += batch


def _try_proofs(
    batches: int, key: GroupKey, shares: tuple[KeyShare, ...], engine: Engine, progress: Callable[[float], None]
) -> dict[str, int]:
    """Verify many small batches, one in a hundred with a lie in it, and count."""
    sent = {True: 0, False: 0}
    refused = {True: 0, False: 0}
    lies = _lies(shares)
    for number in range(batches):
        blinded = client.blind([f"proof {number} {row}".encode() for row in range(_PROOF_ROWS)])
        share = shares[number % len(shares)]
        evaluation = server.evaluate(share, blinded.elements, engine=engine)
        bad = number % _BAD_EVERY == _BAD_EVERY - 1
        if bad:
            evaluation = next(lies)(evaluation, blinded.elements)
        sent[bad] += 1
        try:
            client.verify(blinded, evaluation, key.public_shares[share.index], engine=engine)
        except BadProofError:
            refused[bad] += 1
        if number % 20 == 0:
            progress(0.8 + 0.2 * number / batches)
    return {
        "bad_proofs_sent": sent[True],
        "bad_proofs_caught": refused[True],
        "good_proofs_sent": sent[False],
        "good_proofs_refused": refused[False],
    }


def _lies(shares: tuple[KeyShare, ...]) -> Iterator[Callable[[Evaluation, bytes], Evaluation]]:
    """Return, in turn for ever, the ways in which a custodian could lie."""

    def wrong_element(e: Evaluation, _: bytes) -> Evaluation:
        first = group.add(e.elements[: group.ELEMENT_BYTES], shares[0].public)
        return replace(e, elements=first + e.elements[group.ELEMENT_BYTES :])

    def swapped_elements(e: Evaluation, _: bytes) -> Evaluation:
        return replace(e, elements=b"".join(reversed(group.split(e.elements))))

    def flipped_challenge(e: Evaluation, _: bytes) -> Evaluation:
        return replace(e, proof=bytes([e.proof[0] ^ 1]) + e.proof[1:])

    def flipped_response(e: Evaluation, _: bytes) -> Evaluation:
        return replace(e, proof=e.proof[:32] + bytes([e.proof[32] ^ 1]) + e.proof[33:])

    def proof_of_another_batch(e: Evaluation, _: bytes) -> Evaluation:
        share = next(s for s in shares if s.index == e.index)
        return replace(e, proof=server.evaluate(share, client.blind([b"another"] * _PROOF_ROWS).elements).proof)

    def another_share(e: Evaluation, blinded: bytes) -> Evaluation:
        other = next(s for s in shares if s.index != e.index)
        return replace(server.evaluate(other, blinded), index=e.index)

    ways = (wrong_element, swapped_elements, flipped_challenge, flipped_response, proof_of_another_batch, another_share)
    return cycle(ways)
