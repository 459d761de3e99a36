"""What is missing, altered, replayed, malformed or different aborts a key generation and names whose it was."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from concordat.identity.keys import SealingKey, SigningKey
from concordat.oprf import group
from concordat.oprf.keygen import KeygenAbortError, Participant, Plan, equivocates, play, run_keygen
from concordat.oprf.keygen_checks import prove_possession
from concordat.oprf.threshold import polynomial_at
from tests.unit.oprf.keygen_parties import (
    KEYS,
    BadOpener,
    Liar,
    change,
    honest,
    payload_of,
    plan_of,
    resign,
    seal_to,
    with_liar,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.oprf.keygen_messages import Opening

SENDER = 2
PLAN = plan_of()


def relay_that(tamper: Callable[[dict[int, bytes]], dict[int, bytes]], round_: int) -> Any:
    """Tamper in one round with what all but the sender are shown."""

    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        return tamper(sent) if now == round_ and recipient != SENDER else sent

    return relay


def aborts(ends: dict[int, Any]) -> dict[int, KeygenAbortError]:
    return {i: e for i, e in ends.items() if isinstance(e, KeygenAbortError)}


def blamed(ends: dict[int, Any]) -> dict[int, tuple[int | None, int | None]]:
    """Return accused and accuser, for each participant that aborted."""
    return {i: (e.accused, e.accuser) for i, e in aborts(ends).items()}


def drop(sent: dict[int, bytes]) -> dict[int, bytes]:
    return {i: m for i, m in sent.items() if i != SENDER}


def alter(at: int) -> Callable[[dict[int, bytes]], dict[int, bytes]]:
    def tamper(sent: dict[int, bytes]) -> dict[int, bytes]:
        m = sent[SENDER]
        return {**sent, SENDER: m[:at] + bytes([m[at] ^ 1]) + m[at + 1 :]}

    return tamper


def replace_with(make: Callable[[bytes], bytes]) -> Callable[[dict[int, bytes]], dict[int, bytes]]:
    return lambda sent: {**sent, SENDER: make(sent[SENDER])}


def always(answer: bytes, _: bytes) -> bytes:
    return answer


def loose_json(m: bytes) -> bytes:
    return resign(m, KEYS[SENDER], json.dumps(payload_of(m)).encode())


def doubled_field(m: bytes) -> bytes:
    return resign(m, KEYS[SENDER], b'{"v":1,' + m[66:])


def missing_field(m: bytes) -> bytes:
    fields = payload_of(m)
    del fields["sender"]
    return resign(m, KEYS[SENDER], json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


TAMPERINGS: dict[str, Callable[[dict[int, bytes]], dict[int, bytes]]] = {
    "missing": drop,
    "empty": replace_with(lambda _: b""),
    "another kind": alter(0),
    "signature altered": alter(5),
    "payload altered": alter(120),
    "payload altered at the end": alter(-2 % 100 + 65),
    "cut": replace_with(lambda m: m[:-1]),
    "too large": replace_with(lambda m: m + bytes(64 * 1024)),
    "signed by another": replace_with(lambda m: resign(m, KEYS[3], m[65:])),
    "signed by a stranger": replace_with(lambda m: resign(m, SigningKey(bytes([77]) * 32), m[65:])),
    "another's message": lambda sent: {**sent, SENDER: sent[3]},
    "of another sender, signed": replace_with(lambda m: change(m, SENDER, sender=3)),
    "of another session, signed": replace_with(lambda m: change(m, SENDER, session="00" * 32)),
    "of another version, signed": replace_with(lambda m: change(m, SENDER, v=2)),
    "a field too many, signed": replace_with(lambda m: change(m, SENDER, note="x")),
    "a field too few, signed": replace_with(missing_field),
    "not canonical, signed": replace_with(loose_json),
    "a field twice, signed": replace_with(doubled_field),
    "true for one, signed": replace_with(lambda m: change(m, SENDER, v=True)),
    "no JSON, signed": replace_with(lambda m: resign(m, KEYS[SENDER], b"[" * 5000)),
}


@pytest.mark.parametrize("round_", [1, 2, 3])
@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_message_aborts_for_all_who_are_shown_it_and_names_its_sender(
    tamper: Callable[[dict[int, bytes]], dict[int, bytes]], round_: int
) -> None:
    ends = play(honest(PLAN), relay_that(tamper, round_))
    failed = aborts(ends)
    assert {1, 3} <= set(failed)
    assert {failed[i].accused for i in (1, 3)} == {SENDER}
    assert f"participant {SENDER}" in str(failed[1])


@pytest.mark.parametrize("round_", [1, 2])
def test_before_the_last_round_nobody_finishes_when_anybody_aborts(round_: int) -> None:
    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        return drop(sent) if (now, recipient) == (round_, 1) else sent

    ends = play(honest(PLAN), relay)
    assert set(aborts(ends)) == {1, 2, 3}
    assert blamed(ends)[1] == (SENDER, None)


def test_a_message_of_an_earlier_session_or_another_class_is_refused() -> None:
    for other in (plan_of(session=9), plan_of(key_class="weak"), plan_of(t=3)):
        recorded: dict[int, dict[int, bytes]] = {}

        def record(
            now: int, _: int, sent: dict[int, bytes], recorded: dict[int, dict[int, bytes]] = recorded
        ) -> dict[int, bytes]:
            recorded[now] = sent
            return sent

        run_keygen(honest(other), record)
        for round_ in (1, 2, 3):
            old = recorded[round_][SENDER]
            ends = play(honest(PLAN), relay_that(replace_with(partial(always, old)), round_))
            assert aborts(ends)[1].accused == SENDER
            assert "another session" in str(ends[1])


def test_a_replay_within_the_same_plan_does_not_open_the_new_commitment() -> None:
    """A participant that starts again draws anew, so what it sent before fits nothing."""
    recorded: dict[int, dict[int, bytes]] = {}

    def record(now: int, _: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        recorded[now] = sent
        return sent

    run_keygen(honest(PLAN), record)
    ends = play(honest(PLAN), relay_that(replace_with(lambda _: recorded[2][SENDER]), 2))
    assert {e.accused for e in aborts(ends).values()} >= {SENDER}
    assert "not what it committed to" in str(ends[1])


def test_a_relay_that_shows_us_another_message_of_ours_is_caught() -> None:
    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        return {**sent, recipient: sent[SENDER]}

    ends = play(honest(PLAN), relay)
    assert "not the message that we sent" in str(ends[1])


def test_different_commitments_to_different_participants_let_nobody_finish() -> None:
    """Participant 2 plays two lives, each consistent, one for 1 and one for 3; the echo shows it."""
    shadow = Participant(PLAN, SENDER, KEYS[SENDER], honest(PLAN)[0]._sealing)
    shadow_sent = {0: shadow.start()}
    commits: dict[int, bytes] = {}
    openings: dict[int, bytes] = {}

    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        if now == 1:
            commits.update(sent)
            if recipient == 3:
                return {**sent, SENDER: shadow_sent[0]}
        if now == 2:
            openings.update(sent)
            if recipient == 3:
                if 1 not in shadow_sent:
                    shadow_sent[1] = shadow.receive_commits({**commits, SENDER: shadow_sent[0]})
                return {**sent, SENDER: shadow_sent[1]}
        return sent

    ends = play(honest(PLAN), relay)
    assert set(aborts(ends)) == {1, 2, 3}
    assert blamed(ends)[1] == (SENDER, 3)
    assert blamed(ends)[3] == (SENDER, 1)
    assert equivocates(PLAN, SENDER, commits[SENDER], shadow_sent[0])
    assert equivocates(PLAN, SENDER, openings[SENDER], shadow_sent[1])
    assert not equivocates(PLAN, SENDER, commits[SENDER], commits[SENDER])
    with pytest.raises(KeygenAbortError):
        equivocates(PLAN, SENDER, commits[SENDER], openings[SENDER])


def test_openings_that_differ_only_in_the_sealed_shares_are_caught_by_the_echo() -> None:
    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        if now == 2 and recipient == 3:
            shares = payload_of(sent[SENDER])["shares"]
            return {**sent, SENDER: change(sent[SENDER], SENDER, shares=["00" * 100, shares[1]])}
        return sent

    ends = play(honest(PLAN), relay)
    assert set(aborts(ends)) == {1, 2, 3}
    assert blamed(ends)[1] == (SENDER, 3)


@pytest.mark.parametrize("field", ["commits", "openings"])
def test_a_participant_that_echoes_other_messages_than_its_own_view_stops_all(field: str) -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        return change(m, SENDER, **{field: ["11" * 32, *payload_of(m)[field][1:]]}) if m[:1] == b"3" else m

    ends = play(with_liar(PLAN, Liar(PLAN, SENDER, lie)))
    assert blamed(ends)[3] == (1, SENDER)


@pytest.mark.parametrize(
    "fields",
    [{"transcript": "22" * 32}, {"commits": ["11" * 32]}, {"openings": []}],
    ids=["another transcript", "too few commits", "no openings"],
)
def test_a_confirmation_of_something_else_names_who_sent_it(fields: dict[str, Any]) -> None:
    liar = Liar(PLAN, SENDER, lambda _, m: change(m, SENDER, **fields) if m[:1] == b"3" else m)
    ends = play(with_liar(PLAN, liar))
    assert {e.accused for e in aborts(ends).values()} == {SENDER}
    assert set(ends) == {1, 2, 3} == set(aborts(ends))


def possession_of(plan: Plan, index: int, liar: Participant) -> str:
    return prove_possession(plan, index, liar._polynomial[0], random=os.urandom).hex()


def flipped(text: str, at: int) -> str:
    return text[:at] + format(int(text[at], 16) ^ 1, "x") + text[at + 1 :]


BAD_OPENINGS: dict[str, Callable[[Participant, Opening], dict[str, Any]]] = {
    "proof with another challenge": lambda _, o: {"proof": flipped(o.proof, 1)},
    "proof with another response": lambda _, o: {"proof": flipped(o.proof, 65)},
    "proof of zeros": lambda *_: {"proof": "00" * 64},
    "proof over the order": lambda _, o: {"proof": o.proof[:64] + "ff" * 32},
    "proof of another index": lambda liar, _: {"proof": possession_of(PLAN, 3, liar)},
    "proof of another session": lambda liar, _: {"proof": possession_of(plan_of(session=5), SENDER, liar)},
    "proof of another class": lambda liar, _: {"proof": possession_of(plan_of(key_class="weak"), SENDER, liar)},
    "constant term not its own": lambda _, o: {"feldman": [o.feldman[1], o.feldman[1]]},
    "commitment is the identity": lambda _, o: {"feldman": [o.feldman[0], "00" * 32]},
    "constant term is the identity": lambda _, o: {"feldman": ["00" * 32, o.feldman[1]]},
    "commitment with bit 255": lambda _, o: {"feldman": [o.feldman[0], o.feldman[1][:62] + "ff"]},
    "a degree too high": lambda _, o: {"feldman": [*o.feldman, o.feldman[0]]},
    "a degree too low": lambda _, o: {"feldman": o.feldman[:1]},
}


@pytest.mark.parametrize("lie", BAD_OPENINGS.values(), ids=BAD_OPENINGS)
def test_a_bad_opening_or_proof_of_possession_names_its_sender(
    lie: Callable[[Participant, Opening], dict[str, Any]],
) -> None:
    liar = BadOpener(PLAN, SENDER, lambda who, opening: opening.model_copy(update=lie(who, opening)))
    ends = play(with_liar(PLAN, liar))
    assert set(aborts(ends)) == {1, 2, 3}
    assert {blamed(ends)[i] for i in (1, 3)} == {(SENDER, None)}


def test_a_key_chosen_to_cancel_the_others_has_no_proof_of_possession() -> None:
    """Participant 2 waits for the others' constant terms and takes their negative sum plus its own."""
    others = [group.mult_base(group.scalar_from_int(7)), group.mult_base(group.scalar_from_int(11))]

    def lie(liar: Participant, opening: Opening) -> Opening:
        own = bytes.fromhex(opening.feldman[0])
        rogue = group.small_combination([1, -1, -1], [own, *others])
        return opening.model_copy(update={"feldman": [rogue.hex(), *opening.feldman[1:]]})

    with pytest.raises(KeygenAbortError, match="proof of possession") as caught:
        run_keygen(with_liar(PLAN, BadOpener(PLAN, SENDER, lie)))
    assert caught.value.accused == SENDER


def test_an_opening_other_than_the_commitment_names_its_sender() -> None:
    liar = Liar(PLAN, SENDER, lambda _, m: change(m, SENDER, salt="33" * 32) if m[:1] == b"2" else m)
    with pytest.raises(KeygenAbortError, match="committed") as caught:
        run_keygen(with_liar(PLAN, liar))
    assert caught.value.accused == SENDER


# Whole lattice keys, each with a curve point of small order, which no key agreement takes.
SMALL_ORDER = [SealingKey.generate().public.raw[:1184].hex() + point for point in ("00" * 32, "01" + "00" * 31)]


@pytest.mark.parametrize(
    "keys", [[], ["aa" * 1216], ["aa" * 1216] * 2, ["ff" * 1216, "fe" * 1216], ["ab", "cd"], SMALL_ORDER]
)
def test_sealing_keys_that_are_missing_repeated_or_none_name_their_sender(keys: list[str]) -> None:
    liar = Liar(PLAN, SENDER, lambda _, m: change(m, SENDER, keys=keys) if m[:1] == b"1" else m)
    with pytest.raises(KeygenAbortError) as caught:
        run_keygen(with_liar(PLAN, liar))
    assert caught.value.accused == SENDER


def test_a_commitment_copied_from_another_is_refused() -> None:
    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        if now == 1 and recipient != SENDER:
            return {**sent, SENDER: change(sent[SENDER], SENDER, commitment=payload_of(sent[1])["commitment"])}
        return sent

    ends = play(honest(PLAN), relay)
    assert aborts(ends)[1].accused == SENDER


def test_a_share_sealed_for_another_recipient_is_not_taken() -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        return change(m, SENDER, shares=list(reversed(payload_of(m)["shares"]))) if m[:1] == b"2" else m

    with pytest.raises(KeygenAbortError) as caught:
        run_keygen(with_liar(PLAN, Liar(PLAN, SENDER, lie)))
    assert caught.value.liar == SENDER


def test_the_tools_of_these_tests_change_nothing_when_they_should_not() -> None:
    def resealed(liar: Liar, m: bytes) -> bytes:
        if m[:1] != b"2":
            return change(m, SENDER)
        return change(m, SENDER, shares=[seal_to(liar, i, polynomial_at(liar._polynomial, i)) for i in (1, 3)])

    assert set(run_keygen(with_liar(PLAN, Liar(PLAN, SENDER, resealed)))) == {1, 2, 3}


def test_an_honest_sender_of_a_share_is_no_liar_because_a_recipient_showed_it_other_sealing_keys() -> None:
    """2 shows 3 other one-time keys than the rest, so cannot open 3's share; nobody calls 3 the liar."""
    other = honest(PLAN)[SENDER - 1].start()

    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        if now == 1 and recipient == 3:
            return {**sent, SENDER: change(sent[SENDER], SENDER, keys=payload_of(other)["keys"])}
        return sent

    failed = aborts(play(honest(PLAN), relay))
    assert {e.liar for e in failed.values()} == {None}
    assert blamed(failed)[1] == (SENDER, 3)


def test_a_message_over_the_limit_is_refused_before_its_signature_is_looked_at() -> None:
    oversize = replace_with(lambda m: resign(m, KEYS[SENDER], m[65:] + b" " * 64 * 1024))
    ends = play(honest(PLAN), relay_that(oversize, 1))
    assert "over 65536 bytes" in str(ends[1])
