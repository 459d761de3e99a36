"""Participants without a dealer end with shares of one key that nobody knows, and one transcript that shows it."""

from __future__ import annotations

import pickle
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError, ProtocolError
from concordat.oprf import client, group, server, threshold
from concordat.oprf.keygen import KEY_CLASSES, KeygenAbortError, Participant, Plan, audit, run_keygen
from concordat.oprf.keygen_messages import Commit, Opening, pack, read, unpack
from tests.unit.oprf.keygen_parties import KEYS, SEALING, honest, plan_of


@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 5)])
def test_all_three_classes_end_with_one_key_each_that_every_subset_uses(t: int, n: int) -> None:
    public_keys = set()
    for key_class in KEY_CLASSES:
        results = run_keygen(honest(plan_of(t, n, key_class=key_class)))
        assert len({r.key for r in results.values()}) == 1
        key = results[1].key
        public_keys.add(key.public_key)
        inputs = [b"one", b"two"]
        blinded = client.blind(inputs)
        evaluations = {i: server.evaluate(r.share, blinded.elements) for i, r in results.items()}
        outputs = {
            client.finalize(inputs, blinded, [evaluations[i] for i in subset], key)
            for subset in combinations(range(1, n + 1), t)
        }
        assert len(outputs) == 1
    assert len(public_keys) == 3


@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 5), (1, 2), (2, 2)])
def test_the_key_is_delta_times_the_sum_of_the_constant_terms(t: int, n: int) -> None:
    participants = honest(plan_of(t, n))
    constants: dict[int, int] = {}

    def watch(round_: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        constants[recipient] = int.from_bytes(participants[recipient - 1]._polynomial[0], "little")
        return sent

    results = run_keygen(participants, watch)
    secret = threshold.delta(t, n) * sum(constants.values())
    assert results[1].key.public_key == group.mult_base(group.scalar_from_int(secret))
    for subset in combinations(results, t):
        scaled = zip(threshold.coefficients(subset, n), subset, strict=True)
        together = sum(c * int.from_bytes(results[i].share.secret, "little") for c, i in scaled)
        assert together % group.ORDER == secret % group.ORDER


def test_everybody_has_the_same_transcript_and_an_outsider_reads_the_key_from_it() -> None:
    plan = plan_of(3, 5)
    results = run_keygen(honest(plan))
    assert len({(r.transcript, r.transcript_digest) for r in results.values()}) == 1
    assert audit(plan, results[1].transcript) == (results[1].key, results[1].transcript_digest)


def test_a_transcript_that_is_cut_changed_or_of_another_plan_is_refused() -> None:
    plan = plan_of()
    transcript = run_keygen(honest(plan))[1].transcript
    items = unpack(transcript)
    wrong = [
        b"",
        transcript[:-1],
        transcript + b"\x00",
        pack(items[:-1]),
        pack([*items, items[-1]]),
        pack([items[0], items[2], items[1], *items[3:]]),
        pack([*items[:-1], items[-2]]),
    ]
    wrong += [transcript[:at] + bytes([transcript[at] ^ 1]) + transcript[at + 1 :] for at in range(2, 9000, 701)]
    for one in wrong:
        with pytest.raises(ProtocolError):
            audit(plan, one)
    with pytest.raises(ProtocolError, match="this plan"):
        audit(plan_of(session=2), transcript)


def test_what_is_sent_holds_no_secret_and_no_participant_alone_knows_the_key() -> None:
    participants = honest(plan_of())
    secrets: list[bytes] = []
    seen: list[bytes] = []

    def watch(round_: int, recipient: int, sent: dict[int, bytes]) -> dict[int, bytes]:
        p = participants[recipient - 1]
        secrets.extend([*p._polynomial, *p._seeds.values(), *p._shares.values()])
        seen.extend(sent.values())
        return sent

    results = run_keygen(participants, watch)
    secrets += [r.share.secret for r in results.values()]
    everything = b"".join(seen) + results[1].transcript + repr(results).encode()
    assert len(secrets) > 30
    for secret in secrets:
        assert secret not in everything
        assert secret.hex().encode() not in everything
    for r in results.values():
        assert group.mult_base(r.share.secret) != r.key.public_key


def test_a_participant_forgets_its_secrets_and_takes_no_step_twice() -> None:
    participants = honest(plan_of())
    first = participants[0]
    with pytest.raises(ConfigError, match="in order"):
        first.receive_commits({})
    run_keygen(participants)
    assert (first._polynomial, first._seeds, first._shares) == ([], {}, {})
    for step in (first.start, lambda: first.receive_openings({}), lambda: first.finish({})):
        with pytest.raises(ConfigError, match="in order"):
            step()
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(first)


def test_after_an_abort_no_step_goes_on() -> None:
    p = honest(plan_of())[0]
    p.start()
    with pytest.raises(KeygenAbortError):
        p.receive_commits({})
    assert p._polynomial == []
    with pytest.raises(ConfigError):
        p.receive_commits({})
    with pytest.raises(ConfigError):
        p.receive_openings({})


def test_two_runs_of_one_plan_share_nothing() -> None:
    first, second = (run_keygen(honest(plan_of())) for _ in range(2))
    assert first[1].key.public_key != second[1].key.public_key
    assert first[1].transcript_digest != second[1].transcript_digest


def test_a_plan_or_participant_that_cannot_be_is_refused() -> None:
    roster = {i: KEYS[i].public for i in (1, 2, 3)}
    for key_class, t, session, who in (
        ("other", 2, bytes(32), roster),
        ("strong", 4, bytes(32), roster),
        ("strong", 0, bytes(32), roster),
        ("strong", 2, bytes(31), roster),
        ("strong", 2, bytes(32), {**roster, 3: roster[1]}),
        ("strong", 2, bytes(32), {0: roster[1], 1: roster[2], 2: roster[3]}),
    ):
        with pytest.raises(ConfigError):
            Plan("federation.example", key_class, t, session, who)
    with pytest.raises(ConfigError):
        Plan("", "strong", 2, bytes(32), roster)
    with pytest.raises(ConfigError):
        Participant(plan_of(), 4, KEYS[4], SEALING)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"1", b"2"]))
def test_any_bytes_are_a_message_of_nobody(data: bytes, tag: bytes) -> None:
    for kind in (Commit, Opening):
        with pytest.raises(KeygenAbortError) as caught:
            read(plan_of(), kind, 2, tag + data)
        assert caught.value.accused == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 10))
def test_packed_messages_come_back_and_cut_ones_do_not_pass(messages: list[bytes], cut: int) -> None:
    packed = pack(messages)
    assert unpack(packed) == messages
    try:
        assert pack(unpack(packed[:-cut])) == packed[:-cut]
    except ProtocolError:
        return
