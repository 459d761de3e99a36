"""A party's folder: its keys, its certificate, the pinned root keys and the manifest in force.

    tls.key tls.crt tls-roots.crt   mTLS
    sign.key seal.key               the party's own keys (a gateway has no seal.key)
    root-keys.json manifest.json    pinned root keys; the signed manifest
    manifest.version                the highest manifest seen; a lower one is refused for ever
    masks/EPOCH.key                 mask keys, nodes and partners only
    shares/EPOCH-CLASS.json         key shares, custodians only

Whatever is secret is 0600 and the owner's, or nothing is loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError, IdentityError
from concordat.identity.certificates import TlsPair, der_of, expiry_of, is_issued_under, peer_of
from concordat.identity.files import read_private, read_public, write_private, write_public
from concordat.identity.keys import SealingKey, SigningKey
from concordat.identity.names import Role, SpiffeId
from concordat.identity.signed_manifest import RootKeys, load_manifest
from concordat.oprf.server import KeyShare
from concordat.tokens import MASK_KEY_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.clock import Clock
    from concordat.identity.manifest import KeyClass, Manifest

_VERSION: Final = re.compile(rb"([1-9][0-9]{0,9}) ([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Home:
    """What a party's process knows about itself and the federation."""

    path: Path
    identity: SpiffeId
    manifest: Manifest
    roots: RootKeys
    signing_key: SigningKey
    sealing_key: SealingKey | None
    tls: TlsPair
    tls_roots_pem: bytes = field(repr=False)

    def mask_key(self, epoch: int) -> bytes:
        """Return the 32-byte mask key of an epoch in force, checked against the manifest.

        Raises:
            ConfigError: If the party has none, or its file is too open.
            IdentityError: If it is another key than the manifest names.
            RefusedError: If the epoch is not in force.
        """
        expected = self.manifest.mask_key_hash(epoch)
        key = read_private(self.path / "masks" / f"{epoch}.key")
        if len(key) != MASK_KEY_BYTES or hashlib.sha256(key).digest() != expected:
            raise IdentityError(f"the mask key of epoch {epoch} is not the one that the manifest names")
        return key

    def share(self, epoch: int, key_class: KeyClass) -> KeyShare:
        """Return a custodian's own key share, checked against the manifest.

        Raises:
            ConfigError: If there is none, or its file is too open or damaged.
            IdentityError: If this party is no custodian, or the share is not the one that the manifest names.
        """
        own = self.manifest.custodian_by_id(self.identity)
        share = load_share(self.path, epoch, key_class)
        if share.index != own.index or share.public != own.public_share(key_class):
            raise IdentityError(f"the {key_class} key share is not the one that the manifest names")
        return share


def load_home(path: Path, *, clock: Clock) -> Home:
    """Read and check a party's folder.

    Raises:
        ConfigError: If a file is missing, damaged or too open.
        IdentityError: If the manifest does not hold against the pinned root keys, has expired, is older than one seen
            before, or does not name this party with these keys, or if the certificate has expired or is of another
            authority.
    """
    roots = RootKeys.load(path / "root-keys.json")
    manifest = load_manifest(path / "manifest.json", roots, now=clock.now())
    tls = TlsPair(read_private(path / "tls.key"), read_public(path / "tls.crt"))
    tls_roots = read_public(path / "tls-roots.crt")
    identity = peer_of(tls.certificate_pem)
    if clock.now() >= expiry_of(tls.certificate_pem):
        raise IdentityError(f"{path / 'tls.crt'}: the certificate of {identity} has expired")
    if der_of(tls_roots) != der_of("".join(manifest.tls_roots).encode()):
        raise IdentityError(f"{path / 'tls-roots.crt'}: not the TLS roots that the manifest names")
    if not is_issued_under(tls.certificate_pem, tls_roots):
        raise IdentityError(f"{path / 'tls.crt'}: not issued under the TLS roots that the manifest names")
    sealing_key = None if identity.role is Role.GATEWAY else SealingKey.load(path / "seal.key")
    home = Home(
        path=path,
        identity=identity,
        manifest=manifest,
        roots=roots,
        signing_key=SigningKey.load(path / "sign.key"),
        sealing_key=sealing_key,
        tls=tls,
        tls_roots_pem=tls_roots,
    )
    _check_keys(home)
    _hold_version(path / "manifest.version", manifest)
    return home


def save_share(home: Path, epoch: int, key_class: KeyClass, share: KeyShare) -> None:
    """Write a custodian's key share into its folder, 0600.

    Raises:
        ConfigError: If it cannot be written.
    """
    folder = home / "shares"
    folder.mkdir(mode=0o700, exist_ok=True)
    form = {"index": share.index, "secret": share.secret.hex(), "public": share.public.hex()}
    write_private(folder / f"{epoch}-{key_class}.json", json.dumps(form).encode() + b"\n")


def load_share(home: Path, epoch: int, key_class: KeyClass) -> KeyShare:
    """Read a custodian's key share from its folder.

    Raises:
        ConfigError: If it is missing, too open or damaged, or its two halves do not fit.
    """
    path = home / "shares" / f"{epoch}-{key_class}.json"
    try:
        form = json.loads(read_private(path))
        return KeyShare(int(form["index"]), bytes.fromhex(form["secret"]), bytes.fromhex(form["public"]))
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path}: is damaged") from None


def _check_keys(home: Home) -> None:
    if home.manifest.verify_key(home.identity) != home.signing_key.public:
        raise IdentityError(f"{home.path / 'sign.key'}: not the key that the manifest names for {home.identity}")
    if home.sealing_key is None:
        return
    named = (
        home.manifest.custodian_by_id(home.identity).sealing_key
        if home.identity.role is Role.CUSTODIAN
        else home.manifest.party_by_id(home.identity).sealing_key
    )
    if named != home.sealing_key.public.base64():
        raise IdentityError(f"{home.path / 'seal.key'}: not the key that the manifest names for {home.identity}")


def _hold_version(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest below the highest seen, or another one of the same version; note a higher one durably."""
    seen = _seen(path)
    if seen is not None:
        version, digest = seen
        if manifest.version < version:
            raise IdentityError("an older manifest than one seen before is refused", code="stale_manifest")
        if manifest.version == version and manifest.hash != digest:
            raise IdentityError("another manifest of the same version was seen before", code="stale_manifest")
        if manifest.version == version:
            return
        if manifest.version == version + 1 and manifest.previous != digest.hex():
            raise IdentityError("the manifest does not follow the one seen before", code="stale_manifest")
    write_public(path, f"{manifest.version} {manifest.hash.hex()}\n".encode())


def _seen(path: Path) -> tuple[int, bytes] | None:
    if not path.exists():
        return None
    found = _VERSION.fullmatch(read_public(path))
    if found is None:
        raise ConfigError(f"{path}: is damaged; it holds the highest manifest version seen")
    return int(found[1]), bytes.fromhex(found[2].decode())
