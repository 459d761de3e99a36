"""The one tree of errors that cross a boundary of Concordat.

    ConcordatError
    ├── InputError          what a person or a file gave cannot be taken; names the field or line
    ├── ConfigError         a setting, key file or folder is missing, wrong or too open
    ├── IdentityError       a certificate, manifest, signature or party is not what it must be
    ├── RefusedError        authorisation, quota, expiry or a rule of the protocol says no
    ├── ProtocolError       a peer sent what the protocol forbids; names the party
    │   └── BadProofError   a custodian's evaluation does not fit its public share
    └── UnavailableError    a party cannot be reached now; waiting and trying again is right

Every error has a code. The catalogue gives each code its gRPC status and the one sentence that may leave the process;
the error's own text goes to the local log and to the local user only. Codes that stay at one node are not in it: why an
identifier, a line or a file was refused. A code that is not in the catalogue becomes `internal` at the boundary.
Messages never hold an identifier, a token, a key or a blind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class ConcordatError(Exception):
    """Base of all errors that a caller may handle; the catalogue has the `code` where it may cross to others.

    `public_detail` is the one text beside the catalogue's sentence that may leave the process, such as a count or the
    name of a field: printable ASCII, and nothing that a party would not tell everyone.
    """

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, public_detail: str | None = None) -> None:
        super().__init__(message)
        self.public_detail = public_detail
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """Return the local text, for logs and the local user."""
        return str(self.args[0])


class InputError(ConcordatError):
    """What a person or a file gave cannot be taken."""

    code = "bad_input"


class ConfigError(ConcordatError):
    """A setting, key file or folder is missing, wrong or too open."""

    code = "bad_config"


class IdentityError(ConcordatError):
    """A certificate, manifest, signature or party is not what it must be."""

    code = "bad_identity"


class RefusedError(ConcordatError):
    """A rule of the federation says no."""

    code = "refused"


class ProtocolError(ConcordatError):
    """A peer sent what the protocol forbids."""

    code = "protocol_violation"


class BadProofError(ProtocolError):
    """A custodian's evaluation does not fit its public share."""

    code = "bad_proof"


class UnavailableError(ConcordatError):
    """A party cannot be reached now."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue: the gRPC status name, and the sentence that may leave the process."""

    status: str
    public: str


CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "internal": Entry("INTERNAL", "Internal error."),
        "bad_input": Entry("INVALID_ARGUMENT", "The request cannot be read."),
        "bad_config": Entry("FAILED_PRECONDITION", "The service is not configured for this."),
        "bad_identity": Entry("UNAUTHENTICATED", "The caller's identity was not accepted."),
        "bad_signature": Entry("UNAUTHENTICATED", "A signature does not fit its signer."),
        "bad_proof": Entry("DATA_LOSS", "An evaluation does not fit the custodian's public share."),
        "refused": Entry("PERMISSION_DENIED", "Not permitted."),
        "protocol_violation": Entry("INVALID_ARGUMENT", "The message breaks the protocol."),
        "unavailable": Entry("UNAVAILABLE", "The party cannot be reached now."),
        "too_large": Entry("RESOURCE_EXHAUSTED", "The message is over a limit."),
        "expired": Entry("FAILED_PRECONDITION", "The request has expired or is from the future."),
        "stale_manifest": Entry("FAILED_PRECONDITION", "The manifest named is not the one in force."),
        "stale_epoch": Entry("FAILED_PRECONDITION", "The epoch named is not in force."),
        "stale_rules": Entry("FAILED_PRECONDITION", "The rules versions named are not in force."),
        "quota_exhausted": Entry("RESOURCE_EXHAUSTED", "The quota of this period is used up."),
        "request_reused": Entry("ALREADY_EXISTS", "This request id was used with another body."),
        "justification_missing": Entry("INVALID_ARGUMENT", "The request has no justification."),
        "operation_unknown": Entry("PERMISSION_DENIED", "Not permitted."),
        "session_replaced": Entry("ABORTED", "A newer session of this party took over."),
        "superseded": Entry("ABORTED", "A newer incarnation of this party's store took over."),
        "ledger_restored": Entry("ABORTED", "The ledger was restored; attach again."),
        "near_duplicate": Entry("FAILED_PRECONDITION", "Close to an earlier charter; a second person must sign it."),
        "busy": Entry("UNAVAILABLE", "The service is busy; try again."),
        "deadline": Entry("DEADLINE_EXCEEDED", "The request took too long."),
        "stopping": Entry("UNAVAILABLE", "The service is stopping; try again."),
    }
)

# Whatever else the catalogue names is a `RefusedError`.
_CLASSES: Final[Mapping[str, type[ConcordatError]]] = MappingProxyType(
    {
        "internal": ConcordatError,
        "bad_input": InputError,
        "bad_config": ConfigError,
        "bad_identity": IdentityError,
        "bad_signature": IdentityError,
        "bad_proof": BadProofError,
        "protocol_violation": ProtocolError,
        "justification_missing": InputError,
        "too_large": InputError,
        "unavailable": UnavailableError,
        "busy": UnavailableError,
        "deadline": UnavailableError,
        "stopping": UnavailableError,
        "session_replaced": UnavailableError,
        "ledger_restored": UnavailableError,
    }
)
_DETAIL: Final = re.compile(r"[ -~]{1,400}", re.ASCII)


def accepted_detail(detail: str | None) -> str | None:
    """Return a public detail as it may cross, in either direction; None where it is longer or not printable ASCII."""
    return detail if detail is not None and _DETAIL.fullmatch(detail) else None


def error_of_peer(code: str | None, *, party: str, detail: str | None) -> ConcordatError | None:
    """Return the error that a peer's code stands for, or None where the catalogue has no such code.

    The sentence is the catalogue's; of what the peer wrote only a public detail is repeated, if it is acceptable.

    Args:
        code: As it came, by gRPC trailer or problem document.
        party: Who said it, for the message.
        detail: As it came.
    """
    if code is None or code not in CATALOGUE:
        return None
    accepted = accepted_detail(detail)
    sentence = CATALOGUE[code].public if accepted is None else f"{CATALOGUE[code].public} ({accepted})"
    return _CLASSES.get(code, RefusedError)(f"{party}: {sentence}", code=code, public_detail=accepted)
