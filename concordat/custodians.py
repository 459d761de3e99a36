"""Asking custodians: a t-subset at a time, evenly spread, each answer verified (docs/protocol.md 2.3, I7).

    async with CustodianPool(home, clock=clock) as pool:
        outputs = await pool.evaluate(inputs, key_class=KeyClass.STRONG, epoch=1, case=case)

A custodian that cannot be reached or refuses is passed over for a while, another is asked in its place, and what was
verified already stays. One whose proof does not hold is named, logged with the evidence, and left out for as long as
this object lives. Below t the call fails and says why, custodian by custodian.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, TypeVar

from concordat.clock import MS
from concordat.errors import BadProofError, ConcordatError, RefusedError, UnavailableError
from concordat.identity.names import Role
from concordat.justification import Step, justification_salt
from concordat.oprf.client import BadEvaluationError, blind, finalize, verify
from concordat.oprf.server import Evaluation
from concordat.oprf.threshold import GroupKey
from concordat.protocol.evaluation import REQUEST_ID_BYTES, sign_evaluation
from concordat.rpc.client import call, channel
from concordat.wire.v1 import custodian_pb2 as wire
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import grpc.aio

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Custodian, KeyClass
    from concordat.justification import Justification
    from concordat.oprf.client import Blinded, VerifiedEvaluation

FIRST_REST_S: Final = 0.5
LONGEST_REST_S: Final = 30.0
CALL_TIMEOUT_S: Final = 20.0
# On top of it, for each element: custodians that serve many parties at once answer large batches late, not never.
ELEMENT_TIMEOUT_S: Final = 0.02
MAX_UNFINISHED: Final = 64
# The arithmetic of so few elements takes less than a thread takes to begin and to be waited for on busy cores.
FEW: Final = 4

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Liar:
    """A custodian whose evaluation did not fit its public share; evidence is JSON of hashes and the proof."""

    party: str
    what: str
    evidence: str


class Budget(NamedTuple):
    """What a request is charged to: a key class, or exercises in it (I7)."""

    key_class: KeyClass
    exercise: bool = False


@dataclass(slots=True)
class _Standing:
    """What the pool remembers of one custodian."""

    custodian: Custodian
    asked: Counter[Budget] = field(default_factory=Counter)
    spent_until: dict[Budget, float] = field(default_factory=dict)
    left: dict[Budget, int] = field(default_factory=dict)
    """What it last said is left of a quota."""
    rest_s: float = 0.0
    rests_until: float = 0.0
    why: str = ""
    excluded: bool = False

    def blocked_until(self, budget: Budget) -> float:
        return max(self.rests_until, self.spent_until.get(budget, 0.0))


@dataclass(frozen=True, slots=True)
class _Job:
    """One batch while it is being evaluated; kept when it fails, as a repeated request is not charged again (I7)."""

    inputs: tuple[bytes, ...] = field(repr=False)
    blinded: Blinded
    key_class: KeyClass
    epoch: int
    case: Justification = field(repr=False)
    ends_at: float
    exercise: str = ""
    requests: dict[int, wire.EvaluateRequest] = field(default_factory=dict, repr=False)
    verified: dict[int, VerifiedEvaluation] = field(default_factory=dict, repr=False)

    @property
    def budget(self) -> Budget:
        return Budget(self.key_class, bool(self.exercise))


class Transport(Protocol):
    """How requests get to custodians: a node dials them, a partner's go through the gateway's relay (3.9)."""

    async def evaluate(
        self, custodian: Custodian, request: wire.EvaluateRequest, *, timeout_s: float
    ) -> wire.EvaluateResponse:
        """Carry one signed request to one custodian.

        Raises:
            ConcordatError: The custodian refuses, or cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Direct:
    """Dials each custodian itself, over mTLS."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._channels: dict[int, grpc.aio.Channel] = {}

    async def evaluate(
        self, custodian: Custodian, request: wire.EvaluateRequest, *, timeout_s: float
    ) -> wire.EvaluateResponse:
        """Carry one signed request to one custodian.

        Raises:
            ConcordatError: The custodian refuses, or cannot be reached.
        """
        method = CustodianServiceStub(self._channel(custodian)).Evaluate
        reply: wire.EvaluateResponse = await call(
            method, request, party=custodian.spiffe.name, role=Role.CUSTODIAN, timeout_s=timeout_s
        )
        return reply

    async def close(self) -> None:
        """Close all channels."""
        channels, self._channels = self._channels, {}
        for one in channels.values():
            await one.close(None)

    def _channel(self, custodian: Custodian) -> grpc.aio.Channel:
        found = self._channels.get(custodian.index)
        if found is None:
            found = channel(custodian.address, home=self._home, server=custodian.spiffe)
            self._channels[custodian.index] = found
        return found


class CustodianPool:
    """The custodians of a manifest, as one party sees them."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock,
        transport: Transport | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        on_liar: Callable[[Liar], None] | None = None,
        first_rest_s: float = FIRST_REST_S,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._home = home
        self._manifest = home.manifest
        self._clock = clock
        self._random_bytes = random_bytes
        self._on_liar = on_liar
        self._first_rest_s = first_rest_s
        self._timeout_s = timeout_s
        self._standings = {one.index: _Standing(one) for one in home.manifest.custodians}
        self._transport = transport or Direct(home)
        self._keys: dict[KeyClass, GroupKey] = {}
        self._unfinished: dict[tuple[Budget, tuple[bytes, ...]], _Job] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    @property
    def excluded(self) -> tuple[str, ...]:
        """Return the names of custodians that lied."""
        return tuple(one.custodian.id for one in self._standings.values() if one.excluded)

    def asked(self, key_class: KeyClass) -> dict[int, int]:
        """Return how many elements of a class each custodian has evaluated for real work, or is evaluating."""
        return {index: one.asked[Budget(key_class)] for index, one in self._standings.items()}

    async def evaluate(
        self, inputs: Sequence[bytes], *, key_class: KeyClass, epoch: int, case: Justification, exercise: str = ""
    ) -> bytes:
        """Return the 64-byte outputs of the inputs, packed in their order.

        Args:
            inputs: 1 to 4096 token inputs.
            key_class: Whose key.
            epoch: Of the key.
            case: Why; each request carries its own salted hash of it (I5).
            exercise: Operation id of the exercise that the inputs are for; empty for real work.

        Raises:
            UnavailableError: Fewer than t custodians answer now.
            RefusedError: `quota_exhausted`: enough answer, but the quotas of too many are used up.
            ConfigError: The manifest's public shares of this class do not give its group key.
        """
        # Before anybody is asked: shares that do not fit each other would cost quota at each attempt.
        key = self._group_key(key_class)
        job = await self._job(tuple(inputs), key_class, epoch, case, exercise)
        tried = set(job.verified)
        while missing := self._manifest.threshold - len(job.verified):
            subset = self._choose(job.budget, missing, without=tried)
            if len(subset) < missing:
                raise self._shortage(job.budget)
            answers = await asyncio.gather(*(self._ask(one, job) for one in subset))
            tried.update(one.custodian.index for one in subset)
            job.verified.update({one.index: one for one in answers if one is not None})
        self._unfinished.pop((job.budget, job.inputs), None)
        return await _worked(len(inputs), partial(finalize, inputs, job.blinded, list(job.verified.values()), key))

    async def _job(
        self, inputs: tuple[bytes, ...], key_class: KeyClass, epoch: int, case: Justification, exercise: str
    ) -> _Job:
        """Return the batch that failed before, where it is the same and its requests still live; else a new one."""
        budget, now = Budget(key_class, bool(exercise)), self._clock.now()
        found = self._unfinished.get((budget, inputs))
        if found is not None and (found.case, found.exercise) == (case, exercise) and found.ends_at > now:
            return found
        blinded = await _worked(len(inputs), partial(blind, inputs))
        ends_at = self._clock.now() + self._manifest.max_header_age_s
        job = _Job(inputs, blinded, key_class, epoch, case, ends_at, exercise)
        # A batch that is never asked for again, as its values were withdrawn, must not stay for ever.
        live = [(key, one) for key, one in self._unfinished.items() if one.ends_at > now]
        self._unfinished = {**dict(live[-MAX_UNFINISHED:]), (budget, inputs): job}
        return job

    def _choose(self, budget: Budget, number: int, *, without: Iterable[int]) -> list[_Standing]:
        """Return those that may be asked and were asked least, so that subsets rotate and quotas last equally."""
        now, barred = self._clock.monotonic(), set(without)
        free = [
            one
            for index, one in self._standings.items()
            if index not in barred and not one.excluded and one.blocked_until(budget) <= now
        ]
        # Ties are drawn, or all nodes of a federation would begin with the same custodians.
        free.sort(key=lambda one: (one.asked[budget], self._random_bytes(2)))
        return free[:number]

    def _shortage(self, budget: Budget) -> ConcordatError:
        now = self._clock.monotonic()
        honest = [one for one in self._standings.values() if not one.excluded]
        reached = [one for one in honest if one.rests_until <= now]
        why = "; ".join(one.why for one in self._standings.values() if one.why)
        needed = f"{self._manifest.threshold} of {self._manifest.total} custodians are needed"
        text = f"{needed} for {budget.key_class} tokens{' of an exercise' if budget.exercise else ''} ({why})"
        spent = any(one.spent_until.get(budget, 0.0) > now for one in reached)
        if spent and len(reached) >= self._manifest.threshold:
            return RefusedError(text, code="quota_exhausted")
        return UnavailableError(text)

    def retry_in_s(self, key_class: KeyClass, *, exercise: bool = False) -> float:
        """Return the seconds until enough custodians may be asked again; the longest rest where liars leave too few."""
        budget = Budget(key_class, exercise)
        waits = sorted(
            max(0.0, one.blocked_until(budget) - self._clock.monotonic())
            for one in self._standings.values()
            if not one.excluded
        )
        return LONGEST_REST_S if len(waits) < self._manifest.threshold else waits[self._manifest.threshold - 1]

    def quota_left(self, key_class: KeyClass, *, exercise: bool = False) -> int:
        """Return what each of those last asked said is left, the least of it; 0 where fewer than t have said it."""
        budget = Budget(key_class, exercise)
        said = [one.left[budget] for one in self._standings.values() if not one.excluded and budget in one.left]
        return 0 if len(said) < self._manifest.threshold else min(said)

    def forget_spent(self, key_class: KeyClass, *, exercise: bool = False) -> None:
        """Let custodians be asked again whose quota a batch did not fit into, for a smaller batch."""
        for one in self._standings.values():
            one.spent_until.pop(Budget(key_class, exercise), None)

    async def _ask(self, standing: _Standing, job: _Job) -> VerifiedEvaluation | None:
        custodian = standing.custodian
        request = job.requests.get(custodian.index) or self._request(custodian, job)
        job.requests[custodian.index] = request
        standing.asked[job.budget] += len(job.blinded)
        try:
            timeout_s = self._timeout_s + ELEMENT_TIMEOUT_S * len(job.blinded)
            reply = await self._transport.evaluate(custodian, request, timeout_s=timeout_s)
            evaluation = Evaluation(custodian.index, reply.elements, reply.proof)
            share = custodian.public_share(job.key_class)
            found = await _worked(len(job.blinded), partial(verify, job.blinded, evaluation, share))
        except BadEvaluationError as error:
            self._exclude(standing, error, request, evaluation)
            return None
        except ConcordatError as error:
            self._rest(standing, error, job)
            return None
        standing.rest_s, standing.rests_until, standing.why = 0.0, 0.0, ""
        standing.left[job.budget] = reply.quota_left
        return found

    def _request(self, custodian: Custodian, job: _Job) -> wire.EvaluateRequest:
        elements = job.blinded.elements
        request_id = self._random_bytes(REQUEST_ID_BYTES)
        # From the id, which is in the custodian's log: with it the party can open the hash in an audit.
        salt = justification_salt(self._home.signing_key, Step.EVALUATE, request_id)
        signed = sign_evaluation(
            wire.EvaluateBody(
                federation=self._manifest.federation,
                manifest_hash=self._manifest.hash,
                requester=str(self._home.identity),
                custodian=custodian.id,
                request_id=request_id,
                key_class=job.key_class.value,
                epoch=job.epoch,
                count=len(job.blinded),
                elements_hash=hashlib.sha256(elements).digest(),
                justification_hash=job.case.justification_hash(salt),
                expires_at_ms=int(job.ends_at * MS),
                exercise=job.exercise,
            ),
            self._home.signing_key,
        )
        return wire.EvaluateRequest(body=signed.raw, signature=signed.signature, elements=elements)

    def _rest(self, standing: _Standing, error: ConcordatError, job: _Job) -> None:
        """Leave a custodian alone for a while: longer each time, and for one budget only where that is used up."""
        now = self._clock.monotonic()
        standing.why = error.message
        standing.asked[job.budget] -= len(job.blinded)
        if error.code == "quota_exhausted":
            standing.spent_until[job.budget] = now + LONGEST_REST_S
            standing.left[job.budget] = 0
        elif standing.rests_until <= now:
            # Other batches that were under way fail with the first one; that is one failure.
            standing.rest_s = min(LONGEST_REST_S, 2 * standing.rest_s or self._first_rest_s)
            standing.rests_until = now + standing.rest_s
        _log.warning("a custodian does not serve: %s [%s]", error.message, error.code)

    def _exclude(
        self, standing: _Standing, error: BadProofError, request: wire.EvaluateRequest, evaluation: Evaluation
    ) -> None:
        name = standing.custodian.spiffe.name
        if standing.excluded:
            # Another batch was under way with it.
            return
        standing.excluded, standing.why = True, f"{name}: its proof did not hold; left out until the node restarts"
        evidence = {
            "request": hashlib.sha256(request.body).hexdigest(),
            "evaluated": hashlib.sha256(evaluation.elements).hexdigest(),
            "proof": evaluation.proof.hex(),
            "manifest": self._manifest.hash.hex(),
        }
        liar = Liar(standing.custodian.id, error.message, json.dumps(evidence))
        _log.error("CUSTODIAN LIES: %s: %s; evidence %s", liar.party, liar.what, liar.evidence)
        if self._on_liar is not None:
            self._on_liar(liar)

    def _group_key(self, key_class: KeyClass) -> GroupKey:
        found = self._keys.get(key_class)
        if found is None:
            shares = {one.index: one.public_share(key_class) for one in self._manifest.custodians}
            found = GroupKey(
                self._manifest.threshold, self._manifest.total, shares, self._manifest.group_key(key_class)
            )
            self._keys[key_class] = found
        return found


async def _worked(elements: int, work: Callable[[], T]) -> T:
    """Do arithmetic: here where it is short, else in a thread, as libsodium lets go of the interpreter."""
    return work() if elements <= FEW else await asyncio.to_thread(work)
