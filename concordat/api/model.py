"""Bodies of the partner API, version 1, as the gateway checks them and the SDK writes them (docs/partner-api.md).

Every model refuses unknown fields; bytes travel as base64url without padding. Nothing here holds an identifier: tokens,
blinded elements and MACs only. A `client_ref` of the SDK is not among the fields, as it stays with the partner.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from concordat.base64url import decode, encode
from concordat.identity.manifest import MAX_PARTIES, Hex32, Spiffe, Word
from concordat.protocol.evaluation import ELEMENT_BYTES, MAX_ELEMENTS
from concordat.protocol.macs import MAC_BYTES
from concordat.tokens import REFERENCE_BYTES, TOKEN_BYTES

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""How a client that asks for a token proves who it is (RFC 7523)."""
MAX_QUERY_ITEMS: Final = 1000
MAX_SIGNED_BYTES: Final = 2048
SIGNATURE_BYTES: Final = 64
PROOF_BYTES: Final = 64
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Packed:
    """The form of a field of bytes: text of base64url in JSON, bytes in Python."""

    least: int
    most: int
    multiple: int = 1

    def read(self, value: bytes | str) -> bytes:
        """Return the bytes of a field that may come as text or as bytes.

        Raises:
            ValueError: Not base64url without padding, or of another size.
        """
        if isinstance(value, str) and len(value) > self._letters(self.most):
            raise ValueError("is too long")
        found = decode(value) if isinstance(value, str) else value
        if not self.least <= len(found) <= self.most or len(found) % self.multiple:
            size = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            raise ValueError(f"has {size} bytes" + (f", a multiple of {self.multiple}" if self.multiple > 1 else ""))
        return found

    @staticmethod
    def _letters(size: int) -> int:
        return (size * 8 + 5) // 6

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        either = core_schema.union_schema([core_schema.str_schema(strict=True), core_schema.bytes_schema(strict=True)])
        write = core_schema.plain_serializer_function_ser_schema(encode, when_used="json")
        return core_schema.no_info_after_validator_function(self.read, either, serialization=write)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        least, most = self._letters(self.least), self._letters(self.most)
        return {"type": "string", "pattern": "^[A-Za-z0-9_-]*$", "minLength": least, "maxLength": most}


Signed = Annotated[bytes, Packed(1, MAX_SIGNED_BYTES)]
Signature = Annotated[bytes, Packed(SIGNATURE_BYTES, SIGNATURE_BYTES)]
Elements = Annotated[bytes, Packed(ELEMENT_BYTES, ELEMENT_BYTES * MAX_ELEMENTS, ELEMENT_BYTES)]
Proof = Annotated[bytes, Packed(PROOF_BYTES, PROOF_BYTES)]
Token = Annotated[bytes, Packed(TOKEN_BYTES, TOKEN_BYTES)]
Reference = Annotated[bytes, Packed(REFERENCE_BYTES, REFERENCE_BYTES)]
Mac = Annotated[bytes, Packed(MAC_BYTES, MAC_BYTES)]
Salt = Annotated[bytes, Packed(SALT_BYTES, SALT_BYTES)]
CertificateBytes = Annotated[bytes, Packed(1, 1 << 17)]
ReportBytes = Annotated[bytes, Packed(1, 1 << 20)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Scope(StrEnum):
    """What an access token lets its bearer do."""

    EVALUATE = "evaluate"
    QUERY = "query"
    REPORT = "report"
    OPERATOR = "operator"


class Result(StrEnum):
    """What a query says of one item."""

    HIT = "hit"
    """At least one party holds it and lets the asker know."""
    NO_HIT = "no_hit"
    """No covered party told of it; the coverage says who was covered (I6)."""
    NOT_COVERED = "not_covered"
    """Nobody who may be asked was covered, so that nothing can be said (I6)."""
    NOT_ALLOWED = "not_allowed"
    """No row of the manifest lets this partner query this namespace for this purpose; nobody was asked."""


class State(StrEnum):
    """What a certificate says of one holder."""

    COVERED = "covered"
    TIMED_OUT = "timed_out"
    OFFLINE = "offline"
    OUTSIDE = "outside"
    """Outside the agreement: the holder does not answer the asker's class."""


class Form(BaseModel):
    """Base of all bodies: frozen, unknown fields refused, values never in a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EvaluationRequest(Form):
    """One signed request for one custodian, relayed as it is; the custodian charges its signer (I7)."""

    custodian: int = Field(ge=1, le=255, description="Index of the custodian in the manifest.")
    body: Signed = Field(description="Serialised EvaluateBody, exactly as signed.")
    signature: Signature = Field(description="Ed25519 signature of the partner, domain 'evaluate'.")
    elements: Elements = Field(description="Blinded elements, 32 bytes each (RFC 9497 SerializeElement).")


class EvaluationResponse(Form):
    """What the custodian answered, as it is; the client verifies the proof."""

    elements: Elements = Field(description="Evaluated elements, in the order of the request.")
    proof: Proof = Field(description="Batched DLEQ proof (RFC 9497 2.2.1).")
    manifest_hash: Hex32
    quota_left: int = Field(ge=0, description="What is left of the day's quota of this class at this custodian.")


class QueryItem(Form):
    """One strong value."""

    token: Token
    reference: Reference = Field(description="The partner's own for this value, the same in every query.")
    ask_mac: Mac = Field(
        description="First 32 bytes of keyed BLAKE2b-512(match secret, 'ask' | header hash | token | reference)."
    )
    namespace: Word = Field(description="Of the value; an answer of another namespace is no hit.")


class QueryRequest(Form):
    """A question that speaks for its moment."""

    header: Signed = Field(description="Serialised CheckHeader, exactly as signed; look_once is set.")
    signature: Signature = Field(description="Ed25519 signature of the partner, domain 'check'.")
    audience_salt: Salt = Field(description="Salt of the header's audience hash; the audience is everyone.")
    items: tuple[QueryItem, ...] = Field(min_length=1, max_length=MAX_QUERY_ITEMS)


class Hit(Form):
    """One holder's answer, which the client verifies with its match secret."""

    party: Spiffe
    reference: Reference = Field(description="The holder's reference.")
    decision: int = Field(ge=0, le=3, description="The holder's decision that answer_mac covers.")
    answer_mac: Mac
    handle: str = Field(max_length=32, description="Handle of the partner's match.")


class ItemResult(Form):
    """What the query says of one item, in the order of the request."""

    result: Result
    hits: tuple[Hit, ...] = Field(default=(), max_length=MAX_PARTIES)


class SignedCertificate(Form):
    """The coverage certificate, exactly as the gateway signed it."""

    body: CertificateBytes
    signature: Signature


class Coverage(Form):
    """One holder's state, as the certificate says it; the certificate is the proof."""

    party: Spiffe
    state: State
    data_minute: int = Field(ge=0, description="Unix minute of the last tick in which all that it has was published.")


class QueryResponse(Form):
    """Results, and who was covered."""

    request: str = Field(pattern=r"^[0-9a-f]{32}$", description="Request number: the check id.")
    results: tuple[ItemResult, ...]
    coverage: tuple[Coverage, ...] = Field(max_length=MAX_PARTIES)
    certificate: SignedCertificate | None = Field(description="None where no item was allowed, so nobody was asked.")


class ReportResponse(Form):
    """An operation's frozen report (docs/report.md), exactly as the gateway signed it."""

    report: ReportBytes = Field(description="Canonical JSON.")
    signature: Signature


class Problem(BaseModel):
    """An error, RFC 9457; `code` is a code of the catalogue, which gRPC uses too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(description="urn:concordat:error:CODE")
    title: str = Field(description="The catalogue's sentence.")
    status: int = Field(ge=400, le=599)
    code: Code
    error: str | None = Field(
        default=None, pattern=r"^[a-z_]{1,64}$", description="Name of RFC 6749 5.2 or RFC 9449 where access is refused."
    )
    detail: str | None = Field(default=None, max_length=400, description="What to change: a field's place, a limit.")
    instance: str | None = Field(default=None, description="urn of the request's trace, to quote to the operator.")
