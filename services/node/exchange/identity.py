"""Who the node is in the exchange: its name, its key and the manifest that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concordat.identity.home import Home
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId


@dataclass(frozen=True, slots=True)
class Identity:
    """Name, key and manifest of one node."""

    spiffe: SpiffeId
    signing_key: SigningKey
    manifest: Manifest

    @classmethod
    def from_home(cls, home: Home) -> Identity:
        """Take what the exchange needs from a party's folder."""
        return cls(home.identity, home.signing_key, home.manifest)

    @property
    def name(self) -> str:
        """Return the SPIFFE id as the wire carries it."""
        return str(self.spiffe)

    @property
    def holders(self) -> frozenset[str]:
        """Return all other nodes of the manifest: whoever may hold what this node asks for."""
        return frozenset(party.id for party in self.manifest.nodes if party.spiffe != self.spiffe)
