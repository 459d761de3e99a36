from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import IdentityError
from concordat.identity.envelope import Envelope, Signature
from concordat.identity.keys import SigningKey, pae

KEYS = [SigningKey.generate() for _ in range(3)]
PUBLIC = [key.public for key in KEYS]


def _signed(*keys: SigningKey) -> Envelope:
    envelope = Envelope(b"payload", "application/example")
    for key in keys:
        envelope = envelope.signed_by(key)
    return envelope


def test_the_encoding_is_that_of_the_dsse_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_enough_distinct_known_signers_are_told() -> None:
    assert _signed(*KEYS[:2]).verify(2, PUBLIC) == frozenset(PUBLIC[:2])


@pytest.mark.parametrize(
    "envelope",
    [
        _signed(),
        _signed(KEYS[0]),
        _signed(KEYS[0], KEYS[0]),
        _signed(KEYS[0], SigningKey.generate()),
        replace(_signed(*KEYS), payload=b"another"),
        replace(_signed(*KEYS), payload_type="application/other"),
    ],
)
def test_too_few_distinct_known_signers_are_refused(envelope: Envelope) -> None:
    with pytest.raises(IdentityError) as caught:
        envelope.verify(2, PUBLIC)
    assert caught.value.code == "bad_signature"


def test_one_signature_under_two_key_ids_counts_once() -> None:
    one = _signed(KEYS[0]).signatures[0]
    envelope = replace(_signed(), signatures=(one, Signature(PUBLIC[1].hex(), one.sig)))
    with pytest.raises(IdentityError):
        envelope.verify(2, PUBLIC)


def test_a_bad_signature_beside_good_ones_does_no_harm() -> None:
    bad = Signature(PUBLIC[2].hex(), bytes(64))
    envelope = replace(_signed(*KEYS[:2]), signatures=(bad, *_signed(*KEYS[:2]).signatures))
    assert envelope.verify(2, PUBLIC) == frozenset(PUBLIC[:2])


def test_the_json_form_reads_back_and_has_the_names_of_the_specification() -> None:
    envelope = _signed(*KEYS)
    form = json.loads(envelope.to_json())
    assert set(form) == {"payload", "payloadType", "signatures"}
    assert set(form["signatures"][0]) == {"keyid", "sig"}
    assert Envelope.from_json(envelope.to_json()) == envelope


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"payload":"","payloadType":"t","signatures":[],"more":1}',
        b'{"payload":1,"payloadType":"t","signatures":[]}',
        b'{"payload":"*","payloadType":"t","signatures":[]}',
        b'{"payload":"","payloadType":1,"signatures":[]}',
        b'{"payload":"","payloadType":"t","signatures":{}}',
        b'{"payload":"","payloadType":"t","signatures":[{"keyid":"a"}]}',
        b'{"payload":"","payloadType":"t","signatures":[{"keyid":1,"sig":""}]}',
        b'{"payload":"","payloadType":"t","signatures":[' + b",".join([b'{"keyid":"a","sig":""}'] * 65) + b"]}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(IdentityError):
        Envelope.from_json(raw)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_reading_never_fails_in_another_way(raw: bytes) -> None:
    with suppress(IdentityError):
        Envelope.from_json(raw)
