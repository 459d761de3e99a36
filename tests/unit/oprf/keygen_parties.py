"""Participants for key generations in tests: honest ones, and ones that change what they send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from concordat.identity.keys import SealingKey, SealingPublicKey, SigningKey
from concordat.oprf.keygen import Participant, Plan, Sealing
from concordat.oprf.keygen_checks import commitment
from concordat.oprf.keygen_messages import KINDS, Commit, Opening, canonical, write

if TYPE_CHECKING:
    from collections.abc import Callable

SEALING = Sealing(SealingKey, SealingPublicKey, 96)
DOMAINS = dict(KINDS.values())
KEYS = {i: SigningKey(bytes([i]) * 32) for i in range(1, 10)}


def plan_of(t: int = 2, n: int = 3, *, key_class: str = "strong", session: int = 1) -> Plan:
    return Plan("federation.example", key_class, t, bytes([session]) * 32, {i: KEYS[i].public for i in range(1, n + 1)})


def honest(plan: Plan) -> list[Participant]:
    return [Participant(plan, i, KEYS[i], SEALING) for i in plan.roster]


def resign(message: bytes, signer: SigningKey, payload: bytes) -> bytes:
    """Put another payload, freshly signed, under a message's kind."""
    return message[:1] + signer.sign(DOMAINS[message[:1]], payload) + payload


def change(message: bytes, index: int, **fields: Any) -> bytes:
    """Change fields of a message and sign it again as its sender would."""
    payload = {**json.loads(message[65:]), **fields}
    return resign(message, KEYS[index], canonical(payload))


def payload_of(message: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(message[65:])
    return fields


class Liar(Participant):
    """Changes each message before it sends it, and stands by it."""

    def __init__(self, plan: Plan, index: int, lie: Callable[[Liar, bytes], bytes]) -> None:
        super().__init__(plan, index, KEYS[index], SEALING)
        self._lie = lie

    def _send(self, message: bytes) -> bytes:
        return super()._send(self._lie(self, message))


class BadOpener(Participant):
    """Commits to an opening that it has changed."""

    def __init__(self, plan: Plan, index: int, lie: Callable[[Participant, Opening], Opening]) -> None:
        super().__init__(plan, index, KEYS[index], SEALING)
        self._lie = lie

    def start(self) -> bytes:
        commit = super().start()
        assert self._opening is not None
        self._opening = self._lie(self, self._opening)
        changed = Commit(**{**payload_of(commit), "commitment": commitment(self._opening)})
        return self._send(write(changed, KEYS[self.index]))


def with_liar(plan: Plan, liar: Participant) -> list[Participant]:
    return [liar if p.index == liar.index else p for p in honest(plan)]


def seal_to(liar: Participant, recipient: int, share: bytes) -> str:
    """Seal any bytes as a share from the liar, to the recipient's one-time key."""
    key = liar._read_commits[recipient].keys[liar.plan.others(recipient).index(liar.index)]
    info = liar.plan.share_info(liar.index, recipient)
    return SEALING.sealer(bytes.fromhex(key)).seal(info, share).hex()
