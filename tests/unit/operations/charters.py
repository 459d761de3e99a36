"""Charters of an invented action day, signed and sealed as an opener does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.protocol.charter import CHARTER_DOMAIN, seal_key
from concordat.wire.v1 import operations_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concordat.identity.home import Home

NODES: Final = ("AT", "BE", "CZ", "DE")
NOW: Final = 1_800_000_000.0
KEY: Final = bytes(range(32))


@dataclass(frozen=True)
class Proposed:
    """What an opener sends."""

    raw: bytes
    signature: bytes
    keys: list[wire.SealedKey]


def charter_of(homes: Mapping[str, Home], opener: str = "AT", **changes: object) -> wire.Charter:
    """Return the charter of AT, BE and CZ; DE is the stranger."""
    charter = wire.Charter(
        federation=homes[opener].manifest.federation,
        manifest_hash=homes[opener].manifest.hash,
        operation="action-day",
        title="Action day",
        opener=str(homes[opener].identity),
        participants=[str(homes[name].identity) for name in ("AT", "BE", "CZ")],
        purpose="prevention",
        namespaces=["account", "e164", "email", "platform", "url"],
        starts_at=int(NOW) - 3600,
        ends_at=int(NOW) + 3600,
        operation_key_hash=hashlib.sha256(KEY).digest(),
        epoch=1,
        justification_hash=bytes(32),
    )
    for name, value in changes.items():
        if isinstance(value, list):
            charter.ClearField(name)  # type: ignore[arg-type] # tests name fields of the message
            getattr(charter, name).extend(value)
        else:
            setattr(charter, name, value)
    return charter


def proposed(homes: Mapping[str, Home], opener: str = "AT", **changes: object) -> Proposed:
    charter = charter_of(homes, opener, **changes)
    raw = charter.SerializeToString(deterministic=True)
    home = homes[opener]
    keys = [
        seal_key(KEY, raw, party, manifest=home.manifest, opener=home.signing_key) for party in charter.participants
    ]
    return Proposed(raw, home.signing_key.sign(CHARTER_DOMAIN, raw), keys)


def sign(home: Home, raw: bytes) -> bytes:
    return home.signing_key.sign(CHARTER_DOMAIN, raw)
