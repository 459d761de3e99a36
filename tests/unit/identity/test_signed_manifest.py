"""A manifest counts only under the pinned root keys, in one form, in its time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concordat.errors import IdentityError
from concordat.identity.envelope import Envelope
from concordat.identity.keys import SigningKey
from concordat.identity.signed_manifest import RootKeys, load_manifest, sign_manifest, verify_manifest
from tests.unit.identity.small_federation import FEDERATION, home

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.manifest import Manifest

OPERATORS = {name: SigningKey.generate() for name in ("c1", "c2", "c3", "hub")}
ROOTS = RootKeys(
    federation=FEDERATION,
    threshold=3,
    keys={name: key.public.hex() for name, key in OPERATORS.items()},
    required=("hub",),
)


@pytest.fixture(scope="session")
def manifest(pristine: Path) -> Manifest:
    return home(pristine, "node/NL").manifest


def _signed(manifest: Manifest, *names: str) -> Envelope:
    return sign_manifest(manifest, [OPERATORS[name] for name in names])


def test_enough_operators_and_the_hubs_make_a_manifest(manifest: Manifest) -> None:
    assert verify_manifest(_signed(manifest, "c1", "c3", "hub"), ROOTS, now=manifest.issued) == manifest


def test_too_few_operators_or_none_of_the_hub_are_refused(manifest: Manifest) -> None:
    for names in [("c1", "hub"), ("c1", "c2", "c3"), (), ("hub", "hub", "hub")]:
        with pytest.raises(IdentityError) as caught:
            verify_manifest(_signed(manifest, *names), ROOTS)
        assert caught.value.code == "bad_signature"


def test_any_changed_byte_of_the_payload_is_refused(manifest: Manifest) -> None:
    envelope = _signed(manifest, *OPERATORS)
    for at in range(0, len(envelope.payload), 997):
        changed = bytearray(envelope.payload)
        changed[at] ^= 1
        with pytest.raises(IdentityError):
            verify_manifest(replace(envelope, payload=bytes(changed)), ROOTS)


def _signed_raw(payload: bytes, payload_type: str) -> Envelope:
    envelope = Envelope(payload, payload_type)
    for key in OPERATORS.values():
        envelope = envelope.signed_by(key)
    return envelope


def test_what_is_signed_but_no_manifest_in_canonical_form_is_refused(manifest: Manifest) -> None:
    kind = _signed(manifest).payload_type
    spaced = json.dumps(json.loads(manifest.payload), indent=1).encode()
    for payload, payload_type in [(spaced, kind), (b"{}", kind), (b"\xff", kind), (manifest.payload, "text/plain")]:
        with pytest.raises(IdentityError):
            verify_manifest(_signed_raw(payload, payload_type), ROOTS)


def test_a_manifest_out_of_its_time_is_refused(manifest: Manifest) -> None:
    envelope = _signed(manifest, *OPERATORS)
    verify_manifest(envelope, ROOTS, now=manifest.expires - 1)
    verify_manifest(envelope, ROOTS, now=manifest.issued - manifest.max_skew_s)
    for now in (manifest.expires, manifest.issued - manifest.max_skew_s - 1):
        with pytest.raises(IdentityError) as caught:
            verify_manifest(envelope, ROOTS, now=now)
        assert caught.value.code == "stale_manifest"


def test_a_manifest_of_another_federation_is_refused(manifest: Manifest) -> None:
    roots = ROOTS.model_copy(update={"federation": "other.example"})
    with pytest.raises(IdentityError):
        verify_manifest(_signed(manifest, *OPERATORS), roots)


def test_a_file_reads_back(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(_signed(manifest, *OPERATORS).to_json())
    (tmp_path / "r").write_bytes(ROOTS.to_json())
    roots = RootKeys.load(tmp_path / "r")
    assert roots == ROOTS
    assert roots.fingerprint() == ROOTS.fingerprint()
    assert load_manifest(tmp_path / "m", roots, now=manifest.issued) == manifest


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 5},
        {"threshold": 0},
        {"required": ["nobody"]},
        {"keys": {}},
        {"keys": {"c1": "00" * 32, "c2": "00" * 32, "c3": "00" * 32, "hub": "00" * 32}},
        {"more": 1},
    ],
)
def test_root_keys_that_cannot_serve_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "r").write_text(json.dumps({**ROOTS.model_dump(mode="json"), **change}))
    with pytest.raises(IdentityError):
        RootKeys.load(tmp_path / "r")
