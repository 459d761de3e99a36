"""The manifest: what every party of a federation must agree on, signed by the root keys that each has pinned.

These are plain values and the rules that hold between them. Reading, signing and verifying is `signed_manifest`.
Every lookup refuses what the manifest does not name.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import chain
from typing import Annotated, Final, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from concordat.errors import IdentityError, RefusedError
from concordat.identity.keys import SealingPublicKey, VerifyKey
from concordat.identity.names import Role, SpiffeId

T = TypeVar("T")

MAX_PARTIES: Final = 512
EXERCISE_SHARE: Final = 10
"""The budget of exercises is the real one divided by this, and charged apart."""
MAX_CUSTODIANS: Final = 9  # as concordat.oprf.threshold: every t-subset of the public shares is checked
_WORD: Final = r"^[a-z][a-z0-9_]{0,31}$"
_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})", re.ASCII)


class PartyClass(StrEnum):
    """What kind of authority a party is; opt-in and quotas go by class."""

    EU_STATE = "eu_state"
    THIRD_COUNTRY = "third_country"
    INTERNATIONAL_ORGANISATION = "international_organisation"
    EU_AGENCY = "eu_agency"
    PARTNER = "partner"
    OPERATOR = "operator"
    CUSTODIAN = "custodian"


class KeyClass(StrEnum):
    """Which of the three token keys."""

    STRONG = "strong"
    WEAK = "weak"
    PERSON = "person"


def _spiffe(text: str) -> str:
    try:
        SpiffeId.parse(text)
    except IdentityError as error:
        raise ValueError(error.message) from error
    return text


def _verify_key(text: str) -> str:
    try:
        VerifyKey.from_hex(text)
    except IdentityError as error:
        raise ValueError(error.message) from error
    return text


def _sealing_key(text: str) -> str:
    try:
        SealingPublicKey.from_base64(text)
    except IdentityError as error:
        raise ValueError(error.message) from error
    return text


def is_address(text: str) -> bool:
    """Tell whether a text has the form HOST:PORT."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found[1]) <= 65535


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("an address has the form HOST:PORT")
    return text


Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,63}$")]
Word = Annotated[str, StringConstraints(pattern=_WORD)]
Spiffe = Annotated[str, StringConstraints(max_length=400), AfterValidator(_spiffe)]
VerifyHex = Annotated[str, StringConstraints(max_length=64), AfterValidator(_verify_key)]
SealingBase64 = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_sealing_key)]
Address = Annotated[str, StringConstraints(max_length=300), AfterValidator(_address)]
Pem = Annotated[str, StringConstraints(max_length=8192, pattern=r"^-----BEGIN CERTIFICATE-----\n")]
Small = Annotated[int, Field(ge=1, le=1 << 31)]


class Part(BaseModel):
    """Base of the manifest and its parts: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Window(Part):
    """A number in force and, in an overlap, its successor."""

    current: int = Field(ge=1, description="The number in force.")
    next: int | None = Field(default=None, ge=1, description="Its successor while both are in force.")

    @property
    def in_force(self) -> tuple[int, ...]:
        """Return the current number and, in an overlap, the next."""
        return (self.current,) if self.next is None else (self.current, self.next)


class Custodian(Part):
    """One holder of a share of each token key."""

    index: int = Field(ge=1, le=MAX_CUSTODIANS, description="Point of the Shamir polynomial, 1..n.")
    id: Spiffe
    address: Address
    signing_key: VerifyHex
    sealing_key: SealingBase64
    public_shares: Mapping[KeyClass, Hex32] = Field(description="Public share of each class, an encoded group element.")

    @cached_property
    def spiffe(self) -> SpiffeId:
        """Return its name."""
        return SpiffeId.parse(self.id)

    @cached_property
    def verify_key(self) -> VerifyKey:
        """Return the key that checks its signatures."""
        return VerifyKey.from_hex(self.signing_key)

    def public_share(self, key_class: KeyClass) -> bytes:
        """Return its 32-byte public share of one class."""
        return bytes.fromhex(self.public_shares[key_class])


class Party(Part):
    """A node, a partner or a console."""

    id: Spiffe
    name: Name
    party_class: PartyClass
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$", description="Country of national phone numbers.")
    identity_key: VerifyHex
    sealing_key: SealingBase64

    @cached_property
    def spiffe(self) -> SpiffeId:
        """Return its name in full."""
        return SpiffeId.parse(self.id)

    @cached_property
    def verify_key(self) -> VerifyKey:
        """Return the key that checks its signatures."""
        return VerifyKey.from_hex(self.identity_key)

    @cached_property
    def seal_to(self) -> SealingPublicKey:
        """Return the key to which content for it is sealed."""
        return SealingPublicKey.from_base64(self.sealing_key)


class Gateway(Part):
    """One replica of the hub."""

    id: Spiffe
    address: Address
    api_address: Address | None = Field(
        default=None, description="Of its HTTPS API for partners and the console; it has none without it."
    )
    signing_key: VerifyHex

    @cached_property
    def spiffe(self) -> SpiffeId:
        """Return its name."""
        return SpiffeId.parse(self.id)

    @cached_property
    def verify_key(self) -> VerifyKey:
        """Return the key that checks its signatures."""
        return VerifyKey.from_hex(self.signing_key)


class Manifest(Part):
    """What all parties of a federation agree on. Times are unix seconds."""

    version: int = Field(ge=1, le=1 << 31)
    federation: str = Field(max_length=253)
    domain: str = Field(min_length=1, max_length=255, description="Domain string of every token input.")
    issued: int = Field(ge=0)
    expires: int = Field(ge=0)
    previous: Hex32 | None = Field(default=None, description="Hash of the manifest before this one.")
    threshold: int = Field(ge=1, le=MAX_CUSTODIANS, description="Custodians needed to evaluate (t).")
    total: int = Field(ge=1, le=MAX_CUSTODIANS, description="Custodians (n).")
    custodians: tuple[Custodian, ...] = Field(min_length=1, max_length=MAX_CUSTODIANS)
    group_keys: Mapping[KeyClass, Hex32]
    keygen_transcripts: Mapping[KeyClass, Hex32] = Field(description="SHA-256 of each key generation's transcript.")
    parties: tuple[Party, ...] = Field(max_length=MAX_PARTIES)
    gateways: tuple[Gateway, ...] = Field(max_length=64)
    tls_roots: tuple[Pem, ...] = Field(min_length=1, max_length=64)
    epochs: Window
    mask_keys: Mapping[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}$")], Hex32]
    rules_versions: Mapping[Word, Window] = Field(max_length=64)
    opt_in: Mapping[Name, tuple[PartyClass, ...]] = Field(
        max_length=MAX_PARTIES, description="Holder -> classes that it answers; a missing row refuses."
    )
    partner_rights: Mapping[Name, Mapping[Word, tuple[Word, ...]]] = Field(
        default_factory=dict,
        max_length=MAX_PARTIES,
        description="Partner -> purpose -> namespaces that it may query for; what no row names is refused (I8).",
    )
    quotas: Mapping[PartyClass, Mapping[KeyClass, Annotated[int, Field(ge=0, le=1 << 40)]]] = Field(
        description="Effective daily budget E of tokens per class; a missing row is zero."
    )
    tick_ms: Small = 250
    window_ms: Small = 500
    plane_log2_slots: int = Field(default=21, ge=10, le=32)
    plane_hashes: int = Field(default=4, ge=1, le=16)
    max_header_age_s: Small = 600
    max_skew_s: int = Field(default=120, ge=0, le=3600)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_times_and_counts()
        self._check_names()
        self._check_keys()
        self._check_classes()
        return self

    def __repr__(self) -> str:
        # Hundreds of keys would drown every log line and traceback that shows a manifest.
        return f"Manifest({self.federation} {self.version}, hash={self.hash.hex()[:16]})"

    @cached_property
    def payload(self) -> bytes:
        """Return the canonical bytes: what is hashed and signed."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def hash(self) -> bytes:
        """Return the 32-byte SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.payload).digest()

    def party(self, name: str) -> Party:
        """Return the party with this short name, such as `NL`.

        Raises:
            IdentityError: If the manifest names none.
        """
        return _found(self._parties_by_name.get(name), "no party of that name")

    def party_by_id(self, spiffe: SpiffeId | str) -> Party:
        """Return the node, partner or console with this name, given parsed or as the wire carries it.

        Raises:
            IdentityError: If the manifest names none, or the text is no name.
        """
        if isinstance(spiffe, str):
            # A name is written in one way only, and this is asked several times for each question.
            found = self._parties_by_text.get(spiffe)
            return found or _found(self._parties_by_id.get(SpiffeId.parse(spiffe)), "no such party")
        return _found(self._parties_by_id.get(spiffe), "no such party")

    def custodian(self, index: int) -> Custodian:
        """Return the custodian of a point 1..n.

        Raises:
            IdentityError: If the manifest names none.
        """
        return _found(next((one for one in self.custodians if one.index == index), None), "no custodian of that index")

    def custodian_by_id(self, spiffe: SpiffeId) -> Custodian:
        """Return the custodian with this name.

        Raises:
            IdentityError: If the manifest names none.
        """
        return _found(next((one for one in self.custodians if one.spiffe == spiffe), None), "no such custodian")

    def gateway_by_id(self, spiffe: SpiffeId) -> Gateway:
        """Return the gateway replica with this name.

        Raises:
            IdentityError: If the manifest names none.
        """
        return _found(next((one for one in self.gateways if one.spiffe == spiffe), None), "no such gateway")

    def knows(self, spiffe: SpiffeId) -> bool:
        """Tell whether the manifest names this party, in whatever role."""
        return spiffe in self._verify_keys

    def verify_key(self, spiffe: SpiffeId) -> VerifyKey:
        """Return the signing key of any party, custodian or gateway.

        Raises:
            IdentityError: If the manifest names none.
        """
        return _found(self._verify_keys.get(spiffe), "no such party")

    def group_key(self, key_class: KeyClass) -> bytes:
        """Return the 32-byte group key of one class."""
        return bytes.fromhex(self.group_keys[key_class])

    def mask_key_hash(self, epoch: int) -> bytes:
        """Return the SHA-256 of an epoch's mask key.

        Raises:
            RefusedError: With code `stale_epoch`, if the epoch is not in force.
        """
        if epoch not in self.epochs.in_force:
            raise RefusedError("the epoch is not in force", code="stale_epoch")
        return bytes.fromhex(self.mask_keys[str(epoch)])

    def may_ask(self, asker: PartyClass, holder: str) -> bool:
        """Tell whether the opt-in table lets a holder answer askers of a class."""
        return asker in self.opt_in.get(holder, ())

    def agreed(self, one: Party, other: Party) -> bool:
        """Tell whether two nodes may be compared: each one's row has the other's class.

        To ask a party is to hand it tokens, so a row that does not let it ask does not let it be asked either (Pruem
        II, art. 60; LB-26). A partner has no records and no row: the node's row alone counts.
        """
        pairs = ((one, other), (other, one))
        return all(
            self.may_ask(asker.party_class, holder.name) for asker, holder in pairs if holder.spiffe.role is Role.NODE
        )

    def may_query(self, partner: str, purpose: str, namespace: str) -> bool:
        """Tell whether a row lets a partner, by its short name, query a namespace for a purpose (3.9)."""
        return namespace in self.partner_rights.get(partner, {}).get(purpose, ())

    def budget(self, party_class: PartyClass, key_class: KeyClass) -> int:
        """Return the effective daily budget E in tokens, per authority."""
        return self.quotas.get(party_class, {}).get(key_class, 0)

    def custodian_quota(self, party_class: PartyClass, key_class: KeyClass, *, exercise: bool = False) -> int:
        """Return what one custodian may evaluate for one authority a day: floor(E * t / n) (invariant I7).

        Exercises have a budget of their own, a tenth of E, so that none is kept from real work by them.
        """
        share = EXERCISE_SHARE if exercise else 1
        return self.budget(party_class, key_class) * self.threshold // (self.total * share)

    @property
    def live_epochs(self) -> tuple[int, ...]:
        """Return the epochs whose tokens may be asked for."""
        return self.epochs.in_force

    @cached_property
    def nodes(self) -> tuple[Party, ...]:
        """Return the parties that have data to be found, in the manifest's order."""
        return tuple(party for party in self.parties if party.spiffe.role is Role.NODE)

    @cached_property
    def _parties_by_name(self) -> dict[str, Party]:
        return {party.name: party for party in self.parties}

    @cached_property
    def _parties_by_text(self) -> dict[str, Party]:
        return {str(spiffe): party for spiffe, party in self._parties_by_id.items()}

    @cached_property
    def _parties_by_id(self) -> dict[SpiffeId, Party]:
        return {party.spiffe: party for party in self.parties}

    @property
    def _members(self) -> tuple[Custodian | Party | Gateway, ...]:
        return (*self.custodians, *self.parties, *self.gateways)

    @cached_property
    def _verify_keys(self) -> dict[SpiffeId, VerifyKey]:
        return {one.spiffe: one.verify_key for one in self._members}

    def _check_times_and_counts(self) -> None:
        _require(self.issued < self.expires, "a manifest expires after it is issued")
        _require(self.version == 1 or self.previous is not None, "a later manifest names the one before it")
        _require(self.threshold <= self.total == len(self.custodians), "threshold, total and custodians do not fit")
        indices = sorted(one.index for one in self.custodians)
        _require(indices == list(range(1, self.total + 1)), "custodians have the indices 1 to n")
        _require(self.window_ms >= self.tick_ms, "a window is at least as long as a tick")

    def _check_names(self) -> None:
        everyone = [one.spiffe for one in self._members]
        _require(all(one.federation == self.federation for one in everyone), "a name is of another federation")
        # DNS names compare without case, so NL and nl would share a TLS name.
        _require(_distinct(one.dns_name for one in everyone), "two parties share a name")
        _require(_distinct(party.name.lower() for party in self.parties), "two parties share a short name")
        _require(all(party.name == party.spiffe.name for party in self.parties), "a short name is not that of its id")
        _require(all(one.spiffe.role is Role.CUSTODIAN for one in self.custodians), "a custodian's role is custodian")
        _require(all(one.spiffe.role is Role.GATEWAY for one in self.gateways), "a gateway's role is gateway")
        plain = {Role.NODE, Role.PARTNER, Role.CONSOLE}
        _require(all(one.spiffe.role in plain for one in self.parties), "a party's role is node, partner or console")
        names = {party.name for party in self.parties}
        _require(set(self.opt_in) <= names, "the opt-in table names a holder that is no party")
        partners = {party.name for party in self.parties if party.spiffe.role is Role.PARTNER}
        _require(set(self.partner_rights) <= partners, "the table of partners' rights names who is no partner")

    def _check_keys(self) -> None:
        signing = chain(
            (one.signing_key for one in self.custodians),
            (one.identity_key for one in self.parties),
            (one.signing_key for one in self.gateways),
        )
        _require(_distinct(signing), "two parties share a signing key")
        sealing = chain((one.sealing_key for one in self.custodians), (one.sealing_key for one in self.parties))
        _require(_distinct(sealing), "two parties share a sealing key")
        for key_class in KeyClass:
            shares = (one.public_shares.get(key_class, "") for one in self.custodians)
            _require(_distinct(shares), "two custodians share a public share")

    def _check_classes(self) -> None:
        classes = set(KeyClass)
        _require(set(self.group_keys) == classes, "a token key class is missing")
        _require(_distinct(self.group_keys.values()), "two classes share a group key")
        _require(set(self.keygen_transcripts) == classes, "a key generation transcript is missing")
        _require(all(set(one.public_shares) == classes for one in self.custodians), "a public share is missing")
        epochs = {str(epoch) for epoch in self.epochs.in_force}
        _require(epochs <= set(self.mask_keys), "an epoch in force has no mask key")


def _found(value: T | None, otherwise: str) -> T:
    if value is None:
        raise IdentityError(f"the manifest names {otherwise}")
    return value


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 -- reads as a sentence at each call
    if not condition:
        raise ValueError(otherwise)


def _distinct(values: Iterable[str]) -> bool:
    found = list(values)
    return len(found) == len(set(found))
