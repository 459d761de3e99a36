"""The calling side: channels that check who answers, and errors that come back as what they were.

async with channel(address, home=home, server=custodian.spiffe) as to_custodian:
    reply = await call(CustodianServiceStub(to_custodian).Evaluate, request, party="custodian 1", timeout_s=10)
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import grpc.aio

from concordat import telemetry
from concordat.errors import (
    ConcordatError,
    IdentityError,
    InputError,
    ProtocolError,
    RefusedError,
    UnavailableError,
    error_of_peer,
)
from concordat.identity.names import Role
from concordat.rpc.guard import CODE_TRAILER, DETAIL_TRAILER
from concordat.rpc.limits import MAX_MESSAGE_BYTES, Options, keepalive, message_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator

    from concordat.identity.home import Home
    from concordat.identity.names import SpiffeId

T = TypeVar("T")

# Where an asker's trace may end; a holder's is its own (I11).
_TRACE_GOES_ON_AT: Final = frozenset({Role.CUSTODIAN, Role.GATEWAY})

# How gRPC says that TLS refused the server's certificate; there is no status of its own for it.
_WRONG_SERVER: Final = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")

# Statuses that gRPC itself raises, without our trailers.
_BARE: Final[dict[grpc.StatusCode, tuple[type[ConcordatError], str, str]]] = {
    grpc.StatusCode.UNAVAILABLE: (UnavailableError, "unavailable", "cannot be reached now"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (UnavailableError, "deadline", "did not answer in time"),
    grpc.StatusCode.CANCELLED: (UnavailableError, "unavailable", "ended the call"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (InputError, "too_large", "or this side refused a message over the size limit"),
    grpc.StatusCode.UNAUTHENTICATED: (IdentityError, "bad_identity", "did not accept this party's identity"),
    grpc.StatusCode.PERMISSION_DENIED: (RefusedError, "refused", "does not permit this"),
    grpc.StatusCode.UNIMPLEMENTED: (ProtocolError, "protocol_violation", "does not know this method"),
    grpc.StatusCode.INTERNAL: (ConcordatError, "internal", "had an internal error"),
    grpc.StatusCode.UNKNOWN: (ConcordatError, "internal", "had an internal error"),
}


def channel(
    address: str, *, home: Home, server: SpiffeId, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> grpc.aio.Channel:
    """Open an mTLS channel to one party; only a certificate with that party's name is accepted.

    Args:
        address: HOST:PORT to dial; the name that is checked is `server`'s, whatever the host is called.
        home: Own certificate, and the TLS roots of the federation.
        server: Who must answer.
        max_message_bytes: Limit in both directions.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates=home.tls_roots_pem,
        private_key=home.tls.key_pem,
        certificate_chain=home.tls.certificate_pem,
    )
    options: Options = [
        *message_limits(max_message_bytes),
        *keepalive(),
        ("grpc.ssl_target_name_override", server.dns_name),
        # A proxy named in the environment must not see even whom a party dials.
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    return grpc.aio.secure_channel(address, credentials, options=options)


def translate(error: grpc.aio.AioRpcError, party: str) -> ConcordatError:
    """Return the error that a failed call stands for, naming the party that was called.

    The code comes from the trailers, the sentence from the catalogue; nothing else that a peer writes is repeated, but
    the detail that it has flagged as public, if it is short and printable.
    """
    trailers = dict(error.trailing_metadata() or ())
    code = _text(trailers.get(CODE_TRAILER))
    if (known := error_of_peer(code, party=party, detail=_text(trailers.get(DETAIL_TRAILER)))) is not None:
        return known
    if error.code() is grpc.StatusCode.UNAVAILABLE and any(sign in (error.details() or "") for sign in _WRONG_SERVER):
        return IdentityError(f"{party}: its certificate is not the one expected, has expired, or is of another root")
    kind, bare_code, what = _BARE.get(error.code(), _BARE[grpc.StatusCode.UNKNOWN])
    return kind(f"{party} {what}", code=bare_code)


async def call(
    method: Callable[..., Any],
    request: object,
    *,
    party: str,
    timeout_s: float,
    role: Role | None = None,
    wait_for_ready: bool = False,
) -> Any:
    """Make one unary call with a deadline.

    Args:
        method: Of a stub.
        request: What it takes.
        party: Who is called, for the texts of errors.
        timeout_s: For the whole of it.
        role: Of who is called; the trace goes on at a custodian or the gateway, and at nobody else.
        wait_for_ready: Wait for a connection instead of failing without one.

    Raises:
        ConcordatError: The subclass that the failure stands for; see `translate`.
    """
    with telemetry.calling(_name(method), role), translated(party):
        metadata = _trace_for(role)
        return await method(request, timeout=timeout_s, wait_for_ready=wait_for_ready, metadata=metadata)


async def messages(stream: AsyncIterable[T], *, party: str) -> AsyncIterator[T]:
    """Iterate over a streamed reply.

    Raises:
        ConcordatError: The subclass that the failure stands for, after the messages that came before it.
    """
    with translated(party):
        async for message in stream:
            yield message


@contextmanager
def translated(party: str) -> Iterator[None]:
    """Turn what gRPC raises in the block, around a `read` or `write` of a session, into the error it stands for.

    Raises:
        ConcordatError: The subclass that the failure stands for; see `translate`.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise translate(error, party) from error
    except asyncio.InvalidStateError as error:
        # What a write raises when the call has ended already.
        raise UnavailableError(f"{party} ended the call") from error


def _name(method: Callable[..., Any]) -> str:
    # What generated code dials; the types of gRPC do not show it. Without it a span has no method, and that is all.
    return _text(getattr(method, "_method", None)) or ""


def _trace_for(role: Role | None) -> tuple[tuple[str, str], ...]:
    parent = telemetry.traceparent() if role in _TRACE_GOES_ON_AT else ""
    return ((telemetry.TRACEPARENT, parent),) if parent else ()


def _text(value: str | bytes | None) -> str | None:
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return value
