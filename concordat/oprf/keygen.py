"""Key generation without a dealer, for one key class, through a relay that nobody trusts (PedPoP with an echo).

    participant                                          relay
    (1) start()                       → commit             hash of what follows; one-time sealing keys
    (2) receive_commits({i: ...})     → opening            Feldman commitments, proof of possession, sealed shares
    (3) receive_openings({i: ...})    → confirm            hash of every message as received, or a complaint
    (4) finish({i: ...})              → KeygenResult

Round 1 keeps a participant that speaks last from choosing the key by what the others said; the proof of possession,
from cancelling their part. The signed echo of all messages catches a relay or a participant that shows different
messages to different participants; openings echo round 1 already, so that shares are judged on one view only. What is
missing, invalid or different aborts and names its sender.

A participant that got a bad share publishes a complaint with the one-time key that the share was sealed to: everybody
then opens that share and sees who lied (`judge`), and the accused answers with the share as it should have been
(`Participant.reveal`). The key generation ends with that; a new one draws everything anew.

Whether the last confirmation reached everybody nobody can know: a relay that drops it leaves some with a key and some
without. The key counts only when the manifest names it, which takes the operators' signatures.

Secrets: the polynomial and the shares go through libsodium only. Participants have no repr of their state, are not
pickled, and forget their secrets when they finish or abort.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, NoReturn

from concordat.errors import ConfigError, IdentityError
from concordat.oprf import group
from concordat.oprf.keygen_checks import (
    Verdict,
    audit,
    commitment,
    equivocates,
    feldman_of,
    group_key,
    judge,
    message_digests,
    open_share,
    prove_possession,
    read_commits,
    read_confirms,
    read_openings,
    share_fits,
    transcript_digest,
)
from concordat.oprf.keygen_messages import (
    KEY_CLASSES,
    Commit,
    Complaint,
    Confirm,
    KeygenAbortError,
    Opener,
    Opening,
    Plan,
    Reveal,
    Sealing,
    Signer,
    is_kind,
    pack,
    write,
)
from concordat.oprf.server import KeyShare
from concordat.oprf.threshold import GroupKey, polynomial_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "KEY_CLASSES",
    "GroupKey",
    "KeyShare",
    "KeygenAbortError",
    "KeygenResult",
    "Participant",
    "Plan",
    "Sealing",
    "Verdict",
    "audit",
    "equivocates",
    "judge",
    "play",
    "run_keygen",
]


@dataclass(frozen=True)
class KeygenResult:
    """What one participant takes from a key generation.

    Attributes:
        share: its share of the key.
        key: the public side, equal for all.
        transcript: everything signed, for `audit`; equal for all.
        transcript_digest: the SHA-256 that all participants signed.
    """

    share: KeyShare
    key: GroupKey
    transcript: bytes = field(repr=False)
    transcript_digest: bytes


class Participant:
    """One custodian in one key generation; each step is taken once and in order.

    Attributes:
        plan: what was agreed on.
        index: which participant this is.
        reveal: after a complaint about us ended it, the signed message that opens the share as it should have been,
            to be published; the accuser has that share already, and said for all to see that it may be opened.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        signer: Signer,
        sealing: Sealing,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if index not in plan.roster:
            raise ConfigError(f"participant {index} is not in the roster")
        self.plan = plan
        self.index = index
        self._signer = signer
        self._sealing = sealing
        self._random = random
        self.reveal: bytes | None = None
        self._step = 0
        self._polynomial: list[bytes] = []
        self._seeds: dict[int, bytes] = {}
        self._shares: dict[int, bytes] = {}
        self._sent: bytes = b""
        self._opening: Opening | None = None
        self._commits: dict[int, bytes] = {}
        self._openings: dict[int, bytes] = {}
        self._read_openings: dict[int, Opening] = {}
        self._read_commits: dict[int, Commit] = {}

    def __reduce__(self) -> NoReturn:
        raise TypeError("a participant is not pickled")

    def start(self) -> bytes:
        """(1) Draw the polynomial and the one-time sealing keys, and commit."""
        self._enter(0)
        plan, index = self.plan, self.index
        with self._or_forget():
            self._polynomial = group.split(group.random_scalars(plan.t, self._random))
            self._seeds = {i: self._random(self._sealing.seed_bytes) for i in plan.others(index)}
            self._opening = Opening(
                v=1,
                session=plan.digest().hex(),
                sender=index,
                feldman=[group.mult_base(a).hex() for a in self._polynomial],
                proof=prove_possession(plan, index, self._polynomial[0], random=self._random).hex(),
                salt=self._random(32).hex(),
                commits=[],
                shares=[],
            )
            keys = [self._opener(i).public.raw.hex() for i in plan.others(index)]
            commit = Commit(
                v=1, session=plan.digest().hex(), sender=index, commitment=commitment(self._opening), keys=keys
            )
            return self._send(write(commit, self._signer))

    def receive_commits(self, messages: Mapping[int, bytes]) -> bytes:
        """(2) Take everybody's commitment; open ours and seal a share to each.

        Raises:
            KeygenAbortError: a commitment is missing or invalid.
        """
        self._enter(1)
        plan, index = self.plan, self.index
        with self._or_forget():
            self._commits = self._with_ours(messages)
            self._read_commits = read_commits(plan, self._commits)
            shares = [self._seal(i).hex() for i in plan.others(index)]
            assert self._opening is not None
            seen = message_digests(plan, self._commits)
            opening = self._opening.model_copy(update={"commits": seen, "shares": shares})
            return self._send(write(opening, self._signer))

    def receive_openings(self, messages: Mapping[int, bytes]) -> bytes:
        """(3) Check everybody's opening and the share in it; confirm the transcript, or complain.

        Raises:
            KeygenAbortError: an opening is missing or invalid. A bad share raises nothing yet: it gives a complaint,
                which everybody is to get, and `finish` raises.
        """
        self._enter(2)
        plan, index = self.plan, self.index
        with self._or_forget():
            self._openings = self._with_ours(messages)
            self._read_openings = read_openings(plan, self._commits, self._openings)
            self._shares = {index: polynomial_at(self._polynomial, index)}
            for i in plan.others(index):
                sealed = self._read_openings[i].shares[plan.others(i).index(index)]
                share = open_share(self._opener(i), plan.share_info(i, index), sealed)
                if share is None or not share_fits(feldman_of(self._read_openings[i]), index, share):
                    return self._send(self._complain(i))
                self._shares[i] = share
            transcript = transcript_digest(plan, self._commits, self._openings).hex()
            return self._send(write(Confirm(**self._echo(), transcript=transcript), self._signer))

    def finish(self, messages: Mapping[int, bytes]) -> KeygenResult:
        """(4) Take everybody's confirmation; only all n over one equal hash make a key.

        Raises:
            KeygenAbortError: a confirmation is missing, invalid or over another transcript, or there is a complaint:
                then accuser, accused and liar are named.
        """
        self._enter(3)
        plan, index = self.plan, self.index
        with self._or_forget():
            confirms = self._with_ours(messages)
            for i in plan.roster:
                if is_kind(Complaint, confirms.get(i, b"")):
                    raise self._end(self.judge(i, confirms[i]))
            read_confirms(plan, self._commits, self._openings, confirms)
            key = group_key(plan, self._read_openings)
            share = KeyShare(index, reduce(group.scalar_add, self._shares.values()), key.public_shares[index])
            rounds = (self._commits, self._openings, confirms)
            result = KeygenResult(
                share=share,
                key=key,
                transcript=pack([plan.encode(), *(messages[i] for messages in rounds for i in plan.roster)]),
                transcript_digest=transcript_digest(plan, self._commits, self._openings),
            )
        self._forget()
        return result

    def judge(self, accuser: int, complaint: bytes) -> Verdict:
        """Say who lied, from the messages that this participant was shown.

        Raises:
            KeygenAbortError: the complaint is invalid; names the accuser.
        """
        return judge(
            self.plan,
            commits=self._commits,
            openings=self._openings,
            complaint=complaint,
            accuser=accuser,
            sealing=self._sealing,
        )

    def _enter(self, step: int) -> None:
        if self._step != step:
            raise ConfigError("the steps of a key generation are taken once and in order")
        self._step = step + 1

    def _send(self, message: bytes) -> bytes:
        self._sent = message
        return message

    def _with_ours(self, messages: Mapping[int, bytes]) -> dict[int, bytes]:
        """Add what we sent ourselves; a relay that shows us another message of ours is caught here."""
        if messages.get(self.index, self._sent) != self._sent:
            raise KeygenAbortError(
                f"participant {self.index}: this is not the message that we sent", accused=self.index
            )
        return {**{i: bytes(m) for i, m in messages.items() if i in self.plan.roster}, self.index: self._sent}

    def _opener(self, sender: int) -> Opener:
        return self._sealing.opener(self._seeds[sender])

    def _seal(self, recipient: int) -> bytes:
        raw = bytes.fromhex(self._read_commits[recipient].keys[self.plan.others(recipient).index(self.index)])
        share = polynomial_at(self._polynomial, recipient)
        try:
            return self._sealing.sealer(raw).seal(self.plan.share_info(self.index, recipient), share)
        except (IdentityError, ConfigError) as e:
            raise KeygenAbortError(f"participant {recipient}: its sealing key is none", accused=recipient) from e

    def _echo(self) -> dict[str, Any]:
        return {
            "v": 1,
            "session": self.plan.digest().hex(),
            "sender": self.index,
            "commits": message_digests(self.plan, self._commits),
            "openings": message_digests(self.plan, self._openings),
        }

    def _complain(self, accused: int) -> bytes:
        return write(Complaint(**self._echo(), accused=accused, seed=self._seeds[accused].hex()), self._signer)

    def _end(self, verdict: Verdict) -> KeygenAbortError:
        """Return the error that a complaint ends with; if it is about us, open the share first."""
        if verdict.accused == self.index and verdict.accuser != self.index:
            share = polynomial_at(self._polynomial, verdict.accuser)
            session = self.plan.digest().hex()
            reveal = Reveal(v=1, session=session, sender=self.index, accuser=verdict.accuser, share=share.hex())
            self.reveal = write(reveal, self._signer)
        return KeygenAbortError(
            f"participant {verdict.accuser} complains of participant {verdict.accused}, "
            f"participant {verdict.liar} lied: {verdict.reason}",
            accused=verdict.accused,
            accuser=verdict.accuser,
            liar=verdict.liar,
        )

    def _forget(self) -> None:
        self._step = -1
        self._polynomial, self._seeds, self._shares = [], {}, {}

    @contextmanager
    def _or_forget(self) -> Iterator[None]:
        """Run a step; if it fails, end the participant, so that no later step goes on from half a state."""
        try:
            yield
        except BaseException:
            self._forget()
            raise


def _honest(_round: int, _recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
    return sent


def play(
    participants: Sequence[Participant],
    relay: Callable[[int, int, dict[int, bytes]], Mapping[int, bytes]] = _honest,
) -> dict[int, KeygenResult | KeygenAbortError]:
    """Run a key generation in memory and return how it ended for each participant.

    Args:
        participants: all of one plan.
        relay: gets the round (1 to 3), the recipient and what everybody sent, and returns what the recipient is
            shown; by default it does its duty.
    """
    ends: dict[int, KeygenResult | KeygenAbortError] = {}
    sent = {p.index: p.start() for p in participants}
    for round_ in (1, 2, 3):
        answers: dict[int, bytes] = {}
        for p in participants:
            if p.index in ends:
                continue
            shown = relay(round_, p.index, dict(sent))
            try:
                if round_ == 1:
                    answers[p.index] = p.receive_commits(shown)
                elif round_ == 2:
                    answers[p.index] = p.receive_openings(shown)
                else:
                    ends[p.index] = p.finish(shown)
            except KeygenAbortError as e:
                ends[p.index] = e
        sent = answers
    return ends


def run_keygen(
    participants: Sequence[Participant],
    relay: Callable[[int, int, dict[int, bytes]], Mapping[int, bytes]] = _honest,
) -> dict[int, KeygenResult]:
    """Run a key generation in memory to its end; arguments as `play`.

    Raises:
        KeygenAbortError: it ended without a key for somebody; the first abort.
    """
    results: dict[int, KeygenResult] = {}
    for index, end in play(participants, relay).items():
        if isinstance(end, KeygenAbortError):
            raise end
        results[index] = end
    return results
