"""A manifest that contradicts itself does not come into being."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from concordat.errors import IdentityError, RefusedError
from concordat.identity.keys import SealingKey, SigningKey
from concordat.identity.manifest import KeyClass, Manifest, PartyClass
from concordat.identity.names import Role, SpiffeId
from concordat.oprf.threshold import GroupKey
from tests.unit.identity.small_federation import FEDERATION, home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def manifest(pristine: Path) -> Manifest:
    return home(pristine, "node/NL").manifest


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(form: Any) -> None:
        for step in path[:-1]:
            form = form[step]
        form[path[-1]] = to

    return change


def _copy(source: tuple[Any, ...], target: tuple[Any, ...]) -> Callable[[Any], None]:
    def change(form: Any) -> None:
        value = form
        for step in source:
            value = value[step]
        _set(*target, to=value)(form)

    return change


def _drop(*path: Any) -> Callable[[Any], None]:
    def change(form: Any) -> None:
        for step in path[:-1]:
            form = form[step]
        del form[path[-1]]

    return change


CHANGES: dict[str, Callable[[Any], None]] = {
    "an unknown field": _set("more", to=1),
    "an unknown field in a party": _set("parties", 0, "more", to=1),
    "a missing field": _drop("domain"),
    "expiry before issue": _set("expires", to=0),
    "a later version without predecessor": _set("version", to=2),
    "a threshold above n": _set("threshold", to=4),
    "n that is not the number of custodians": _set("total", to=4),
    "a gap in the indices": _set("custodians", 2, "index", to=4),
    "an index twice": _set("custodians", 2, "index", to=1),
    "a window shorter than a tick": _set("window_ms", to=100),
    "a party of another federation": _set("parties", 0, "id", to="spiffe://other.example/node/NL"),
    "a name that is none": _set("parties", 0, "id", to="spiffe://test.example/node/"),
    "a short name that is not the id's": _set("parties", 0, "name", to="XX"),
    "a party twice": _copy(("parties", 0), ("parties", 1)),
    "names that differ in case only": lambda form: form["parties"][1].update(
        id=f"spiffe://{FEDERATION}/node/nl", name="nl"
    ),
    "a custodian among the parties": _set("parties", 0, "id", to=f"spiffe://{FEDERATION}/custodian/NL"),
    "a node among the custodians": _set("custodians", 0, "id", to=f"spiffe://{FEDERATION}/node/c1"),
    "a node among the gateways": _set("gateways", 0, "id", to=f"spiffe://{FEDERATION}/node/g1"),
    "a signing key of two parties": _copy(("parties", 0, "identity_key"), ("parties", 1, "identity_key")),
    "a party's key at a custodian": _copy(("parties", 0, "identity_key"), ("custodians", 0, "signing_key")),
    "a sealing key of two parties": _copy(("parties", 0, "sealing_key"), ("parties", 1, "sealing_key")),
    "a public share of two custodians": _copy(
        ("custodians", 0, "public_shares", "weak"), ("custodians", 1, "public_shares", "weak")
    ),
    "a group key of two classes": _copy(("group_keys", "strong"), ("group_keys", "weak")),
    "a class without group key": _drop("group_keys", "person"),
    "a class without transcript": _drop("keygen_transcripts", "weak"),
    "a class without public share": _drop("custodians", 1, "public_shares", "strong"),
    "an unknown class": _set("group_keys", "other", to="00" * 32),
    "an epoch without mask key": _set("epochs", "next", to=2),
    "an opt-in row of nobody": _set("opt_in", "XX", to=[]),
    "an unknown party class": _set("opt_in", "NL", to=["everyone"]),
    "a negative quota": _set("quotas", "partner", "weak", to=-1),
    "an address without port": _set("gateways", 0, "address", to="localhost"),
    "a port that is none": _set("gateways", 0, "address", to="localhost:70000"),
    "a TLS root that is none": _set("tls_roots", to=["x"]),
    "no TLS root": _set("tls_roots", to=[]),
    "a key in capitals": lambda form: form["parties"][0].update(
        identity_key=form["parties"][0]["identity_key"].upper() + ""
    ),
    "too many gateways": _set("gateways", to=[{}] * 65),
    "a region that is no country": _set("parties", 0, "region", to="Nederland"),
}


def test_the_unchanged_form_is_valid(manifest: Manifest) -> None:
    assert Manifest.model_validate_json(manifest.payload) == manifest


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_contradicts_itself_is_refused(manifest: Manifest, change: str) -> None:
    form = json.loads(manifest.payload)
    CHANGES[change](form)
    with pytest.raises(ValidationError):
        Manifest.model_validate_json(json.dumps(form))


def test_look_ups_find_who_is_named_and_refuse_the_rest(manifest: Manifest) -> None:
    nl = SpiffeId(FEDERATION, Role.NODE, "NL")
    stranger = SpiffeId(FEDERATION, Role.NODE, "XX")
    assert manifest.party("NL") is manifest.party_by_id(nl)
    assert manifest.party("NL").party_class is PartyClass.EU_STATE
    assert manifest.party("NL").region == "NL"
    assert [party.name for party in manifest.nodes] == ["NL", "DE"]
    assert manifest.custodian(2) is manifest.custodian_by_id(SpiffeId(FEDERATION, Role.CUSTODIAN, "c2"))
    assert manifest.gateway_by_id(SpiffeId(FEDERATION, Role.GATEWAY, "g1")) is manifest.gateways[0]
    assert manifest.knows(nl)
    assert not manifest.knows(stranger)
    assert manifest.verify_key(nl) == manifest.party("NL").verify_key
    look_ups: list[Callable[[], object]] = [
        lambda: manifest.party("XX"),
        lambda: manifest.party("nl"),
        lambda: manifest.party_by_id(stranger),
        lambda: manifest.custodian(4),
        lambda: manifest.custodian_by_id(nl),
        lambda: manifest.gateway_by_id(nl),
        lambda: manifest.verify_key(stranger),
    ]
    for look_up in look_ups:
        with pytest.raises(IdentityError):
            look_up()


def test_whom_a_holder_answers_is_what_its_row_says_and_a_missing_row_refuses(manifest: Manifest) -> None:
    closed = manifest.model_copy(update={"opt_in": {"NL": (PartyClass.EU_STATE,)}})
    assert closed.may_ask(PartyClass.EU_STATE, "NL")
    assert not closed.may_ask(PartyClass.PARTNER, "NL")
    assert not closed.may_ask(PartyClass.EU_STATE, "DE")


def test_a_custodians_quota_is_floor_of_budget_times_t_over_n(manifest: Manifest) -> None:
    few = manifest.model_copy(update={"quotas": {PartyClass.PARTNER: {KeyClass.STRONG: 10}}})
    assert few.custodian_quota(PartyClass.PARTNER, KeyClass.STRONG) == 6
    assert few.custodian_quota(PartyClass.PARTNER, KeyClass.WEAK) == 0
    assert few.custodian_quota(PartyClass.EU_STATE, KeyClass.STRONG) == 0


def test_a_mask_key_hash_is_there_for_epochs_in_force_only(manifest: Manifest) -> None:
    assert len(manifest.mask_key_hash(1)) == 32
    with pytest.raises(RefusedError) as caught:
        manifest.mask_key_hash(2)
    assert caught.value.code == "stale_epoch"


@pytest.mark.parametrize("key_class", KeyClass)
def test_the_public_shares_of_each_class_lie_on_one_polynomial_with_the_group_key(
    manifest: Manifest, key_class: KeyClass
) -> None:
    shares = {one.index: one.public_share(key_class) for one in manifest.custodians}
    assert GroupKey.from_shares(manifest.threshold, shares).public_key == manifest.group_key(key_class)


def test_the_hash_does_not_depend_on_the_order_in_which_a_table_was_written(manifest: Manifest) -> None:
    backwards = manifest.model_copy(update={"opt_in": dict(list(manifest.opt_in.items())[::-1])})
    assert list(backwards.opt_in) != list(manifest.opt_in)
    assert Manifest.model_validate(backwards.model_dump()).hash == manifest.hash


def test_the_keys_of_a_party_serve_its_peers(pristine: Path) -> None:
    nl = home(pristine, "node/NL")
    de = home(pristine, "node/DE")
    seen = nl.manifest.party("DE")
    seen.verify_key.verify("check", de.signing_key.sign("check", b"header"), b"header")
    assert isinstance(de.sealing_key, SealingKey)
    assert de.sealing_key.open(b"i", seen.seal_to.seal(b"i", b"x")) == b"x"
    assert isinstance(de.signing_key, SigningKey)
