"""What every party may read of the federation itself: the signed manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from concordat.wire.v1 import registry_pb2 as wire
from concordat.wire.v1.registry_pb2_grpc import RegistryServiceServicer

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home


class RegistryServicer(RegistryServiceServicer):
    """Serves the manifest in force, in the envelope in which it was signed."""

    def __init__(self, envelope: bytes) -> None:
        self._envelope = envelope

    @classmethod
    def of_home(cls, home: Home) -> RegistryServicer:
        """Serve the manifest of a gateway's folder, which was verified when the folder was read."""
        path: Path = home.path / "manifest.json"
        return cls(path.read_bytes())

    @override
    async def GetManifest(self, request: wire.GetManifestRequest, context: Any) -> wire.GetManifestResponse:
        """Return the signed manifest."""
        return wire.GetManifestResponse(envelope=self._envelope)
