"""Who may call what, and on which condition: the one table of the whole federation (I8).

A method without a row is refused to everybody; a row lets in the roles that it names and no other. The gRPC servers of
gateway and custodian take their authorisation from here, the gateway's HTTPS API its scopes and its open routes. A
condition is what the service behind the shell still checks of a caller whose role is let in; it stands here in words,
and tests break each of them once. docs/protocol.md has the same table: `scripts/method-table` writes it.

What travels inside an open stream (frames of Attach and Sweep) are no methods: its rules are in docs/protocol.md 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.api.model import Scope
from concordat.identity.names import Role
from concordat.rpc.auth import HEALTH_METHODS, AuthorisationTable

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE: Final = "concordat.wire.v1"


class Condition(StrEnum):
    """What the service checks of a caller that its row lets in."""

    NONE = "no more"
    IN_STEP = "its hello has this federation, the manifest in force, rules and epochs in force, its own incarnation"
    OPENER = "opener of the charter"
    PARTICIPANT = "participant of the operation"
    OWN_LIST = "sees the operations in which it takes part, and no other"
    IN_SWEEP = "participant of the sweep that runs"
    ITSELF = "the gateway's own identity, at a shard of its sweeps; a gateway serves it to nobody"
    SIGNER_PAYS = "signed by a party of the manifest, charged to the quota of who signed"
    PARTNER_SIGNED = "carries what a partner signed, charged to that partner's quota"
    OWN_QUOTA = "sees its own quota, and no other"
    OWN_KEY = "assertion under its identity key, and a proof of the key that the token is bound to"
    OWN_REQUEST = "its own signed request, charged to its own quota"
    PURPOSE_ROW = "its own signed header, and a row of the manifest for its purpose"
    READER = "reader that the charter names, once all have signed it"


@dataclass(frozen=True, slots=True)
class Method:
    """One row.

    Attributes:
        name: `/package.Service/Method`, or `VERB /path` of the HTTPS API.
        servers: Roles that serve it.
        may: Role that is let in -> condition.
        scope: What an access token must have; empty for gRPC, and for what needs no token.
        anyone: Answered to whoever connects, without a name; only for HTTPS.
    """

    name: str
    servers: frozenset[Role]
    may: Mapping[Role, Condition]
    scope: Scope | None = None
    anyone: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "may", MappingProxyType(dict(self.may)))
        if self.is_grpc and (self.scope is not None or self.anyone):
            raise ValueError("a gRPC method has neither scope nor callers without a name")
        if not self.is_grpc and self.scope is None and not self.anyone:
            raise ValueError("a route has a scope, or is open to anyone")

    @property
    def is_grpc(self) -> bool:
        """Tell a gRPC method from a route of the HTTPS API."""
        return self.name.startswith("/")


def _grpc(server: Role, name: str, **may: Condition) -> Method:
    return Method(f"/{_PACKAGE}.{name}", frozenset({server}), {Role(role): found for role, found in may.items()})


def _https(name: str, scope: Scope | None = None, *, anyone: bool = False, **may: Condition) -> Method:
    roles = {Role(role): found for role, found in may.items()}
    return Method(name, frozenset({Role.GATEWAY}), roles, scope, anyone)


_EVERYONE: Final = MappingProxyType(dict.fromkeys(Role, Condition.NONE))
_GATEWAY: Final = Role.GATEWAY
_CUSTODIAN: Final = Role.CUSTODIAN

METHODS: Final[tuple[Method, ...]] = (
    *(Method(name, frozenset({_GATEWAY, _CUSTODIAN}), _EVERYONE) for name in HEALTH_METHODS),
    _grpc(
        _GATEWAY,
        "RegistryService/GetManifest",
        node=Condition.NONE,
        custodian=Condition.NONE,
        partner=Condition.NONE,
        console=Condition.NONE,
    ),
    _grpc(_GATEWAY, "SessionService/Attach", node=Condition.IN_STEP),
    _grpc(_GATEWAY, "OperationService/Propose", node=Condition.OPENER),
    _grpc(_GATEWAY, "OperationService/GetOperation", node=Condition.PARTICIPANT),
    _grpc(_GATEWAY, "OperationService/ListOperations", node=Condition.OWN_LIST),
    _grpc(_GATEWAY, "OperationService/Countersign", node=Condition.PARTICIPANT),
    _grpc(_GATEWAY, "OperationService/StartSweep", node=Condition.OPENER),
    _grpc(_GATEWAY, "OperationService/GetReport", node=Condition.PARTICIPANT),
    _grpc(_GATEWAY, "SweepService/Sweep", node=Condition.IN_SWEEP),
    _grpc(_GATEWAY, "ShardService/TakePart", gateway=Condition.ITSELF),
    _grpc(_GATEWAY, "ShardService/EndParts", gateway=Condition.ITSELF),
    # Who is charged is who signed, whoever of these dials.
    _grpc(
        _CUSTODIAN,
        "CustodianService/Evaluate",
        node=Condition.SIGNER_PAYS,
        gateway=Condition.PARTNER_SIGNED,
        partner=Condition.SIGNER_PAYS,
    ),
    _grpc(_CUSTODIAN, "CustodianService/GetQuota", node=Condition.OWN_QUOTA, partner=Condition.OWN_QUOTA),
    _https("GET /healthz", anyone=True),
    _https("GET /v1/openapi.json", anyone=True),
    # Open, as who calls is shown by what it brings; a role without scopes gets no token.
    _https("POST /v1/token", anyone=True, partner=Condition.OWN_KEY, console=Condition.OWN_KEY),
    _https("POST /v1/evaluations", Scope.EVALUATE, partner=Condition.OWN_REQUEST),
    _https("POST /v1/queries", Scope.QUERY, partner=Condition.PURPOSE_ROW),
    _https("GET /v1/operations/{operation}/report", Scope.REPORT, partner=Condition.READER),
    _https("GET /v1/operator/state", Scope.OPERATOR, console=Condition.NONE),
    _https("GET /v1/operator/events", Scope.OPERATOR, console=Condition.NONE),
)


def grpc_table(server: Role) -> AuthorisationTable:
    """Return what the gRPC shell of a gateway or custodian lets in."""
    return AuthorisationTable.of({one.name: tuple(one.may) for one in METHODS if one.is_grpc and server in one.servers})


def scopes_of(role: Role) -> tuple[Scope, ...]:
    """Return what an access token of a role may say; a scope is had for all its routes or for none."""
    routes = [one for one in METHODS if one.scope is not None]
    return tuple(
        scope
        for scope in Scope
        if (rows := [one for one in routes if one.scope is scope]) and all(role in one.may for one in rows)
    )


def open_routes() -> frozenset[tuple[str, str]]:
    """Return verb and path of the routes that need no access token."""
    return frozenset((verb, path) for verb, path in (one.name.split(" ") for one in METHODS if one.anyone))


def scope_of_route(verb: str, path: str) -> Scope | None:
    """Return the scope of a route, or None for an open one.

    Raises:
        ValueError: No row names the route.
    """
    for one in METHODS:
        if one.name == f"{verb} {path}":
            return one.scope
    raise ValueError("a route of the API has a row in the table of methods")
