"""Custodians that break the protocol on purpose, so that tests can show that it is found. Never for use."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError
from concordat.oprf.server import KeyShare, evaluate
from services.custodian.core import Custodian, Evaluated

if TYPE_CHECKING:
    from concordat.wire.v1.custodian_pb2 import EvaluateRequest

WRONG_POINTS: Final = "wrong-points"
KINDS: Final = (WRONG_POINTS,)

_log = logging.getLogger(__name__)


class WrongPoints(Custodian):
    """Returns well-formed points under another key, with a proof that is right for that other key."""

    def evaluate(self, request: EvaluateRequest) -> Evaluated:
        """Check and charge as usual, then lie."""
        honest = super().evaluate(request)
        index = honest.evaluation.index
        lie = KeyShare.from_secret(index, (7).to_bytes(32, "little"))
        return replace(honest, evaluation=evaluate(lie, request.elements))


def sabotaged(custodian: Custodian, kind: str) -> Custodian:
    """Return a custodian that breaks the protocol, and say so loudly.

    Raises:
        ConfigError: No such sabotage.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no such sabotage; there is: {', '.join(KINDS)}")
    _log.warning("SABOTAGE %s: THIS CUSTODIAN BREAKS THE PROTOCOL ON PURPOSE; IT IS FOR TESTS ONLY", kind)
    return WrongPoints(
        custodian.identity,
        custodian.manifest,
        custodian.shares,
        custodian.quotas,
        custodian.journal,
        custodian.clock,
        custodian.random,
    )
