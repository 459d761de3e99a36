"""A custodian's settings: `custodian.toml` in its folder, or nothing, as every value has a default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from concordat.config import load_settings as config_of
from concordat.rpc.server import ServerSettings
from concordat.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home

FILE_NAME: Final = "custodian.toml"
# Room for 4096 elements and their envelope.
_MAX_MESSAGE_BYTES: Final = 1 << 20


class CustodianSettings(TelemetrySettings):
    """What a custodian is told."""

    address: str | None = Field(default=None, description="HOST:PORT to listen on; the manifest's address by default.")
    max_concurrent: int = Field(default=256, ge=1, description="Calls at once; more are told to try again.")
    deadline_s: float = Field(default=30.0, gt=0, description="Seconds for a call whose caller set none.")
    drain_s: float = Field(default=5.0, ge=0, description="Seconds that running calls may take when stopping.")
    warm_up: bool = Field(
        default=True,
        description="Load compiled code for large batches when starting, not after some thousand elements; takes about "
        "130 MB and, the first time on a machine, up to half a minute of one core. Nothing without the extra `fast`.",
    )

    def server(self, home: Home) -> ServerSettings:
        """Return the settings of the gRPC server.

        Raises:
            IdentityError: The folder is not a custodian's.
        """
        return ServerSettings(
            address=self.address or home.manifest.custodian_by_id(home.identity).address,
            max_message_bytes=_MAX_MESSAGE_BYTES,
            max_concurrent=self.max_concurrent,
            deadline_s=self.deadline_s,
            drain_s=self.drain_s,
        )


def load_settings(home: Path, config: Path | None = None) -> CustodianSettings:
    """Read the settings file that is named, else that of the folder, else take the defaults.

    Raises:
        ConfigError: The file is missing, no TOML, or has an unknown or wrong key.
    """
    return config_of(home, FILE_NAME, CustodianSettings, config)
