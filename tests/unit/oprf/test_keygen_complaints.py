"""A bad share aborts with the names of accuser and accused; the share is opened, and everybody sees who lied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.oprf.keygen import KeygenAbortError, Participant, Verdict, judge, play
from concordat.oprf.keygen_checks import feldman_of, share_fits
from concordat.oprf.keygen_messages import Complaint, Opening, Reveal, read, write
from concordat.oprf.threshold import polynomial_at
from tests.unit.oprf.keygen_parties import KEYS, SEALING, Liar, change, honest, payload_of, plan_of, seal_to, with_liar

if TYPE_CHECKING:
    from collections.abc import Callable

PLAN = plan_of()
ACCUSED, ACCUSER = 2, 1

Rounds = dict[int, dict[int, bytes]]


def recording(rounds: Rounds) -> Callable[[int, int, dict[int, bytes]], dict[int, bytes]]:
    def relay(now: int, _: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        rounds[now] = sent
        return sent

    return relay


def errors_of(participants: list[Participant], rounds: Rounds) -> list[KeygenAbortError]:
    ends = play(participants, recording(rounds)).values()
    assert all(isinstance(e, KeygenAbortError) for e in ends)
    return [e for e in ends if isinstance(e, KeygenAbortError)]


def wrong_scalar(liar: Liar) -> bytes:
    return polynomial_at(liar._polynomial, ACCUSER + 1)


BAD_SHARES: dict[str, Callable[[Liar], str]] = {
    "share of another recipient": lambda liar: seal_to(liar, ACCUSER, wrong_scalar(liar)),
    "share of zero": lambda liar: seal_to(liar, ACCUSER, bytes(32)),
    "share over the order": lambda liar: seal_to(liar, ACCUSER, b"\xff" * 32),
    "share too short": lambda liar: seal_to(liar, ACCUSER, bytes(31)),
    "nothing sealed": lambda liar: seal_to(liar, ACCUSER, b""),
    "garbage": lambda _: "5a" * 1168,
    "sealed to another": lambda liar: seal_to(liar, 3, polynomial_at(liar._polynomial, ACCUSER)),
    "one byte": lambda _: "00",
}


@pytest.mark.parametrize("bad", BAD_SHARES.values(), ids=BAD_SHARES)
def test_a_bad_share_ends_it_for_all_and_the_accused_is_the_liar(bad: Callable[[Liar], str]) -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        return change(m, ACCUSED, shares=[bad(liar), *payload_of(m)["shares"][1:]]) if m[:1] == b"2" else m

    rounds: Rounds = {}
    liar = Liar(PLAN, ACCUSED, lie)
    failed = errors_of(with_liar(PLAN, liar), rounds)
    assert {(e.accuser, e.accused, e.liar) for e in failed} == {(ACCUSER, ACCUSED, ACCUSED)}
    assert f"participant {ACCUSER} complains of participant {ACCUSED}" in str(failed[0])
    verdict = judge(
        PLAN, commits=rounds[1], openings=rounds[2], complaint=rounds[3][ACCUSER], accuser=ACCUSER, sealing=SEALING
    )
    assert verdict == Verdict(ACCUSER, ACCUSED, ACCUSED, "the share is bad")


def test_the_accused_opens_the_share_as_it_should_have_been() -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        return change(m, ACCUSED, shares=["00", *payload_of(m)["shares"][1:]]) if m[:1] == b"2" else m

    rounds: Rounds = {}
    participants = with_liar(PLAN, Liar(PLAN, ACCUSED, lie))
    errors_of(participants, rounds)
    revealed = participants[ACCUSED - 1].reveal
    assert revealed is not None
    reveal = read(PLAN, Reveal, ACCUSED, revealed)
    opening = read(PLAN, Opening, ACCUSED, rounds[2][ACCUSED])
    assert reveal.accuser == ACCUSER
    assert share_fits(feldman_of(opening), ACCUSER, bytes.fromhex(reveal.share))
    assert [p.reveal for p in participants if p.index != ACCUSED] == [None, None]
    assert all(p._polynomial == [] and p._seeds == {} for p in participants)


def complain(liar: Liar, m: bytes, *, accused: int = ACCUSED, seed: bytes | None = None) -> bytes:
    """Turn a confirmation into a complaint."""
    if m[:1] != b"3":
        return m
    fields = payload_of(m)
    del fields["transcript"]
    seed = seed if seed is not None else liar._seeds.get(accused, bytes(96))
    return write(Complaint(**fields, accused=accused, seed=seed.hex()), KEYS[liar.index])


FALSE: dict[str, Callable[[Liar, bytes], bytes]] = {
    "the share is good": complain,
    "another key": lambda liar, m: complain(liar, m, seed=bytes(96)),
    "the key of another's share": lambda liar, m: complain(liar, m, seed=liar._seeds[3]) if m[:1] == b"3" else m,
    "no key": lambda liar, m: complain(liar, m, seed=bytes(5)),
    "of itself": lambda liar, m: complain(liar, m, accused=ACCUSER),
    "of nobody": lambda liar, m: complain(liar, m, accused=7),
}


@pytest.mark.parametrize("lie", FALSE.values(), ids=FALSE)
def test_a_false_complaint_shows_the_accuser_as_the_liar(lie: Callable[[Liar, bytes], bytes]) -> None:
    failed = errors_of(with_liar(PLAN, Liar(PLAN, ACCUSER, lie)), {})
    assert {(e.accuser, e.liar) for e in failed} == {(ACCUSER, ACCUSER)}


@pytest.mark.parametrize("fields", [{"session": "00" * 32}, {"sender": 3}, {"seed": "zz"}, {"accused": 0}])
def test_a_complaint_that_is_malformed_or_replayed_names_its_sender_and_opens_nothing(fields: dict[str, Any]) -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        return change(complain(liar, m), ACCUSER, **fields) if m[:1] == b"3" else m

    participants = with_liar(PLAN, Liar(PLAN, ACCUSER, lie))
    failed = errors_of(participants, {})
    assert {(e.accused, e.liar) for e in failed} == {(ACCUSER, None)}
    assert [p.reveal for p in participants] == [None, None, None]


@pytest.mark.parametrize("field", ["commits", "openings"])
def test_a_complaint_from_another_view_is_not_judged(field: str) -> None:
    def lie(liar: Liar, m: bytes) -> bytes:
        told = complain(liar, m)
        return change(told, ACCUSER, **{field: [*payload_of(told)[field][:2], "11" * 32]}) if m[:1] == b"3" else m

    failed = errors_of(with_liar(PLAN, Liar(PLAN, ACCUSER, lie)), {})
    assert {(e.accused, e.accuser, e.liar) for e in failed} == {(3, ACCUSER, None)}


def test_an_accused_that_equivocates_cannot_make_the_accuser_look_the_liar() -> None:
    """2 shows 1 a bad share and the others a good one: on different views nobody is judged, and 2 is accused."""

    def relay(now: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        if now == 2 and recipient == ACCUSER:
            shares = payload_of(sent[ACCUSED])["shares"]
            return {**sent, ACCUSED: change(sent[ACCUSED], ACCUSED, shares=["00", *shares[1:]])}
        return sent

    ends = play(honest(PLAN), relay)
    third = ends[3]
    assert isinstance(third, KeygenAbortError)
    assert (third.accused, third.accuser, third.liar) == (ACCUSED, ACCUSER, None)
    assert all(isinstance(e, KeygenAbortError) for e in ends.values())
