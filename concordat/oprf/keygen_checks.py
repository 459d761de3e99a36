"""What everybody can check of a key generation: openings, proofs of possession, complaints, whole transcripts.

Pure functions over signed messages, for the participants and for anybody who is handed a transcript later.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import ConcordatError, ConfigError, IdentityError, ProtocolError
from concordat.oprf import group
from concordat.oprf.keygen_messages import (
    Commit,
    Complaint,
    Confirm,
    KeygenAbortError,
    Opener,
    Opening,
    Plan,
    Sealing,
    canonical,
    is_kind,
    pack,
    read,
    unpack,
)
from concordat.oprf.threshold import GroupKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PROOF_DOMAIN: Final = b"concordat/v1/keygen/possession\0"
_OPENING_DOMAIN: Final = b"concordat/v1/keygen/opening\0"
_TRANSCRIPT_DOMAIN: Final = b"concordat/v1/keygen/transcript\0"


@dataclass(frozen=True)
class Verdict:
    """Who lied about a share, and why it is plain."""

    accuser: int
    accused: int
    liar: int
    reason: str


def commitment(opening: Opening) -> str:
    """Return the hash that round 1 commits to: all but what depends on the others' messages of round 1."""
    fields = opening.model_dump(exclude={"commits", "shares"})
    return hashlib.sha256(_OPENING_DOMAIN + canonical(fields)).hexdigest()


def prove_possession(plan: Plan, index: int, secret: bytes, *, random: Callable[[int], bytes]) -> bytes:
    """Prove knowledge of the constant term (Schnorr), bound to federation, class, session and index."""
    public = group.mult_base(secret)
    nonce = group.random_scalars(1, random)
    c = _possession_challenge(plan, index, public, group.mult_base(nonce))
    return c + group.scalar_sub(nonce, group.scalar_mul(c, secret))


def possession_holds(plan: Plan, index: int, public: bytes, proof: bytes) -> bool:
    """Say whether a proof of possession holds.

    Raises:
        ProtocolError: the proof does not decode.
    """
    c, s = (group.decode_scalar(p, "proof of possession") for p in group.split(proof))
    commitment_point = group.add(group.mult_base(s), group.mult(c, public))
    return hmac.compare_digest(c, _possession_challenge(plan, index, public, commitment_point))


def _possession_challenge(plan: Plan, index: int, public: bytes, nonce_point: bytes) -> bytes:
    # Everything has a fixed length, and the plan's digest covers federation, class and session.
    transcript = _PROOF_DOMAIN + plan.digest() + bytes([index]) + public + nonce_point
    return group.reduce_scalars(hashlib.sha512(transcript).digest())


def share_point(feldman: Sequence[bytes], recipient: int) -> bytes:
    """Return what a participant's Feldman commitments say of a recipient's share: share times generator."""
    return group.small_combination([recipient**k for k in range(len(feldman))], feldman)


def share_fits(feldman: Sequence[bytes], recipient: int, share: bytes) -> bool:
    """Say whether a share is a scalar that fits the commitments."""
    try:
        point = group.mult_base(group.decode_scalar(share, "share"))
    except ProtocolError:
        return False
    return point == share_point(feldman, recipient)


def feldman_of(opening: Opening) -> list[bytes]:
    """Return the commitments of an opening that has been checked."""
    return [bytes.fromhex(f) for f in opening.feldman]


def read_commits(plan: Plan, messages: Mapping[int, bytes]) -> dict[int, Commit]:
    """Read round 1 of everybody.

    Raises:
        KeygenAbortError: a message is missing or invalid.
    """
    commits = {i: read(plan, Commit, i, _present(messages, i)) for i in plan.roster}
    for i, commit in commits.items():
        if len(commit.keys) != plan.n - 1 or len(set(commit.keys)) != len(commit.keys):
            raise KeygenAbortError(f"participant {i}: it needs {plan.n - 1} different sealing keys", accused=i)
    return commits


def read_openings(plan: Plan, commits: Mapping[int, bytes], messages: Mapping[int, bytes]) -> dict[int, Opening]:
    """Read round 2 of everybody and check all that is public.

    Raises:
        KeygenAbortError: a message is missing or invalid, does not open its commitment, or its proof of possession
            does not hold; or somebody was shown another commitment than we were, as in `read_confirms`.
    """
    openings = {}
    committed = read_commits(plan, commits)
    for i in plan.roster:
        opening = read(plan, Opening, i, _present(messages, i))
        if not hmac.compare_digest(commitment(opening), committed[i].commitment):
            raise KeygenAbortError(f"participant {i}: its opening is not what it committed to", accused=i)
        _check_seen(plan, i, 1, shown=commits, echoed=opening.commits)
        if len(opening.feldman) != plan.t or len(opening.shares) != plan.n - 1:
            raise KeygenAbortError(f"participant {i}: its opening has a wrong number of pieces", accused=i)
        try:
            for k, element in enumerate(feldman_of(opening)):
                group.decode_element(element, f"commitment {k}")
            good = possession_holds(plan, i, bytes.fromhex(opening.feldman[0]), bytes.fromhex(opening.proof))
        except ProtocolError as e:
            raise KeygenAbortError(f"participant {i}: {e}", accused=i) from e
        if not good:
            raise KeygenAbortError(f"participant {i}: its proof of possession does not hold", accused=i)
        openings[i] = opening
    return openings


def _present(messages: Mapping[int, bytes], index: int) -> bytes:
    if index not in messages:
        raise KeygenAbortError(f"participant {index}: its message is missing", accused=index)
    return messages[index]


def group_key(plan: Plan, openings: Mapping[int, Opening]) -> GroupKey:
    """Compute the public side of the key that the openings make.

    Raises:
        KeygenAbortError: they make none, which takes all participants together.
    """
    columns = [feldman_of(o) for o in openings.values()]
    try:
        total = [group.small_combination([1] * plan.n, [c[k] for c in columns]) for k in range(plan.t)]
        return GroupKey.from_shares(plan.t, {i: share_point(total, i) for i in plan.roster})
    except (ProtocolError, ConfigError) as e:
        raise KeygenAbortError(f"the openings make no key: {e}", accused=None) from e


def transcript_digest(plan: Plan, commits: Mapping[int, bytes], openings: Mapping[int, bytes]) -> bytes:
    """Return the SHA-256 that all participants sign: plan, round 1 and round 2 as received."""
    items = [plan.encode(), *(commits[i] for i in plan.roster), *(openings[i] for i in plan.roster)]
    return hashlib.sha256(_TRANSCRIPT_DOMAIN + pack(items)).digest()


def message_digests(plan: Plan, messages: Mapping[int, bytes]) -> list[str]:
    """Return the SHA-256 of every participant's message of a round."""
    return [hashlib.sha256(messages[i]).hexdigest() for i in plan.roster]


def read_confirms(
    plan: Plan, commits: Mapping[int, bytes], openings: Mapping[int, bytes], confirms: Mapping[int, bytes]
) -> None:
    """Check that everybody signed the same transcript.

    Raises:
        KeygenAbortError: a confirmation is missing or invalid, or somebody was shown another message than we were:
            then the message's sender is accused, and who confirmed it is the accuser.
    """
    transcript = transcript_digest(plan, commits, openings).hex()
    for i in plan.roster:
        confirm = read(plan, Confirm, i, _present(confirms, i))
        _check_seen(plan, i, 1, shown=commits, echoed=confirm.commits)
        _check_seen(plan, i, 2, shown=openings, echoed=confirm.openings)
        if confirm.transcript != transcript:
            raise KeygenAbortError(f"participant {i}: it confirms another transcript", accused=i)


def _check_seen(plan: Plan, index: int, round_: int, *, shown: Mapping[int, bytes], echoed: Sequence[str]) -> None:
    """Compare what a participant says it was shown in a round with what we were shown.

    The word of one participant does not tell an equivocation from a lie about one; `equivocates` does, once the
    accuser shows its copy.

    Raises:
        KeygenAbortError: there is a difference; accused is the sender of the message, accuser the participant.
    """
    if len(echoed) != plan.n:
        raise KeygenAbortError(f"participant {index}: its message has a wrong number of hashes", accused=index)
    for sender, ours, theirs in zip(plan.roster, message_digests(plan, shown), echoed, strict=True):
        if ours != theirs:
            raise KeygenAbortError(
                f"participant {index} was shown another message of participant {sender} in round {round_}",
                accused=sender,
                accuser=index,
            )


def equivocates(plan: Plan, sender: int, first: bytes, second: bytes) -> bool:
    """Say whether two messages prove that a participant signed different ones for the same round.

    Raises:
        KeygenAbortError: one of them is no valid message of the participant, so proves nothing.
    """
    kind = Commit if is_kind(Commit, first) else Opening
    return read(plan, kind, sender, first) != read(plan, kind, sender, second)


def judge(
    plan: Plan,
    *,
    commits: Mapping[int, bytes],
    openings: Mapping[int, bytes],
    complaint: bytes,
    accuser: int,
    sealing: Sealing,
) -> Verdict:
    """Say who lied about a share.

    The complaint opens the one-time key that the share was sealed to, so that everybody opens the share as the
    accuser did. A share that the accused would show us later proves nothing of what it sealed.

    Args:
        plan: what was agreed on.
        commits: round 1, signed, of everybody.
        openings: round 2, signed, of everybody.
        complaint: the signed complaint.
        accuser: who sent it.
        sealing: makes sealing keys.

    Raises:
        KeygenAbortError: a message of rounds 1 and 2, or the complaint itself, is invalid, or the accuser was shown
            other messages than these, on which nobody can judge it.
    """
    read_commit = read_commits(plan, commits)
    read_opening = read_openings(plan, commits, openings)
    told = read(plan, Complaint, accuser, complaint)
    _check_seen(plan, accuser, 1, shown=commits, echoed=told.commits)
    _check_seen(plan, accuser, 2, shown=openings, echoed=told.openings)
    accused = told.accused
    if accused not in plan.others(accuser):
        return Verdict(accuser, accused, accuser, "there is no share from the accused to the accuser")
    published = read_commit[accuser].keys[plan.others(accuser).index(accused)]
    try:
        opener = sealing.opener(bytes.fromhex(told.seed))
    except (ConcordatError, ValueError):
        return Verdict(accuser, accused, accuser, "the complaint opens no sealing key")
    if opener.public.raw.hex() != published:
        return Verdict(accuser, accused, accuser, "the complaint opens another key than the published one")
    sealed = read_opening[accused].shares[plan.others(accused).index(accuser)]
    share = open_share(opener, plan.share_info(accused, accuser), sealed)
    if share is not None and share_fits(feldman_of(read_opening[accused]), accuser, share):
        return Verdict(accuser, accused, accuser, "the share is good")
    return Verdict(accuser, accused, accused, "the share is bad")


def open_share(opener: Opener, info: bytes, sealed: str) -> bytes | None:
    """Open a sealed share; None if it does not open."""
    try:
        return opener.open(info, bytes.fromhex(sealed))
    except IdentityError:
        return None


def audit(plan: Plan, transcript: bytes) -> tuple[GroupKey, bytes]:
    """Check a finished transcript as an outsider.

    Returns:
        The group key that it made, and the digest that all participants signed.

    Raises:
        ProtocolError: it is no transcript of this plan, or (`KeygenAbortError`) a message in it does not hold.
    """
    first, *messages = unpack(transcript) or [b""]
    if first != plan.encode() or len(messages) != 3 * plan.n:
        raise ProtocolError("this is no transcript of this plan")
    commits, openings, confirms = (
        dict(zip(plan.roster, messages[at : at + plan.n], strict=True)) for at in (0, plan.n, 2 * plan.n)
    )
    read_opening = read_openings(plan, commits, openings)
    read_confirms(plan, commits, openings, confirms)
    return group_key(plan, read_opening), transcript_digest(plan, commits, openings)
