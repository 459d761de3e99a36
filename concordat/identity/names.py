"""Names of parties: SPIFFE IDs of one fixed shape, `spiffe://FEDERATION/ROLE/NAME`.

The name doubles as a DNS name for TLS, so it is one DNS label; the manifest refuses two names that differ in case only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from concordat.errors import IdentityError

_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_FEDERATION: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{0,7}}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_MAX_DNS_NAME: Final = 253


class Role(StrEnum):
    """What a party does in the federation; part of its name, never a flag."""

    NODE = "node"
    CUSTODIAN = "custodian"
    GATEWAY = "gateway"
    PARTNER = "partner"
    CONSOLE = "console"


def short(party: str) -> str:
    """Return what people call a party: NL for spiffe://federation.example/node/NL."""
    return party.rpartition("/")[2]


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """The name of one party."""

    federation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        if not _FEDERATION.fullmatch(self.federation):
            raise IdentityError("a federation is named like a lower-case DNS name")
        if not _NAME.fullmatch(self.name):
            raise IdentityError("a party's name has 1 to 63 letters, digits or inner hyphens")
        if len(self.dns_name) > _MAX_DNS_NAME:
            raise IdentityError("a party's name and its federation's name are too long together")

    @classmethod
    def parse(cls, uri: str) -> SpiffeId:
        """Read `spiffe://FEDERATION/ROLE/NAME`, and nothing that only resembles it.

        Raises:
            IdentityError: If scheme, federation, role or name is not exactly as it must be.
        """
        scheme, _, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != "spiffe" or len(parts) != 3:
            raise IdentityError("a party's name has the form spiffe://FEDERATION/ROLE/NAME")
        federation, role, name = parts
        if role not in Role.__members__.values():
            raise IdentityError("a party's name has an unknown role")
        return cls(federation, Role(role), name)

    @property
    def dns_name(self) -> str:
        """Return the name under which this party's TLS certificate is checked, such as `nl.node.concordat.example`."""
        return f"{self.name}.{self.role}.{self.federation}".lower()

    def __str__(self) -> str:
        return f"spiffe://{self.federation}/{self.role}/{self.name}"
