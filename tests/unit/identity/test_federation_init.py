"""One command makes a whole federation, or nothing."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from concordat.clock import SystemClock
from concordat.errors import ConfigError, IdentityError, InputError
from concordat.identity.federation import init_federation, steps
from concordat.identity.home import load_home
from concordat.identity.manifest import KeyClass, PartyClass
from concordat.identity.names import Role
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from concordat.oprf.keygen import Plan as KeygenPlan
from concordat.oprf.keygen import audit
from concordat.oprf.keygen_messages import unpack
from tests.unit.identity.small_federation import FEDERATION, PLAN, home

if TYPE_CHECKING:
    from pathlib import Path


def test_the_token_keys_come_from_a_generation_without_dealer_that_the_manifest_lets_anyone_audit(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    manifest = init_federation(tmp_path / "f", PLAN, progress=told.append)
    assert len(told) == steps(PLAN)
    for key_class in KeyClass:
        paths = (tmp_path / "f").glob(f"custodian/*/shares/1-{key_class}.transcript")
        (transcript,) = {path.read_bytes() for path in paths}
        agreed = KeygenPlan(
            federation=manifest.federation,
            key_class=key_class.value,
            t=manifest.threshold,
            session_id=bytes.fromhex(json.loads(unpack(transcript)[0])["session"]),
            roster={one.index: one.verify_key for one in manifest.custodians},
        )
        key, digest = audit(agreed, transcript)
        assert key.public_key == manifest.group_key(key_class)
        assert digest.hex() == manifest.keygen_transcripts[key_class]
        for index in (1, 2, 3):
            assert home(tmp_path / "f", f"custodian/c{index}").share(1, key_class).index == index


def test_an_unsafe_dealers_keys_say_so_in_the_transcript(pristine: Path) -> None:
    transcript = (pristine / "custodian/c1/shares/1-weak.transcript").read_bytes()
    assert transcript.startswith(b"unsafe dealer")


def test_every_folder_is_0700_and_every_secret_0600(pristine: Path) -> None:
    for path in pristine.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        secret = path.suffix == ".key" or (path.parent.name == "shares" and path.suffix == ".json")
        expected = 0o700 if path.is_dir() else (0o600 if secret else 0o644)
        assert (path.name, oct(mode)) == (path.name, oct(expected))


def test_the_mask_key_is_in_the_nodes_folders_only(pristine: Path) -> None:
    key = (pristine / "node/NL/masks/1.key").read_bytes()
    assert {
        str(path.relative_to(pristine)) for path in pristine.rglob("*") if path.is_file() and key in path.read_bytes()
    } == {
        "node/NL/masks/1.key",
        "node/DE/masks/1.key",
    }


def test_no_share_and_no_root_key_lies_in_another_partys_folder(pristine: Path) -> None:
    places = {path.parent.parent.relative_to(pristine).as_posix() for path in pristine.rglob("shares/*.json")}
    assert places == {"custodian/c1", "custodian/c2", "custodian/c3"}
    assert {path.name for path in (pristine / "roots").iterdir()} == {"c1.key", "c2.key", "c3.key", "hub.key"}
    assert not list(pristine.rglob("*ca*.key"))


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/mine").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        init_federation(tmp_path / "f", PLAN)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        init_federation(tmp_path / "file", PLAN)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["f", "file", "mine"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    init_federation(tmp_path / "f", PLAN, unsafe_dealer=True)
    load_home(tmp_path / "f/node/NL", clock=SystemClock())


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(step: str) -> None:
        if step == "folder of NL":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        init_federation(tmp_path / "f", PLAN, unsafe_dealer=True, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_what_the_plan_says_is_in_the_manifest(tmp_path: Path) -> None:
    plan = FederationPlan(
        name=FEDERATION,
        nodes=(NodePlan.parse("NL"), NodePlan.parse("EUROPOL"), NodePlan.parse("UK")),
        custodians=5,
        threshold=3,
        partners=(PartnerPlan(name="IJM", rights={"investigation": ("e164", "email")}),),
        gateway_address="gateway.example:443",
        api_address="gateway.example:8443",
        custodian_addresses=tuple(f"c{index}.example:443" for index in range(1, 6)),
        quotas={PartyClass.EU_STATE: {KeyClass.STRONG: 100}},
        opt_in={"NL": (PartyClass.EU_STATE,)},
        rules_versions={"e164": 1, "email": 2},
        tick_ms=20,
        window_ms=60,
    )
    manifest = init_federation(tmp_path / "f", plan, unsafe_dealer=True)
    assert (manifest.threshold, manifest.total, manifest.tick_ms, manifest.window_ms) == (3, 5, 20, 60)
    assert manifest.custodian(5).address == "c5.example:443"
    assert manifest.gateways[0].address == "gateway.example:443"
    assert [(party.spiffe.role, party.party_class, party.region) for party in manifest.parties] == [
        (Role.NODE, PartyClass.EU_STATE, "NL"),
        (Role.NODE, PartyClass.EU_AGENCY, None),
        (Role.NODE, PartyClass.THIRD_COUNTRY, "GB"),
        (Role.PARTNER, PartyClass.PARTNER, None),
        (Role.CONSOLE, PartyClass.OPERATOR, None),
    ]
    assert manifest.may_query("IJM", "investigation", "e164")
    assert not manifest.may_query("IJM", "investigation", "iban")
    assert not manifest.may_query("IJM", "detection", "e164")
    assert manifest.gateways[0].api_address == "gateway.example:8443"
    assert manifest.custodian_quota(PartyClass.EU_STATE, KeyClass.STRONG) == 60
    assert manifest.opt_in["NL"] == (PartyClass.EU_STATE,)
    assert manifest.may_ask(PartyClass.THIRD_COUNTRY, "EUROPOL")
    assert not manifest.may_ask(PartyClass.PARTNER, "EUROPOL")
    assert {name: window.current for name, window in manifest.rules_versions.items()} == {"e164": 1, "email": 2}
    assert b"c5.example" in _subject_names((tmp_path / "f/custodian/c5/tls.crt").read_bytes())


def _subject_names(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 4},
        {"custodian_addresses": ("localhost:1",)},
        {"nodes": ()},
        {"nodes": (NodePlan.parse("NL"), NodePlan.parse("NL"))},
        {"opt_in": {"XX": ()}},
        {"gateway_address": "nowhere"},
        {"more": 1},
        {"custodians": 10},
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FederationPlan.model_validate({**PLAN.model_dump(), **change})


def test_a_federation_whose_name_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(IdentityError):
        init_federation(tmp_path / "f", PLAN.model_copy(update={"name": "No Name"}), unsafe_dealer=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["NL:king", "ACME", "", ":partner:x"])
def test_a_node_without_a_clear_class_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NAME:CLASS"):
        NodePlan.parse(text)
