"""Ask whether a service serves, as a container's health check or a probe does: `concordat health --home DIR`.

custodian, gateway   grpc.health.v1 over mTLS, under the party's own certificate
console              GET /healthz over TLS on this machine, whatever certificate it shows to browsers
node                 its heartbeat: it dials out and has no port
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError, InputError, UnavailableError
from concordat.heartbeat import is_beating
from concordat.identity.names import Role

if TYPE_CHECKING:
    from concordat.identity.home import Home

TIMEOUT_S: Final = 5.0
HEALTH_PATH: Final = "/healthz"
_LOOPBACK: Final = "127.0.0.1"
_MAX_STATUS_LINE: Final = 256


async def ask(home: Home, address: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
    """Return if the service serves.

    Raises:
        UnavailableError: It does not answer, or says that it does not serve.
        IdentityError: Somebody else answers.
        InputError: A console's address is missing, or not of this machine.
        ConfigError: A folder of this role runs no service.
    """
    role = home.identity.role
    if role is Role.NODE:
        if not is_beating(home.path):
            raise UnavailableError(f"{home.identity} gives no sign of life")
    elif role in (Role.CUSTODIAN, Role.GATEWAY):
        await _ask_grpc(home, address or _own_address(home), timeout_s)
    elif role is Role.CONSOLE:
        if address is None:
            raise InputError("give the console's HOST:PORT with --address")
        await _ask_https(home, *_local(address), timeout_s=timeout_s)
    else:
        raise ConfigError(f"{home.path}: {home.identity} runs no service")


def _own_address(home: Home) -> str:
    manifest, identity = home.manifest, home.identity
    named = (
        manifest.custodian_by_id(identity).address
        if identity.role is Role.CUSTODIAN
        else manifest.gateway_by_id(identity).address
    )
    return f"{_LOOPBACK}:{named.rpartition(':')[2]}"


async def _ask_grpc(home: Home, address: str, timeout_s: float) -> None:
    # gRPC is not loaded for a console, which does without it.
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    from concordat.rpc.client import call, channel  # noqa: PLC0415

    async with channel(address, home=home, server=home.identity) as to_self:
        request = health_pb2.HealthCheckRequest()
        reply = await call(
            health_pb2_grpc.HealthStub(to_self).Check, request, party=str(home.identity), timeout_s=timeout_s
        )
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise UnavailableError(f"{home.identity} says that it does not serve")


async def _ask_https(home: Home, host: str, port: int, *, timeout_s: float) -> None:
    # Nothing is told or believed but one word, and the operator may show browsers a certificate of any authority.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_MAX_STATUS_LINE)
            try:
                writer.write(f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                # The answer is read; a farewell of TLS would outlast the loop.
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"{home.identity} does not answer") from error
    if not status.startswith(b"HTTP/1.1 200 "):
        raise UnavailableError(f"{home.identity} says that it does not serve")


def _local(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if host not in (_LOOPBACK, "localhost", "[::1]") or not port.isdecimal():
        raise InputError("--address of a console is HOST:PORT of this machine")
    return host.strip("[]"), int(port)
