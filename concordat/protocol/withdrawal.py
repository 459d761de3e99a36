"""Withdrawals and receipts: what a party signs when it takes values back, and who was told of them (3.8; LB-22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.tokens import REFERENCE_BYTES, column
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest

WITHDRAW_DOMAIN: Final = "withdraw"
RECEIPT_DOMAIN: Final = "receipt"
MAX_REFERENCES: Final = 4096
MAX_TIME_MS: Final = 1 << 47
"""Unix milliseconds, far in the future: any program can still write it as a date, and add days to it."""
EDGE_ID_BYTES: Final = 16
B = TypeVar("B", bound=Message)


def sign_withdraw(
    references: Sequence[bytes], *, federation: str, party: str, issued_at_ms: int, key: SigningKey
) -> wire.Withdraw:
    """Sign the withdrawal of a party's own references, at most 4 096 of 16 bytes."""
    body = wire.WithdrawBody(
        federation=federation, party=party, references=b"".join(references), issued_at_ms=issued_at_ms
    )
    raw = body.SerializeToString(deterministic=True)
    return wire.Withdraw(body=raw, signature=key.sign(WITHDRAW_DOMAIN, raw))


def accept_withdraw(withdraw: wire.Withdraw, *, party: str, manifest: Manifest) -> list[bytes]:
    """Read a withdrawal and check that the session's party signed it; return the references.

    There is no expiry: a withdrawal that comes late, or again, is as good, as no reference comes to life again.

    Raises:
        ProtocolError: Unreadable, without references, or with too many.
        IdentityError: Of another party than the session's, or badly signed.
        RefusedError: Of another federation.
    """
    body = read_body(wire.WithdrawBody, withdraw.body, "the withdrawal")
    require_signer(body.party, party)
    manifest.party_by_id(party).verify_key.verify(WITHDRAW_DOMAIN, withdraw.signature, withdraw.body)
    if body.federation != manifest.federation:
        raise RefusedError("the withdrawal is of another federation")
    references = column(body.references, REFERENCE_BYTES)
    if not 1 <= len(references) <= MAX_REFERENCES:
        raise ProtocolError(f"a withdrawal has 1 to {MAX_REFERENCES} references", code="too_large")
    return references


def sign_receipt(body: wire.ReceiptBody, key: SigningKey) -> wire.Receipt:
    """Serialise and sign the receipt of a withdrawal."""
    raw = body.SerializeToString(deterministic=True)
    return wire.Receipt(body=raw, signature=key.sign(RECEIPT_DOMAIN, raw))


def accept_receipt(receipt: wire.Receipt, *, signer: str, manifest: Manifest) -> wire.ReceiptBody:
    """Read a receipt and check its signature.

    Args:
        receipt: As received.
        signer: SPIFFE id of the party that must have signed it.
        manifest: In force.

    Raises:
        ProtocolError: Unreadable, or an id of another size.
        IdentityError: Of another party, or badly signed.
    """
    body = read_body(wire.ReceiptBody, receipt.body, "the receipt")
    require_signer(body.signer, signer)
    manifest.party_by_id(signer).verify_key.verify(RECEIPT_DOMAIN, receipt.signature, receipt.body)
    if (len(body.reference), len(body.edge_id)) != (REFERENCE_BYTES, EDGE_ID_BYTES):
        raise ProtocolError("a receipt names an edge and a reference of 16 bytes each")
    require_time(body.taken_at_ms)
    return body


def read_body(kind: type[B], raw: bytes, what: str) -> B:
    """Read the signed bytes of a message.

    Raises:
        ProtocolError: They cannot be read; `what` names the message.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise ProtocolError(f"{what} cannot be read") from error


def require_signer(named: str, signer: str) -> None:
    """Refuse a message that names another signer than the party that presents it.

    Raises:
        IdentityError: It does.
    """
    if named != signer:
        raise IdentityError("the message names another signer than the one that presents it")


def require_time(at_ms: int) -> None:
    """Refuse a time that cannot be shown: whoever signed it could close a page to its readers for good.

    Raises:
        ProtocolError: It is none.
    """
    if not 0 <= at_ms <= MAX_TIME_MS:
        raise ProtocolError("a message names a time that is none")
