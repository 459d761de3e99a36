"""Who may call what at a gateway. A missing row refuses (I8)."""

from __future__ import annotations

from typing import Final

from concordat.identity.names import Role
from concordat.rpc.auth import AuthorisationTable

_NODES: Final = frozenset({Role.NODE})
_PACKAGE: Final = "concordat.wire.v1"

TABLE: Final = AuthorisationTable.of(
    {
        f"/{_PACKAGE}.SessionService/Attach": _NODES,
        f"/{_PACKAGE}.RegistryService/GetManifest": frozenset({Role.NODE, Role.CUSTODIAN, Role.PARTNER, Role.CONSOLE}),
        f"/{_PACKAGE}.OperationService/Propose": _NODES,
        f"/{_PACKAGE}.OperationService/GetOperation": _NODES,
        f"/{_PACKAGE}.OperationService/ListOperations": _NODES,
        f"/{_PACKAGE}.OperationService/Countersign": _NODES,
        f"/{_PACKAGE}.OperationService/StartSweep": _NODES,
        f"/{_PACKAGE}.OperationService/GetReport": _NODES,
        f"/{_PACKAGE}.SweepService/Sweep": _NODES,
    }
)
