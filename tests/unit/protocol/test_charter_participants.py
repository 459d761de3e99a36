"""A charter is between nodes: whoever takes part gets the key under which labels become sweep tokens (3.6)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.errors import IdentityError, RefusedError
from concordat.identity.home import Home, load_home
from concordat.identity.keys import SealingKey, SigningKey
from concordat.identity.manifest import Manifest
from concordat.protocol.charter import CHARTER_DOMAIN, accept_charter, open_key, seal_key
from concordat.wire.v1 import operations_pb2 as wire
from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder: Path = small_federation.make(tmp_path_factory.mktemp("charter") / "federation")
    return load_home(folder / "node/NL", clock=SystemClock())


def with_party(manifest: Manifest, role: str) -> Manifest:
    """Return a manifest that names one more party, of a role."""
    form = manifest.model_dump(mode="json")
    form["parties"].append(
        {
            "id": f"spiffe://test.example/{role}/extra",
            "name": "extra",
            "party_class": "operator" if role == "console" else "partner",
            "identity_key": SigningKey.generate().public.hex(),
            "sealing_key": SealingKey.generate().public.base64(),
        }
    )
    return Manifest.model_validate(form)


def raw_charter(home: Home, manifest: Manifest, *participants: str) -> bytes:
    charter = wire.Charter(
        federation=manifest.federation,
        manifest_hash=manifest.hash,
        operation="action-day",
        opener=str(home.identity),
        participants=sorted([str(home.identity), *participants]),
        purpose="prevention",
        namespaces=["e164"],
        starts_at=1,
        ends_at=2,
        operation_key_hash=hashlib.sha256(bytes(32)).digest(),
        epoch=1,
        justification_hash=bytes(32),
    )
    return charter.SerializeToString(deterministic=True)


def accept(home: Home, manifest: Manifest, *participants: str) -> wire.Charter:
    raw = raw_charter(home, manifest, *participants)
    return accept_charter(raw, home.signing_key.sign(CHARTER_DOMAIN, raw), manifest=manifest)


def test_a_charter_of_nodes_is_accepted(home: Home) -> None:
    assert accept(home, home.manifest, "spiffe://test.example/node/DE").operation == "action-day"


@pytest.mark.parametrize("role", ["console", "partner"])
def test_a_charter_that_would_give_its_key_to_other_than_nodes_is_refused(home: Home, role: str) -> None:
    """The hub operator runs the console: with the operation key it could link sweep tokens to labels of a node."""
    with pytest.raises(RefusedError):
        accept(home, with_party(home.manifest, role), f"spiffe://test.example/{role}/extra")


@pytest.mark.parametrize("identity", ["custodian/c1", "gateway/g1", "node/XX"])
def test_a_charter_that_names_no_party_is_refused(home: Home, identity: str) -> None:
    with pytest.raises(IdentityError):
        accept(home, home.manifest, f"spiffe://test.example/{identity}")


DE = "spiffe://test.example/node/DE"
KEY = bytes(32)


def opened(home: Home, raw: bytes, sealed: wire.SealedKey) -> bytes:
    assert home.sealing_key is not None
    own = str(home.identity)
    return open_key(sealed, raw, manifest=home.manifest, own=own, key=home.sealing_key).secret()


def sealed_to(home: Home, raw: bytes, recipient: str, key: bytes = KEY) -> wire.SealedKey:
    return seal_key(key, raw, recipient, manifest=home.manifest, opener=home.signing_key)


def test_a_participant_opens_the_key_that_the_charter_names_and_no_other(home: Home) -> None:
    """An opener that gave each participant another key would make a sweep that matches nothing, unseen."""
    raw, own = raw_charter(home, home.manifest, DE), str(home.identity)
    assert opened(home, raw, sealed_to(home, raw, own)) == KEY
    with pytest.raises(IdentityError):
        opened(home, raw, sealed_to(home, raw, own, b"k" * 32))


def test_a_sealed_key_serves_its_recipient_its_charter_and_its_signer_only(home: Home) -> None:
    raw, own = raw_charter(home, home.manifest, DE), str(home.identity)
    other = wire.Charter.FromString(raw)
    other.title = "another"
    good = sealed_to(home, raw, own)
    for_de = sealed_to(home, raw, DE)
    redirected = wire.SealedKey(recipient=own, ciphertext=for_de.ciphertext, signature=for_de.signature)
    unsigned = wire.SealedKey(recipient=own, ciphertext=good.ciphertext, signature=bytes(64))
    for sealed, charter in [
        (for_de, raw),
        (redirected, raw),
        (unsigned, raw),
        (good, other.SerializeToString(deterministic=True)),
    ]:
        with pytest.raises(IdentityError):
            opened(home, charter, sealed)
