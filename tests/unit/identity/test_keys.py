from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from concordat.errors import ConfigError, IdentityError
from concordat.identity.keys import SealingKey, SealingPublicKey, SigningKey, VerifyKey

KEY_TYPES = pytest.mark.parametrize("kind", [SigningKey, SealingKey])


def test_a_signature_holds_for_its_domain_message_and_key_only() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign("evaluate", b"body")
    key.public.verify("evaluate", signature, b"body")
    wrong: list[tuple[VerifyKey, str, bytes, bytes]] = [
        (key.public, "charter", signature, b"body"),
        (key.public, "evaluate", signature, b"bodY"),
        (other.public, "evaluate", signature, b"body"),
        (key.public, "evaluate", signature[:-1], b"body"),
        (key.public, "evaluate", b"", b"body"),
        (key.public, "evaluat", signature, b"e\0body"),
        (key.public, "evaluat", signature, b"ebody"),
    ]
    for public, domain, given, message in wrong:
        with pytest.raises(IdentityError) as caught:
            public.verify(domain, given, message)
        assert caught.value.code == "bad_signature"


def test_a_signature_for_a_domain_never_passes_as_an_envelopes() -> None:
    key = SigningKey.generate()
    with pytest.raises(IdentityError):
        key.public.verify_dsse("t", key.sign("t", b"body"), b"body")
    with pytest.raises(IdentityError):
        key.public.verify("t", key.sign_dsse("t", b"body"), b"body")


@pytest.mark.parametrize("domain", ["", "UPPER", "a\0b", "a b", "a//b", "/a", "ä"])
def test_a_domain_that_could_be_ambiguous_is_a_mistake_of_the_caller(domain: str) -> None:
    with pytest.raises(ValueError, match="signing domain"):
        SigningKey.generate().sign(domain, b"")


def test_rfc_8032_vector_1_gives_the_public_key() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey(seed).public.hex() == expected


def test_keys_compare_and_hash_by_their_bytes() -> None:
    key = SigningKey.generate()
    assert {key.public, VerifyKey.from_hex(key.public.hex())} == {key.public}
    sealing = SealingKey.generate()
    assert {sealing.public, SealingPublicKey.from_base64(sealing.public.base64())} == {sealing.public}
    assert key.public != sealing.public


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "A" * 64, "0" * 63, "0" * 65, " " + "0" * 63])
def test_a_verify_key_has_one_spelling(text: str) -> None:
    with pytest.raises(IdentityError):
        VerifyKey.from_hex(text)


@pytest.mark.parametrize("text", ["", "AAAA", "*", "ä"])
def test_a_sealing_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        SealingPublicKey.from_base64(text)


def test_what_is_sealed_opens_with_the_same_key_and_info_only() -> None:
    key, other = SealingKey.generate(), SealingKey.generate()
    sealed = key.public.seal(b"mask key, epoch 1", b"secret")
    assert key.open(b"mask key, epoch 1", sealed) == b"secret"
    assert b"secret" not in sealed
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for opener, info, given in [
        (other, b"mask key, epoch 1", sealed),
        (key, b"mask key, epoch 2", sealed),
        (key, b"mask key, epoch 1", changed),
        (key, b"mask key, epoch 1", sealed[:20]),
        (key, b"mask key, epoch 1", b""),
    ]:
        with pytest.raises(IdentityError):
            opener.open(info, given)


def test_a_sealing_key_that_is_no_point_is_refused_when_it_is_used() -> None:
    with pytest.raises(IdentityError):
        SealingPublicKey(b"\xff" * 1216).seal(b"", b"x")


def test_a_sealing_key_whose_curve_point_has_a_small_order_is_refused_when_it_is_used() -> None:
    lattice = SealingKey.generate().public.raw[:1184]
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(IdentityError):
            SealingPublicKey(lattice + point).seal(b"", b"x")


@KEY_TYPES
@pytest.mark.parametrize("umask", [0, 0o277])
def test_a_key_file_is_0600_whatever_the_umask_and_reads_back(kind: Any, umask: int, tmp_path: Path) -> None:
    key = kind.generate()
    previous = os.umask(umask)
    try:
        key.save(tmp_path / "k")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert kind.load(tmp_path / "k").public == key.public
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@KEY_TYPES
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o700, 0o601])
def test_a_key_file_that_is_too_open_is_refused_with_the_cure(kind: Any, mode: int, tmp_path: Path) -> None:
    kind.generate().save(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        kind.load(tmp_path / "k")


def test_a_key_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    SigningKey.generate().save(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        # Who is not root cannot give a file away, but root's own files are there.
        path = Path("/etc/passwd")
    with pytest.raises(ConfigError, match="another user"):
        SigningKey.load(path)


def test_a_link_in_the_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "k")
    (tmp_path / "link").symlink_to("k")
    with pytest.raises(ConfigError, match="link"):
        SigningKey.load(tmp_path / "link")


@KEY_TYPES
@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "mlkem768-x25519:AAAA", "x", "ed25519:*", "\u00ff"])
def test_a_damaged_key_file_is_refused_without_showing_it(kind: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        kind.load(path)
    assert "AAAA" not in caught.value.message
    with pytest.raises(ConfigError):
        kind.load(tmp_path / "missing")


@KEY_TYPES
def test_a_repr_shows_no_secret(kind: Any, tmp_path: Path) -> None:
    key = kind.generate()
    key.save(tmp_path / "k")
    secret = (tmp_path / "k").read_text().strip().partition(":")[2]
    assert secret not in repr(key)
    assert repr(key.public) in repr(key) or key.public.hex() in repr(key)


def test_a_web_token_is_verified_by_another_library_and_is_no_other_signature() -> None:
    key = SigningKey.generate()
    token = key.sign_jws({"typ": "JWT", "alg": "none"}, {"iss": "somebody"})
    public = OKPKey.import_key(Ed25519PublicKey.from_public_bytes(key.public.raw))

    found = jwt.decode(token, public, algorithms=["Ed25519"])

    assert found.header == {"typ": "JWT", "alg": "Ed25519"}
    assert found.claims == {"iss": "somebody"}
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    with pytest.raises(IdentityError, match="does not fit"):
        key.public.verify("check", raw, signed.encode())
    with pytest.raises(IdentityError, match="does not fit"):
        key.public.verify_dsse("application/json", raw, signed.encode())
