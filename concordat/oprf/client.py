"""What a party does to turn inputs into outputs: blind, verify, combine, finalize (RFC 9497, section 3.3.2).

    blinded = blind(inputs)                                  # send blinded.elements to t custodians
    verified = [verify(blinded, e, key.public_shares[e.index]) for e in evaluations]
    outputs = finalize(inputs, blinded, verified, key)       # n·64 bytes

`finalize` takes plain evaluations too and verifies them itself. There is no way to an output without a proof that
held for these very elements under the key's own public share.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from concordat.errors import BadProofError, InputError, ProtocolError
from concordat.oprf import dleq, group
from concordat.oprf.engine import Column, Engine, current
from concordat.oprf.server import MAX_BATCH, Evaluation, check_batch
from concordat.oprf.suite import VOPRF, finalize_hash
from concordat.oprf.threshold import GroupKey, combine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "MAX_BATCH",
    "BadEvaluationError",
    "Blinded",
    "Evaluation",
    "GroupKey",
    "VerifiedEvaluation",
    "blind",
    "finalize",
    "verify",
]

_SEAL: Final = object()


class BadEvaluationError(BadProofError):
    """A custodian's evaluation is malformed or not proven; `index` says which custodian's."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        # An error may come out of a worker process; by default its keyword would be lost on the way.
        return partial(BadEvaluationError, index=self.index), (self.message,)


@dataclass(frozen=True, eq=False)
class Blinded:
    """A batch of blinded elements, with the inputs and blinds that belong to it; these show nowhere.

    Attributes:
        elements: what the custodians get, n·32 bytes.
    """

    elements: bytes
    _inputs: tuple[bytes, ...] = field(repr=False)
    _blinds: bytes = field(repr=False)
    _columns: dict[str, Column] = field(default_factory=dict, repr=False)

    def column(self, engine: Engine) -> Column:
        """Return the elements as an engine keeps them, so that all custodians' proofs share one decoding."""
        found = self._columns.get(engine.name)
        if found is None:
            found = self._columns[engine.name] = engine.decode(self.elements, "blinded elements")
        return found

    def __len__(self) -> int:
        return len(self._inputs)

    def __repr__(self) -> str:
        return f"Blinded({len(self)} elements, secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("blinds are not pickled; blind again")


@dataclass(frozen=True, eq=False)
class VerifiedEvaluation:
    """An evaluation whose proof held, with what it held for; only `verify` makes one."""

    index: int
    column: Column
    blinded_elements: bytes
    public_share: bytes
    _seal: object = field(repr=False)

    @property
    def elements(self) -> bytes:
        """Return the evaluated elements, n·32 bytes."""
        return self.column.packed

    def __post_init__(self) -> None:
        if self._seal is not _SEAL:
            raise TypeError("only verify() makes a verified evaluation")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a verified evaluation is not pickled; send the evaluation and verify it again")


def blind(inputs: Sequence[bytes], *, random: Callable[[int], bytes] = os.urandom) -> Blinded:
    """Hash each input to the group and multiply it by a fresh blind (section 3.3.1, Blind).

    Args:
        inputs: 1 to `MAX_BATCH` inputs of at most 65 535 bytes.
        random: source of the blinds; leave it alone outside of tests.

    Raises:
        InputError: no or too many inputs, or one too long.
    """
    if not 1 <= len(inputs) <= MAX_BATCH:
        raise InputError(f"{len(inputs)} inputs; a batch has 1 to {MAX_BATCH}")
    held = tuple(bytes(x) for x in inputs)
    hashed = VOPRF.hash_to_group(held)
    blinds = group.random_scalars(len(held), random)
    return Blinded(group.mult_each(blinds, hashed), held, blinds)


def verify(
    blinded: Blinded | bytes, evaluation: Evaluation, public_share: bytes, *, engine: Engine | None = None
) -> VerifiedEvaluation:
    """Check one custodian's evaluation against its public share: encodings, lengths and proof.

    Args:
        blinded: what was sent; as bytes it is decoded anew for each custodian.
        evaluation: what came back.
        public_share: the share pinned for this custodian.
        engine: what multiplies; by default this process's.

    Returns:
        The evaluation as `finalize` takes it without another look at the proof.

    Raises:
        BadEvaluationError: something does not decode, fit or hold; names the custodian.
        ProtocolError: what was sent is itself no batch, or the public share no element.
    """
    sent = bytes(blinded) if isinstance(blinded, bytes) else blinded.elements
    check_batch(sent, "blinded elements")
    engine = engine or current(group.count(sent))
    share = group.decode_element(public_share, f"public share {evaluation.index}")
    if len(evaluation.elements) != len(sent):
        raise BadEvaluationError(
            f"custodian {evaluation.index} sent {len(evaluation.elements)} bytes where {len(sent)} are due",
            index=evaluation.index,
        )
    # First, and outside of what a custodian is blamed for.
    column = engine.decode(sent, "blinded elements") if isinstance(blinded, bytes) else blinded.column(engine)
    try:
        evaluated = engine.decode(evaluation.elements, "evaluated elements")
        good = dleq.holds(share, column, evaluated, evaluation.proof, engine=engine)
    except ProtocolError as e:
        raise BadEvaluationError(f"custodian {evaluation.index}: {e}", index=evaluation.index) from e
    if not good:
        raise BadEvaluationError(f"custodian {evaluation.index}: the proof does not hold", index=evaluation.index)
    return VerifiedEvaluation(evaluation.index, evaluated, sent, share, _SEAL)


def finalize(
    inputs: Sequence[bytes],
    blinded: Blinded,
    evaluations: Sequence[Evaluation | VerifiedEvaluation],
    key: GroupKey,
    *,
    engine: Engine | None = None,
) -> bytes:
    """Combine exactly t evaluations, unblind and hash (section 3.3.1, Finalize).

    Plain evaluations are verified here; verified ones must have been verified for these very elements and under the
    share that the key names.

    Args:
        inputs: the inputs that were blinded, in the same order.
        blinded: what `blind` made of them.
        evaluations: of t different custodians.
        key: the group key, pinned by the caller.
        engine: what multiplies; by default this process's.

    Returns:
        n·64 bytes of output.

    Raises:
        InputError: the inputs are not those that were blinded.
        ProtocolError: not exactly t evaluations, an index twice or unknown, or a verified evaluation that belongs to
            another batch or share.
        BadEvaluationError: an evaluation does not hold; names the custodian.
    """
    if tuple(inputs) != blinded._inputs:  # noqa: SLF001 - the secret half of a class of this module
        raise InputError("the inputs are not those that were blinded")
    if len(evaluations) != key.t:
        raise ProtocolError(f"{len(evaluations)} evaluations where exactly {key.t} are needed")
    indices = [e.index for e in evaluations]
    if len(set(indices)) != len(indices):
        raise ProtocolError("two evaluations have the same custodian's index")
    if not set(indices) <= set(key.public_shares):
        raise ProtocolError(f"a custodian's index is not in 1 to {key.n}")
    engine = engine or current(len(blinded))
    columns = {e.index: _verified(e, blinded, key, engine).column for e in evaluations}
    combined, factor = combine(columns, key.n, engine=engine)
    unblinders = group.invert_scalars(blinded._blinds, factor)  # noqa: SLF001 - as above
    return finalize_hash(blinded._inputs, group.mult_each(unblinders, combined))  # noqa: SLF001 - as above


def _verified(
    evaluation: Evaluation | VerifiedEvaluation, blinded: Blinded, key: GroupKey, engine: Engine
) -> VerifiedEvaluation:
    share = key.public_shares[evaluation.index]
    if isinstance(evaluation, Evaluation):
        return verify(blinded, evaluation, share, engine=engine)
    if evaluation.blinded_elements != blinded.elements or evaluation.public_share != share:
        raise ProtocolError(f"custodian {evaluation.index}: verified for another batch or another share")
    return evaluation
