"""What a custodian does with a signed request (docs/protocol.md 2): check, charge, note, evaluate and prove.

Everything it needs comes in: manifest, shares, quota store, log, clock. It sees blinded elements only and keeps none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.errors import RefusedError
from concordat.identity.manifest import KeyClass
from concordat.oprf.server import evaluate
from concordat.protocol.evaluation import accept_evaluation
from services.custodian.quotas import PERIOD_S, Request, budget_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId
    from concordat.oprf.server import Evaluation, KeyShare
    from concordat.wire.v1.custodian_pb2 import EvaluateRequest
    from services.custodian.journal import Journal
    from services.custodian.quotas import QuotaStore


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The evaluation of a request, and what is left of the requester's quota."""

    evaluation: Evaluation
    quota_left: int


@dataclass(frozen=True, slots=True)
class ClassQuota:
    """A requester's quota of one key class in the running period."""

    key_class: str
    limit: int
    used: int
    exercise_limit: int
    exercise_used: int


@dataclass(frozen=True)
class Custodian:
    """One custodian; safe to call from several threads.

    Attributes:
        identity: Its name.
        manifest: The manifest in force.
        shares: Its key shares by epoch and class.
        quotas: Its quota store.
        journal: Its log.
        clock: Tells expiry and period.
        random: Source of the proofs' nonces; leave it alone outside of tests.
    """

    identity: SpiffeId
    manifest: Manifest
    shares: Mapping[tuple[int, KeyClass], KeyShare] = field(repr=False)
    quotas: QuotaStore
    journal: Journal
    clock: Clock
    random: Callable[[int], bytes] = os.urandom

    def evaluate(self, request: EvaluateRequest) -> Evaluated:
        """Check, charge and evaluate a request; blocks for as long as the arithmetic takes.

        Raises:
            ProtocolError: Unreadable, or an element does not decode.
            IdentityError: Unknown requester, wrong signature, or meant for another custodian.
            RefusedError: Expired, unjustified, reused, over the quota, or for a key that is not in force.
            UnavailableError: The quota store or the log does not work.
        """
        now = self.clock.now()
        # (a) Everything that the request itself shows.
        signed = accept_evaluation(request, manifest=self.manifest, custodian=str(self.identity), now=now)
        fields = signed.fields
        key_class = KeyClass(fields.key_class)
        share = self.shares.get((fields.epoch, key_class))
        if share is None:
            raise RefusedError("the request names a key that is not in force", code="stale_epoch")
        charged = Request(
            requester=fields.requester,
            request_id=fields.request_id,
            body_hash=signed.hash,
            key_class=key_class.value,
            count=fields.count,
            justification_hash=fields.justification_hash,
            expires_at_ms=fields.expires_at_ms,
            exercise=fields.exercise,
        )
        # (b) Charged and noted durably before anything is evaluated, or found to be a repeat, which is noted as well.
        limit = self._limit(fields.requester, key_class, exercise=bool(fields.exercise))
        charge = self.quotas.charge(
            charged, limit=limit, now=now, beside=lambda repeat: self.journal.write(charged, repeat=repeat, at=now)
        )
        self.journal.flush()
        # (c) A repeat gets the same elements under another nonce.
        return Evaluated(evaluate(share, request.elements, random=self.random), charge.left)

    def quota_of(self, requester: SpiffeId) -> tuple[ClassQuota, ...]:
        """Return a party's quotas in the running period."""
        now = self.clock.now()
        spent = self.quotas.spent(now=now)
        found = []
        for key_class in KeyClass:
            numbers = []
            for exercise in (False, True):
                limit = self._limit(str(requester), key_class, exercise=exercise)
                budget = budget_of(key_class.value, exercise=exercise)
                numbers += [limit, limit if spent else self.quotas.used(str(requester), budget, now=now)]
            found.append(ClassQuota(key_class.value, *numbers))
        return tuple(found)

    @property
    def epochs(self) -> tuple[int, ...]:
        """Return the epochs served, ascending."""
        return tuple(sorted({epoch for epoch, _ in self.shares}))

    @property
    def period_ends_at(self) -> float:
        """Return the unix time at which the running period ends."""
        return (self.clock.now() // PERIOD_S + 1) * PERIOD_S

    def _limit(self, requester: str, key_class: KeyClass, *, exercise: bool) -> int:
        party = self.manifest.party_by_id(requester)
        return self.manifest.custodian_quota(party.party_class, key_class, exercise=exercise)
