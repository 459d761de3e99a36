"""A party's keys come from where a platform hands out secrets, and its state is never touched by that (I7, I9)."""

from __future__ import annotations

import json
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from concordat.cli import run
from concordat.clock import SystemClock
from concordat.errors import ConfigError, IdentityError
from concordat.identity.home import load_home, load_share
from concordat.identity.install import install
from concordat.identity.keys import SigningKey
from concordat.identity.manifest import KeyClass, Manifest
from concordat.identity.signed_manifest import sign_manifest
from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from pathlib import Path


def _as_secret(party: Path, where: Path) -> Path:
    """Lay a party's files out as the kubelet does: flat, linked through ..data, readable by the group."""
    kept = where / "..2026_11_24"
    kept.mkdir(parents=True)
    (where / "..data").symlink_to(kept.name)
    for path in [one for one in party.rglob("*") if one.is_file()]:
        shutil.copyfile(path, kept / path.name)
        (kept / path.name).chmod(0o440)
        (where / path.name).symlink_to(f"..data/{path.name}")
    return where


def _successor(federation: Path, party: Path) -> None:
    current = small_federation.home(federation, "node/NL").manifest
    form = {**current.model_dump(), "version": current.version + 1, "previous": current.hash.hex()}
    keys = [SigningKey.load(path) for path in (federation / "roots").iterdir()]
    (party / "manifest.json").write_bytes(sign_manifest(Manifest.model_validate(form), keys).to_json())


def _trace(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_ctime_ns, status.st_size


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("party", ["node/NL", "custodian/c1", "gateway/g1"])
def test_a_mounted_secret_becomes_a_home_that_the_service_loads(federation: Path, tmp_path: Path, party: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    install(_as_secret(federation / party, tmp_path / "secret"), home)
    assert str(load_home(home, clock=SystemClock()).identity) == f"spiffe://test.example/{party}"
    if party == "custodian/c1":
        assert load_share(home, 1, KeyClass.WEAK).public == load_share(federation / party, 1, KeyClass.WEAK).public
    if party == "node/NL":
        assert (home / "masks/1.key").read_bytes() == (federation / party / "masks/1.key").read_bytes()


def test_a_partys_own_folder_is_a_source_as_well(federation: Path, empty: Path) -> None:
    install(federation / "custodian/c2", empty)
    assert load_home(empty, clock=SystemClock()).share(1, KeyClass.STRONG).index == 2


def test_secrets_go_where_they_are_told_and_nowhere_else(federation: Path, empty: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    install(_as_secret(federation / "custodian/c1", tmp_path / "secret"), empty, keys=keys)
    assert {one.name for one in empty.iterdir()} == {"tls.crt", "tls-roots.crt", "root-keys.json", "manifest.json"}
    secrets = [one for one in keys.rglob("*") if one.is_file() and one.suffix != ".transcript"]
    assert {one.name for one in secrets} >= {"tls.key", "sign.key", "seal.key", "1-strong.json", "1-person.json"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in secrets} == {0o600}
    assert stat.S_IMODE((keys / "shares").stat().st_mode) == 0o700


def test_what_lets_a_gateway_into_its_database_is_installed_with_its_keys(federation: Path, empty: Path) -> None:
    party = federation / "gateway/g1"
    for name in ("ledger.password", "ledger.crt"):
        (party / name).write_text("of the database\n")
        (party / name).chmod(0o440)
    install(party, empty)
    modes = {name: stat.S_IMODE((empty / name).stat().st_mode) for name in ("ledger.password", "ledger.crt")}
    assert modes == {"ledger.password": 0o600, "ledger.crt": 0o644}


def test_what_the_service_keeps_stays_as_it_is(federation: Path, empty: Path, tmp_path: Path) -> None:
    source = _as_secret(federation / "custodian/c1", tmp_path / "secret")
    install(source, empty)
    load_home(empty, clock=SystemClock())
    for name in ("quotas.sqlite", "quotas.marker", "custodian.log"):
        (empty / name).write_bytes(b"kept")
    names = ("quotas.sqlite", "quotas.marker", "custodian.log", "manifest.version")
    before = {name: _trace(empty / name) for name in names}
    install(source, empty)
    # Even the change time of the marker would read as a restore (I7).
    assert {name: _trace(empty / name) for name in names} == before


@pytest.mark.parametrize("name", ["quotas.sqlite", "store.sqlite", "ledger.db", "shares/notes.txt"])
def test_nothing_but_an_identity_is_installed(federation: Path, empty: Path, name: str) -> None:
    (federation / "custodian/c1" / name).write_bytes(b"an old copy")
    with pytest.raises(ConfigError, match="nothing else is installed"):
        install(federation / "custodian/c1", empty)
    assert list(empty.iterdir()) == []


def test_the_highest_manifest_seen_is_the_homes_own_and_never_the_sources(federation: Path, empty: Path) -> None:
    load_home(federation / "node/NL", clock=SystemClock())
    assert (federation / "node/NL/manifest.version").exists()
    install(federation / "node/NL", empty)
    assert not (empty / "manifest.version").exists()


def test_pinned_root_keys_are_not_replaced(federation: Path, empty: Path, tmp_path: Path) -> None:
    install(federation / "node/NL", empty)
    other = small_federation.make(tmp_path / "other")
    with pytest.raises(ConfigError, match="other root keys are pinned"):
        install(other / "node/NL", empty)
    assert (empty / "manifest.json").read_bytes() == (federation / "node/NL/manifest.json").read_bytes()


def test_a_manifest_is_replaced_by_a_newer_one_and_not_by_an_older(federation: Path, empty: Path) -> None:
    party = federation / "node/DE"
    old = (party / "manifest.json").read_bytes()
    assert install(party, empty).manifest_version == 1
    _successor(federation, party)
    assert install(party, empty).manifest_version == 2
    new = (empty / "manifest.json").read_bytes()
    (party / "manifest.json").write_bytes(old)
    assert install(party, empty).manifest_version == 2
    assert (empty / "manifest.json").read_bytes() == new


def test_a_manifest_that_the_root_keys_did_not_sign_installs_nothing(federation: Path, empty: Path) -> None:
    path = federation / "node/NL/manifest.json"
    envelope = json.loads(path.read_text())
    envelope["signatures"] = envelope["signatures"][:1]
    path.write_text(json.dumps(envelope))
    with pytest.raises(IdentityError):
        install(federation / "node/NL", empty)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("name", ["tls.key", "shares/1-strong.json"])
def test_a_secret_open_to_all_is_not_taken(federation: Path, empty: Path, name: str) -> None:
    (federation / "custodian/c1" / name).chmod(0o604)
    with pytest.raises(ConfigError, match="others can open"):
        install(federation / "custodian/c1", empty)


@pytest.mark.parametrize("name", ["sign.key", "manifest.json"])
def test_a_missing_file_is_named_before_anything_is_written(federation: Path, empty: Path, name: str) -> None:
    (federation / "node/NL" / name).unlink()
    with pytest.raises(ConfigError, match=name):
        install(federation / "node/NL", empty)
    assert list(empty.iterdir()) == []


def test_the_command_says_what_it_did(federation: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["home", "install", "--from", str(federation / "node/NL"), "--to", str(empty), "--json"]
    assert run(given) == 0
    assert json.loads(capsys.readouterr().out) == {"files": 8, "manifest_version": 1}
    assert run(["home", "install", "--from", str(empty / "nowhere"), "--to", str(empty)]) == 2
