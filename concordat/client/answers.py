"""What the gateway's HTTPS API answered: a model, a token, or the error that a problem document stands for."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from concordat.config import explain
from concordat.errors import (
    ConcordatError,
    IdentityError,
    InputError,
    ProtocolError,
    RefusedError,
    UnavailableError,
    error_of_peer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

M = TypeVar("M", bound=BaseModel)

USE_NONCE: Final = "use_dpop_nonce"
INVALID_TOKEN: Final = "invalid_token"  # noqa: S105 -- the name of an error
_OAUTH_ERROR: Final = re.compile(r'(?:^|[\s,])error="([a-z_]{1,40})"')

# Answers that are no problem document: of a proxy, or of the web server itself.
_BARE: Final[Mapping[int, tuple[type[ConcordatError], str, str]]] = {
    400: (InputError, "bad_input", "cannot read the request"),
    401: (IdentityError, "bad_identity", "did not accept this party's identity"),
    403: (RefusedError, "refused", "does not permit this"),
    404: (RefusedError, "refused", "does not permit this"),
    408: (UnavailableError, "deadline", "did not answer in time"),
    413: (InputError, "too_large", "refuses a message over its limit"),
    422: (InputError, "bad_input", "cannot read the request"),
    429: (UnavailableError, "busy", "is busy; try again"),
    502: (UnavailableError, "unavailable", "cannot be reached now"),
    503: (UnavailableError, "unavailable", "cannot be reached now"),
    504: (UnavailableError, "deadline", "did not answer in time"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the gateway, read whole."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def oauth_error(self) -> str | None:
        """Return the error's name of RFC 6750 or 9449, from the header or, of the token endpoint, from the body."""
        if self.status < 400:
            return None
        for challenge in self.headers.get_list("www-authenticate"):
            if found := _OAUTH_ERROR.search(challenge):
                return found[1]
        return _text(_object(self.content).get("error"))

    def model(self, model: type[M], *, party: str) -> M:
        """Return the body as a model.

        Raises:
            ProtocolError: It is none.
        """
        try:
            return model.model_validate_json(self.content)
        except ValidationError as error:
            raise ProtocolError(f"{party}: the answer cannot be read: {explain(error)}") from None

    def error(self, *, party: str) -> ConcordatError:
        """Return the error that an answer other than 2xx stands for; of its text only a public detail is repeated."""
        problem = _object(self.content)
        known = error_of_peer(_text(problem.get("code")), party=party, detail=_text(problem.get("detail")))
        if known is not None:
            return known
        if self.oauth_error is not None:
            return IdentityError(f"{party} did not accept this party's credentials ({self.oauth_error})")
        if self.status < 400:
            return ProtocolError(f"{party} sent this client elsewhere, which it does not follow")
        kind, code, what = _BARE.get(self.status, (ConcordatError, "internal", "had an internal error"))
        return kind(f"{party} {what}", code=code)


class TokenAnswer(BaseModel):
    """An access token (RFC 6749 5.1); what else is in the answer is left unread, as that RFC wants."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    access_token: Annotated[str, StringConstraints(min_length=1, max_length=8192, pattern=r"^[A-Za-z0-9._~+/=-]+$")] = (
        Field(repr=False)
    )
    token_type: Literal["DPoP"]
    expires_in: int = Field(ge=1, le=86_400)
    scope: str = Field(default="", max_length=400)


def transport_error(error: httpx.HTTPError, *, party: str) -> ConcordatError:
    """Return the error that a failed exchange stands for."""
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
        return IdentityError(f"{party}: its certificate is not the one expected, has expired, or is of another root")
    if isinstance(error, httpx.TimeoutException):
        return UnavailableError(f"{party} did not answer in time", code="deadline")
    return UnavailableError(f"{party} cannot be reached now")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
