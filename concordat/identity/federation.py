"""A whole local federation in one folder: authority, keys, token keys, manifest, and one folder per party.

    DIR/custodian/c1 ...  DIR/gateway/g1  DIR/node/NL ...  DIR/partner/IJM ...  DIR/console/console
    DIR/roots/OPERATOR.key

It plays the part of every authority on one machine, for demonstrations, tests and pilots; between real authorities each
party makes its own folder. The TLS authority's key is forgotten when the folders are made. The result appears at once
or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from concordat.clock import Clock, SystemClock
from concordat.config import explain
from concordat.errors import ConfigError, InputError
from concordat.identity.certificates import LocalAuthority
from concordat.identity.files import write_private, write_public
from concordat.identity.home import save_share
from concordat.identity.keys import SealingKey, SealingPublicKey, SigningKey
from concordat.identity.manifest import Custodian, Gateway, KeyClass, Manifest, Party, PartyClass, Window
from concordat.identity.names import Role, SpiffeId
from concordat.identity.plan import CONSOLE_NAME
from concordat.identity.signed_manifest import RootKeys, sign_manifest
from concordat.oprf.keygen import Participant, Sealing, run_keygen
from concordat.oprf.keygen import Plan as KeygenPlan
from concordat.oprf.threshold import unsafe_deal
from concordat.tokens import MASK_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from concordat.identity.plan import FederationPlan
    from concordat.oprf.server import KeyShare
    from concordat.oprf.threshold import GroupKey

HUB_OPERATOR: Final = "hub"
FIRST_EPOCH: Final = 1
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The outcome of one key generation."""

    group: GroupKey
    shares: tuple[KeyShare, ...]
    transcript: bytes
    transcript_digest: bytes


@dataclass(frozen=True, slots=True)
class _Member:
    """One party while its folder is being made."""

    spiffe: SpiffeId
    signing: SigningKey
    sealing: SealingKey | None
    hosts: tuple[str, ...]


def init_federation(
    directory: Path,
    plan: FederationPlan,
    *,
    clock: Clock | None = None,
    unsafe_dealer: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Manifest:
    """Make a local federation in a folder that is new or empty.

    Args:
        directory: Where its folders go.
        plan: Who takes part.
        clock: For issue and expiry times.
        unsafe_dealer: Deal the token keys, so that one process knew them, instead of generating them without a dealer.
        progress: Told each step, in a few words.

    Returns:
        The manifest in force.

    Raises:
        ConfigError: If the folder is not empty or cannot be written.
        InputError: If the plan does not make a valid manifest.
    """
    _refuse_used(directory)
    draft = directory.with_name(f".{directory.name}.draft-{os.getpid()}")
    tell = progress or _silent
    try:
        draft.mkdir(mode=0o700, parents=True)
        manifest = _make(draft, plan, clock or SystemClock(), unsafe_dealer=unsafe_dealer, tell=tell)
        # rename(2) replaces an empty folder and fails on one that was filled meanwhile.
        draft.replace(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made ({error.strerror})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def steps(plan: FederationPlan) -> int:
    """Return how often `init_federation` reports progress, for a bar."""
    parties = len(plan.nodes) + len(plan.partners) + int(plan.console)
    return len(KeyClass) + 1 + 2 * (plan.custodians + 1 + parties)


def _make(
    root: Path, plan: FederationPlan, clock: Clock, *, unsafe_dealer: bool, tell: Callable[[str], None]
) -> Manifest:
    members = list(_members(plan, tell))
    custodians = [one for one in members if one.spiffe.role is Role.CUSTODIAN]
    generate = _deal if unsafe_dealer else _generate
    token_keys = {}
    for key_class in KeyClass:
        token_keys[key_class] = generate(plan, key_class, custodians)
        tell(f"token key {key_class}")
    authority = LocalAuthority.create(plan.name, clock=clock)
    mask_key = os.urandom(MASK_KEY_BYTES)
    operators = {one.spiffe.name: SigningKey.generate() for one in custodians}
    operators[HUB_OPERATOR] = SigningKey.generate()
    roots = _root_keys(plan, operators)
    manifest = _manifest(plan, members, token_keys, _issue(plan, clock, authority, mask_key))
    signed = sign_manifest(manifest, operators.values()).to_json()
    for operator, key in operators.items():
        key.save(_folder(root, "roots") / f"{operator}.key")
    tell("manifest")
    for member in members:
        folder = _folder(root, member.spiffe.role, member.spiffe.name)
        _fill(folder, member, authority, {"root-keys.json": roots.to_json(), "manifest.json": signed})
        if member.spiffe.role in (Role.NODE, Role.PARTNER):
            write_private(_folder(folder, "masks") / f"{FIRST_EPOCH}.key", mask_key)
        tell(f"folder of {member.spiffe.name}")
    for key_class, token_key in token_keys.items():
        for member, share in zip(custodians, token_key.shares, strict=True):
            folder = root / member.spiffe.role / member.spiffe.name
            save_share(folder, FIRST_EPOCH, key_class, share)
            write_public(folder / "shares" / f"{FIRST_EPOCH}-{key_class}.transcript", token_key.transcript)
    return manifest


def _members(plan: FederationPlan, tell: Callable[[str], None]) -> Iterator[_Member]:
    named: list[tuple[Role, str, str | None]] = [
        *((Role.CUSTODIAN, f"c{index}", plan.address_of(index)) for index in range(1, plan.custodians + 1)),
        (Role.GATEWAY, "g1", plan.gateway_address),
        *((Role.NODE, node.name, None) for node in plan.nodes),
        *((Role.PARTNER, partner.name, None) for partner in plan.partners),
        *([(Role.CONSOLE, CONSOLE_NAME, None)] if plan.console else []),
    ]
    for role, name, address in named:
        spiffe = SpiffeId(plan.name, role, name)
        sealing = None if role is Role.GATEWAY else SealingKey.generate()
        yield _Member(spiffe, SigningKey.generate(), sealing, _hosts(address))
        tell(f"keys of {name}")


def _hosts(address: str | None) -> tuple[str, ...]:
    local = ("localhost", "127.0.0.1")
    if address is None:
        return local
    host = address.rpartition(":")[0].strip("[]")
    return local if host in local else (*local, host)


def _deal(plan: FederationPlan, key_class: KeyClass, _custodians: Sequence[_Member]) -> TokenKey:
    group, shares = unsafe_deal(plan.threshold, plan.custodians)
    transcript = b"unsafe dealer, " + key_class.encode()
    return TokenKey(group, shares, transcript, hashlib.sha256(transcript).digest())


def _generate(plan: FederationPlan, key_class: KeyClass, custodians: Sequence[_Member]) -> TokenKey:
    roster = {index: member.signing.public for index, member in enumerate(custodians, 1)}
    agreed = KeygenPlan(
        federation=plan.name,
        key_class=key_class.value,
        t=plan.threshold,
        session_id=os.urandom(32),
        roster=roster,
    )
    sealing = Sealing(SealingKey, SealingPublicKey, SealingKey.SEED_BYTES)
    results = run_keygen(
        [Participant(agreed, index, member.signing, sealing) for index, member in enumerate(custodians, 1)]
    )
    first = results[1]
    return TokenKey(
        first.key, tuple(results[index].share for index in roster), first.transcript, first.transcript_digest
    )


@dataclass(frozen=True, slots=True)
class _Issue:
    issued: int
    expires: int
    tls_root: str
    mask_key_hash: str


def _issue(plan: FederationPlan, clock: Clock, authority: LocalAuthority, mask_key: bytes) -> _Issue:
    now = int(clock.now())
    return _Issue(now, now + plan.days * _DAY_S, authority.root_pem.decode(), hashlib.sha256(mask_key).hexdigest())


def _manifest(
    plan: FederationPlan, members: Sequence[_Member], token_keys: Mapping[KeyClass, TokenKey], issue: _Issue
) -> Manifest:
    by_name = {member.spiffe.name: member for member in members}
    try:
        return Manifest(
            version=1,
            federation=plan.name,
            domain=f"concordat/v1/{plan.name}",
            issued=issue.issued,
            expires=issue.expires,
            threshold=plan.threshold,
            total=plan.custodians,
            custodians=tuple(
                _custodian(index, by_name[f"c{index}"], plan, token_keys) for index in range(1, plan.custodians + 1)
            ),
            group_keys={one: key.group.public_key.hex() for one, key in token_keys.items()},
            keygen_transcripts={one: key.transcript_digest.hex() for one, key in token_keys.items()},
            parties=tuple(_parties(plan, members)),
            gateways=(_gateway(by_name["g1"], plan),),
            tls_roots=(issue.tls_root,),
            epochs=Window(current=FIRST_EPOCH),
            mask_keys={str(FIRST_EPOCH): issue.mask_key_hash},
            rules_versions={namespace: Window(current=number) for namespace, number in plan.rules_versions.items()},
            opt_in=plan.opt_in_table(),
            partner_rights={partner.name: partner.rights for partner in plan.partners},
            quotas=plan.quotas,
            tick_ms=plan.tick_ms,
            window_ms=plan.window_ms,
        )
    except ValidationError as error:
        raise InputError(f"the plan makes no valid manifest: {explain(error)}") from None


def _custodian(index: int, member: _Member, plan: FederationPlan, token_keys: Mapping[KeyClass, TokenKey]) -> Custodian:
    assert member.sealing is not None
    return Custodian(
        index=index,
        id=str(member.spiffe),
        address=plan.address_of(index),
        signing_key=member.signing.public.hex(),
        sealing_key=member.sealing.public.base64(),
        public_shares={one: key.group.public_shares[index].hex() for one, key in token_keys.items()},
    )


def _parties(plan: FederationPlan, members: Sequence[_Member]) -> Iterator[Party]:
    plain = [member for member in members if member.spiffe.role in (Role.NODE, Role.PARTNER, Role.CONSOLE)]
    classes = {
        **{node.name: (node.party_class, node.region) for node in plan.nodes},
        **{partner.name: (PartyClass.PARTNER, None) for partner in plan.partners},
        CONSOLE_NAME: (PartyClass.OPERATOR, None),
    }
    for member in plain:
        assert member.sealing is not None
        party_class, region = classes[member.spiffe.name]
        yield Party(
            id=str(member.spiffe),
            name=member.spiffe.name,
            party_class=party_class,
            region=region,
            identity_key=member.signing.public.hex(),
            sealing_key=member.sealing.public.base64(),
        )


def _gateway(member: _Member, plan: FederationPlan) -> Gateway:
    return Gateway(
        id=str(member.spiffe),
        address=plan.gateway_address,
        api_address=plan.api_address,
        signing_key=member.signing.public.hex(),
    )


def _root_keys(plan: FederationPlan, operators: Mapping[str, SigningKey]) -> RootKeys:
    return RootKeys(
        federation=plan.name,
        # t+1 custodians' operators, or all of them where there are fewer, and the hub's.
        threshold=min(plan.threshold + 1, plan.custodians) + 1,
        keys={operator: key.public.hex() for operator, key in operators.items()},
        required=(HUB_OPERATOR,),
    )


def _fill(folder: Path, member: _Member, authority: LocalAuthority, public: Mapping[str, bytes]) -> None:
    tls = authority.issue(member.spiffe, hosts=member.hosts)
    write_private(folder / "tls.key", tls.key_pem)
    member.signing.save(folder / "sign.key")
    if member.sealing is not None:
        member.sealing.save(folder / "seal.key")
    for name, data in {"tls.crt": tls.certificate_pem, "tls-roots.crt": authority.root_pem, **public}.items():
        write_public(folder / name, data)


def _folder(root: Path, *names: str) -> Path:
    folder = root
    for name in names:
        folder = folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _refuse_used(directory: Path) -> None:
    try:
        used = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read ({error.strerror})") from error
    if used:
        raise ConfigError(f"{directory}: is there already and not empty; name a new folder")


def _silent(_step: str) -> None:
    return None
