"""A party's folder is loaded whole and right, or not at all."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.errors import ConfigError, IdentityError, RefusedError
from concordat.identity.files import write_private
from concordat.identity.home import load_home
from concordat.identity.keys import SealingKey, SigningKey
from concordat.identity.manifest import KeyClass, Manifest
from concordat.identity.signed_manifest import sign_manifest
from tests.unit.identity.small_federation import authority, home

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = [
    "node/NL/tls.key",
    "node/NL/sign.key",
    "node/NL/seal.key",
    "custodian/c1/tls.key",
    "custodian/c1/sign.key",
    "custodian/c1/seal.key",
    "gateway/g1/tls.key",
    "gateway/g1/sign.key",
]


def _load(folder: Path) -> None:
    load_home(folder, clock=SystemClock())


def _successor(federation: Path, **changes: object) -> Manifest:
    current = home(federation, "node/NL").manifest
    form = {**current.model_dump(), "version": current.version + 1, "previous": current.hash.hex(), **changes}
    return Manifest.model_validate(form)


def _install(federation: Path, folder: str, manifest: Manifest) -> None:
    keys = [SigningKey.load(path) for path in (federation / "roots").iterdir()]
    (federation / folder / "manifest.json").write_bytes(sign_manifest(manifest, keys).to_json())


@pytest.mark.parametrize("party", ["node/NL", "node/DE", "custodian/c1", "custodian/c3", "gateway/g1"])
def test_every_party_of_a_fresh_federation_loads_its_folder_twice(federation: Path, party: str) -> None:
    first, second = home(federation, party), home(federation, party)
    assert str(first.identity) == f"spiffe://test.example/{party}"
    assert first.manifest == second.manifest


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_can_open_stops_the_service(federation: Path, secret: str, mode: int) -> None:
    path = federation / secret
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        _load(path.parent)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_pinned_root_keys_that_others_can_change_pin_nothing(federation: Path, mode: int) -> None:
    (federation / "node/NL/root-keys.json").chmod(mode)
    with pytest.raises(ConfigError, match="chmod"):
        _load(federation / "node/NL")


@pytest.mark.parametrize(
    "name", ["tls.key", "tls.crt", "tls-roots.crt", "sign.key", "seal.key", "root-keys.json", "manifest.json"]
)
def test_a_missing_file_is_named(federation: Path, name: str) -> None:
    (federation / "node/NL" / name).unlink()
    with pytest.raises(ConfigError, match=name):
        _load(federation / "node/NL")


@pytest.mark.parametrize("name", ["tls.crt", "sign.key", "seal.key"])
def test_another_partys_file_in_the_folder_is_refused(federation: Path, name: str) -> None:
    shutil.copy(federation / "node/DE" / name, federation / "node/NL" / name)
    with pytest.raises(IdentityError):
        _load(federation / "node/NL")


def test_tls_roots_other_than_the_manifests_are_refused(federation: Path) -> None:
    (federation / "node/NL/tls-roots.crt").write_bytes(authority().root_pem)
    with pytest.raises(IdentityError, match=r"tls-roots\.crt"):
        _load(federation / "node/NL")


def test_an_expired_certificate_or_manifest_is_told_at_start(federation: Path) -> None:
    clock = ManualClock(SystemClock().now() + 398 * 86_400)
    with pytest.raises(IdentityError, match="expired"):
        load_home(federation / "node/NL", clock=clock)
    keys = home(federation, "node/NL").tls
    expired = authority().issue(home(federation, "node/NL").identity, days=-1)
    (federation / "node/NL/tls.crt").write_bytes(expired.certificate_pem)
    assert keys.certificate_pem != expired.certificate_pem
    with pytest.raises(IdentityError, match=r"tls\.crt.*expired"):
        _load(federation / "node/NL")


def test_a_tampered_manifest_is_refused(federation: Path) -> None:
    path = federation / "node/NL/manifest.json"
    form = json.loads(path.read_bytes())
    form["signatures"] = form["signatures"][:-1]
    path.write_text(json.dumps(form))
    with pytest.raises(IdentityError):
        _load(federation / "node/NL")


def test_root_keys_are_pinned_so_that_a_whole_other_federation_is_refused(federation: Path) -> None:
    keys = [SigningKey.generate() for _ in range(4)]
    manifest = home(federation, "node/NL").manifest
    (federation / "node/NL/manifest.json").write_bytes(sign_manifest(manifest, keys).to_json())
    with pytest.raises(IdentityError):
        _load(federation / "node/NL")


def test_a_successor_is_taken_and_the_one_before_it_refused_for_ever(federation: Path) -> None:
    before = (federation / "node/NL/manifest.json").read_bytes()
    _install(federation, "node/NL", _successor(federation, tick_ms=300))
    assert home(federation, "node/NL").manifest.version == 2
    (federation / "node/NL/manifest.json").write_bytes(before)
    for _ in range(2):
        with pytest.raises(IdentityError) as caught:
            _load(federation / "node/NL")
        assert caught.value.code == "stale_manifest"


def test_a_fork_of_the_same_version_is_refused(federation: Path) -> None:
    _install(federation, "node/NL", _successor(federation, tick_ms=300))
    other = _successor(federation, tick_ms=301)
    _load(federation / "node/NL")
    _install(federation, "node/NL", other.model_copy(update={"version": 2}))
    with pytest.raises(IdentityError, match="same version"):
        _load(federation / "node/NL")


def test_a_successor_that_does_not_follow_is_refused(federation: Path) -> None:
    _install(federation, "node/NL", _successor(federation, previous="00" * 32))
    with pytest.raises(IdentityError, match="does not follow"):
        _load(federation / "node/NL")


def test_a_damaged_note_of_the_highest_version_stops_the_service(federation: Path) -> None:
    home(federation, "node/NL")
    (federation / "node/NL/manifest.version").write_text("")
    with pytest.raises(ConfigError, match=r"manifest\.version"):
        _load(federation / "node/NL")


def test_a_node_has_the_mask_key_and_custodian_and_gateway_do_not(federation: Path) -> None:
    assert home(federation, "node/NL").mask_key(1) == home(federation, "node/DE").mask_key(1)
    for party in ("custodian/c1", "gateway/g1"):
        with pytest.raises(ConfigError):
            home(federation, party).mask_key(1)
    with pytest.raises(RefusedError):
        home(federation, "node/NL").mask_key(2)


def test_a_mask_key_that_is_open_or_another_is_refused(federation: Path) -> None:
    nl = home(federation, "node/NL")
    path = federation / "node/NL/masks/1.key"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        nl.mask_key(1)
    write_private(path, bytes(32))
    with pytest.raises(IdentityError, match="epoch 1"):
        nl.mask_key(1)


@pytest.mark.parametrize("key_class", KeyClass)
def test_a_custodian_has_its_own_share_only(federation: Path, key_class: KeyClass) -> None:
    c1 = home(federation, "custodian/c1")
    share = c1.share(1, key_class)
    assert (share.index, share.public) == (1, c1.manifest.custodian(1).public_share(key_class))
    assert share.secret.hex() not in repr(share)
    with pytest.raises(IdentityError):
        home(federation, "node/NL").share(1, key_class)


def test_a_share_that_is_open_damaged_or_anothers_is_refused(federation: Path) -> None:
    c1 = home(federation, "custodian/c1")
    path = federation / "custodian/c1/shares/1-weak.json"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        c1.share(1, KeyClass.WEAK)
    good = json.loads(path.read_bytes())
    for damage in [b"", b"{}", b"[]", json.dumps({**good, "secret": "00" * 32}).encode()]:
        write_private(path, damage)
        with pytest.raises(ConfigError):
            c1.share(1, KeyClass.WEAK)
    for other in ["custodian/c2/shares/1-weak.json", "custodian/c1/shares/1-strong.json"]:
        shutil.copy(federation / other, path)
        with pytest.raises(IdentityError):
            c1.share(1, KeyClass.WEAK)


def test_a_home_shows_no_secret(federation: Path) -> None:
    nl = home(federation, "node/NL")
    text = repr(nl)
    for name in ("sign.key", "seal.key"):
        assert (federation / "node/NL" / name).read_text().strip().partition(":")[2] not in text
    assert "PRIVATE KEY" not in text
    assert isinstance(nl.sealing_key, SealingKey)
    assert len(text) < 4000
