"""A gateway's settings: `gateway.toml` in its folder, or nothing, as every value has a default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field, field_validator

from concordat.config import load_settings as config_of
from concordat.errors import ConfigError
from concordat.identity.manifest import Address
from concordat.rpc.server import ServerSettings
from concordat.telemetry import TelemetrySettings
from gateway.api.server import ApiSettings
from gateway.planes import MEMORY_BYTES
from gateway.postgres import Postgres, require_url
from gateway.rules import Limits
from gateway.sweep.effects import SweepSettings

if TYPE_CHECKING:
    from concordat.identity.home import Home

FILE_NAME: Final = "gateway.toml"
LEDGER_NAME: Final = "ledger.db"
SWEEPS_NAME: Final = "sweeps"


class GatewaySettings(TelemetrySettings):
    """What a gateway is told."""

    address: str | None = Field(default=None, description="HOST:PORT to listen on; the manifest's address by default.")
    api: str | None = Field(
        default=None, description="HOST:PORT of the HTTPS API; the manifest's by default, and no API where it has none."
    )
    api_connections: int = Field(default=512, ge=8, le=1 << 16, description="Connections to the API at once.")
    ledger: str | None = Field(
        default=None, description="SQLite file, or URL of a PostgreSQL; ledger.db in the folder by default."
    )
    ledger_password_file: Path | None = Field(default=None, description="File of mode 0600 with its password.")
    ledger_tls_ca: Path | None = Field(
        default=None, description="Certificates that its server's must come from; only this machine's goes without."
    )
    migrate_at_start: bool = Field(
        default=False, description="Whether to bring its tables to this program's version at each start."
    )
    sweeps: str | None = Field(
        default=None,
        description="Folder of running sweeps, which survive a restart; sweeps in the folder by default.",
    )
    max_message_bytes: int = Field(default=16 << 20, ge=1 << 20, le=256 << 20, description="Bytes in one message.")
    max_concurrent: int = Field(default=1024, ge=1, description="Calls at once, sessions included.")
    deadline_s: float = Field(default=30.0, gt=0, description="Seconds for a call whose caller set none.")
    drain_s: float = Field(default=2.0, ge=0, description="Seconds that running calls may take when stopping.")
    metrics: Address | None = Field(
        default=None, description="HOST:PORT of GET /metrics for Prometheus, plain HTTP; none by default."
    )
    planes_memory_bytes: int = Field(
        default=MEMORY_BYTES,
        ge=1 << 16,
        le=1 << 42,
        description="Memory of the routing filter; with less, nodes are asked about more tokens that they do not hold.",
    )
    sweep: SweepSettings = Field(default=SweepSettings(), description="Limits of a sweep, and who takes its windows.")
    limits: Limits = Field(default=Limits(), description="What one party may ask of the hub's memory and time.")

    def server(self, home: Home) -> ServerSettings:
        """Return the settings of the gRPC server.

        Raises:
            IdentityError: The folder is not a gateway's.
        """
        return ServerSettings(
            address=self.address or home.manifest.gateway_by_id(home.identity).address,
            max_message_bytes=self.max_message_bytes,
            max_concurrent=self.max_concurrent,
            deadline_s=self.deadline_s,
            drain_s=self.drain_s,
        )

    def api_server(self, home: Home) -> ApiSettings | None:
        """Return the settings of the API's server; None where this gateway has no API.

        Raises:
            IdentityError: The folder is not a gateway's.
        """
        address = self.api or home.manifest.gateway_by_id(home.identity).api_address
        if address is None:
            return None
        return ApiSettings(address=address, max_connections=self.api_connections, drain_s=self.drain_s)

    @field_validator("ledger")
    @classmethod
    def _is_no_secret(cls, ledger: str | None) -> str | None:
        if ledger is not None and "://" in ledger:
            try:
                require_url(ledger)
            except ConfigError as error:
                raise ValueError(error.message) from None
        return ledger

    def shard_server(self, home: Home, index: int, listen: str | None) -> ServerSettings:
        """Return the settings of the gRPC server of a shard.

        Args:
            home: The gateway's folder.
            index: Which of the shards, from 0.
            listen: HOST:PORT; by default as nodes reach it.

        Raises:
            ConfigError: There is no such shard.
            IdentityError: The folder is not a gateway's.
        """
        if not 0 <= index < len(self.sweep.shards):
            raise ConfigError(f"the settings name {len(self.sweep.shards)} shards, and none with the index {index}")
        return self.server(home).model_copy(update={"address": listen or self.sweep.shards[index]})

    def shard_folder(self, home: Path, index: int) -> Path:
        """Return where a shard keeps its parts."""
        return self.sweeps_folder(home) / f"shard-{index}"

    def sweeps_folder(self, home: Path) -> Path:
        """Return where running sweeps are kept; what is relative lies in the folder."""
        return home / (self.sweeps or SWEEPS_NAME)

    def database(self, home: Path) -> Path | Postgres:
        """Return where the ledger is; files that are relative lie in the folder."""
        if self.ledger is None or "://" not in self.ledger:
            return home / (self.ledger or LEDGER_NAME)
        files = (self.ledger_password_file, self.ledger_tls_ca)
        password, authority = (None if file is None else home / file for file in files)
        return Postgres(self.ledger, password_file=password, tls_ca=authority)


def load_settings(home: Path, config: Path | None = None) -> GatewaySettings:
    """Read the settings file that is named, else that of the folder, else take the defaults.

    Raises:
        ConfigError: The file is missing, no TOML, or has an unknown or wrong key.
    """
    return config_of(home, FILE_NAME, GatewaySettings, config)
