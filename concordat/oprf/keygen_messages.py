"""What participants of a key generation agree on beforehand, and the signed messages that they exchange.

A message is one byte for its kind, a signature of 64 bytes, and a payload: JSON with sorted keys and without spaces.
A payload that is not written exactly so, has a field too many or too few, or names another session or sender, is
refused. The signature is made for the domain `keygen/KIND`.

Nothing here knows `concordat.identity`: keys come in as objects that fit the small protocols below, which the classes
of `concordat.identity.keys` do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from concordat.errors import ConfigError, IdentityError, ProtocolError
from concordat.oprf.threshold import check_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MESSAGE_BYTES: Final = 64 * 1024
SIGNATURE_BYTES: Final = 64
KEY_CLASSES: Final = ("strong", "weak", "person")


class Signer(Protocol):
    """Signs for this participant."""

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return a signature of 64 bytes, made for one domain only."""


class Verifier(Protocol):
    """Checks the signatures of one participant."""

    @property
    def raw(self) -> bytes:
        """The public key."""

    def verify(self, domain: str, signature: bytes, message: bytes) -> None:
        """Return if the signature fits, raise `IdentityError` if not."""


class Sealer(Protocol):
    """Seals to one public key."""

    def seal(self, info: bytes, plaintext: bytes) -> bytes:
        """Return what only the key's holder opens, with the same info."""


class SealPublic(Protocol):
    """The public half of an `Opener`."""

    @property
    def raw(self) -> bytes:
        """The public key."""


class Opener(Protocol):
    """Opens what was sealed to it."""

    @property
    def public(self) -> SealPublic:
        """The public half."""

    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext, or raise `IdentityError`."""


@dataclass(frozen=True)
class Sealing:
    """How to make sealing keys: `Sealing(SealingKey, SealingPublicKey, 96)` of `concordat.identity.keys`.

    Attributes:
        opener: makes a private key from a seed, always the same from the same.
        sealer: makes a public key from its raw form; it or its `seal` raises `IdentityError` if that is no key.
        seed_bytes: length of a seed.
    """

    opener: Callable[[bytes], Opener]
    sealer: Callable[[bytes], Sealer]
    seed_bytes: int


class KeygenAbortError(ProtocolError):
    """A key generation ended without a key; everything drawn for it is to be thrown away.

    Attributes:
        accused: index of the participant whose message is missing, invalid or different; None where it takes all.
        accuser: index of the participant whose word it is; None where it is plain to see for who raises this.
        liar: where a share was opened, who of the two lied.
    """

    def __init__(
        self, message: str, *, accused: int | None, accuser: int | None = None, liar: int | None = None
    ) -> None:
        super().__init__(message)
        self.accused = accused
        self.accuser = accuser
        self.liar = liar


@dataclass(frozen=True)
class Plan:
    """What all participants agree on before they start; its hash is in every message.

    Attributes:
        federation: name of the federation.
        key_class: which of the three keys this is.
        t: custodians that an evaluation will need.
        session_id: 32 bytes that no other key generation has.
        roster: index (1 to n) → who checks that participant's signatures.
    """

    federation: str
    key_class: str
    t: int
    session_id: bytes
    roster: Mapping[int, Verifier] = field(hash=False)

    def __post_init__(self) -> None:
        if self.key_class not in KEY_CLASSES:
            raise ConfigError(f"a key class is one of {', '.join(KEY_CLASSES)}")
        if not self.federation or len(self.session_id) != 32:
            raise ConfigError("a key generation has a federation and a session id of 32 bytes")
        roster = dict(sorted(self.roster.items()))
        check_size(self.t, len(roster))
        if list(roster) != list(range(1, len(roster) + 1)):
            raise ConfigError("participants are numbered 1 to n")
        if len({v.raw for v in roster.values()}) != len(roster):
            raise ConfigError("two participants have the same key")
        object.__setattr__(self, "roster", MappingProxyType(roster))

    @property
    def n(self) -> int:
        """How many participants there are."""
        return len(self.roster)

    def others(self, index: int) -> list[int]:
        """Return the other participants in order; lists in messages follow it."""
        return [i for i in self.roster if i != index]

    def encode(self) -> bytes:
        """Return the canonical form."""
        return canonical(
            {
                "class": self.key_class,
                "federation": self.federation,
                "roster": [v.raw.hex() for v in self.roster.values()],
                "session": self.session_id.hex(),
                "t": self.t,
                "v": 1,
            }
        )

    def digest(self) -> bytes:
        """Return the SHA-256 that binds messages, proofs and sealed shares to this key generation."""
        return hashlib.sha256(b"concordat/v1/keygen/plan\0" + self.encode()).digest()

    def share_info(self, sender: int, recipient: int) -> bytes:
        """Return what a sealed share is bound to: session, sender, recipient and class."""
        return b"concordat/v1/keygen/share\0" + canonical(
            {"class": self.key_class, "from": sender, "plan": self.digest().hex(), "to": recipient}
        )


def canonical(value: Any) -> bytes:
    """Write JSON in the one form that is signed and hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _hex(size: int) -> Any:
    return Field(pattern=rf"^[0-9a-f]{{{2 * size}}}$", min_length=2 * size, max_length=2 * size)


Hex32 = Annotated[str, _hex(32)]
Hex64 = Annotated[str, _hex(64)]
HexAny = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=2 * 2048)]
Index = Annotated[int, Field(ge=1, le=9)]


class Message(BaseModel):
    """The fields of every message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1]
    session: Hex32
    sender: Index


class Commit(Message):
    """Round 1: a hash of what will be opened, and a one-time sealing key for each other participant's share."""

    commitment: Hex32
    keys: list[HexAny]


class Opening(Message):
    """Round 2: Feldman commitments with proof of possession, and one sealed share for each other participant.

    With the hash of every message of round 1 as received: else who shows its one-time keys to one and other keys to
    another could make an honest sender of a share look like a liar.
    """

    commits: list[Hex32]
    feldman: list[Hex32]
    proof: Hex64
    salt: Hex32
    shares: list[HexAny]


class Echo(Message):
    """Round 3 in either form: the hash of every message as received."""

    commits: list[Hex32]
    openings: list[Hex32]


class Confirm(Echo):
    """Round 3: all is well; with the hash of the whole transcript."""

    transcript: Hex32


class Complaint(Echo):
    """Round 3 instead: a share is bad; opens the one-time key that it was sealed to, and so that share to all."""

    accused: Index
    seed: HexAny


class Reveal(Message):
    """The accused's answer: the share as it should have been."""

    accuser: Index
    share: Hex32


KINDS: Final[Mapping[type[Message], tuple[bytes, str]]] = MappingProxyType(
    {
        Commit: (b"1", "keygen/commit"),
        Opening: (b"2", "keygen/open"),
        Confirm: (b"3", "keygen/confirm"),
        Complaint: (b"4", "keygen/complaint"),
        Reveal: (b"5", "keygen/reveal"),
    }
)

M = TypeVar("M", bound=Message)


def is_kind(kind: type[Message], message: bytes) -> bool:
    """Say whether a message claims to be of a kind."""
    return message[:1] == KINDS[kind][0]


def write(message: Message, signer: Signer) -> bytes:
    """Sign a message."""
    tag, domain = KINDS[type(message)]
    payload = canonical(message.model_dump())
    return tag + signer.sign(domain, payload) + payload


def read(plan: Plan, kind: type[M], sender: int, message: bytes) -> M:
    """Read a message that should be of a kind, of a participant and of this key generation.

    Raises:
        KeygenAbortError: it is too large, of another kind, not signed by the sender, not canonical, or of another
            session; names the sender.
    """
    tag, domain = KINDS[kind]
    if len(message) > MAX_MESSAGE_BYTES:
        raise _bad(sender, f"its message is over {MAX_MESSAGE_BYTES} bytes")
    if message[:1] != tag:
        raise _bad(sender, f"its message is not of the kind {kind.__name__}")
    payload = message[1 + SIGNATURE_BYTES :]
    try:
        plan.roster[sender].verify(domain, message[1 : 1 + SIGNATURE_BYTES], payload)
    except IdentityError as e:
        raise _bad(sender, "its message is not signed by it") from e
    try:
        read_ = kind.model_validate_json(payload)
    except ValidationError as e:
        # Without the cause's text: pydantic quotes the input.
        fields = ", ".join(sorted({str(error["loc"][0]) if error["loc"] else "json" for error in e.errors()}))
        raise _bad(sender, f"its message does not fit the schema: {fields}") from None
    if canonical(read_.model_dump()) != payload:
        raise _bad(sender, "its message is not in the canonical form")
    if read_.session != plan.digest().hex() or read_.sender != sender:
        raise _bad(sender, "its message is of another session or sender")
    return read_


def _bad(sender: int, text: str) -> KeygenAbortError:
    return KeygenAbortError(f"participant {sender}: {text}", accused=sender)


def pack(messages: list[bytes]) -> bytes:
    """Join messages behind their lengths (4 bytes, big-endian)."""
    return b"".join(len(m).to_bytes(4, "big") + m for m in messages)


def unpack(packed: bytes) -> list[bytes]:
    """Cut what `pack` joined.

    Raises:
        ProtocolError: a length leads past the end.
    """
    messages = []
    at = 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "big")
        if at + 4 > len(packed) or end > len(packed):
            raise ProtocolError("a transcript is cut")
        messages.append(packed[at + 4 : end])
        at = end
    return messages
