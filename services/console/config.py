"""A console's settings: `console.toml` in its folder, or nothing, as every value has a default."""

from __future__ import annotations

import ipaddress
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from concordat.config import load_settings as config_of
from concordat.identity.manifest import Address
from concordat.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "console.toml"
_LOCALHOST: Final = "localhost"


class ConsoleSettings(TelemetrySettings):
    """What a console is told."""

    address: Address = Field(default="localhost:7480", description="HOST:PORT to listen on; port 0 takes a free one.")
    tls: bool = Field(default=True, description="False for plain HTTP, which only a loopback address may have.")
    certificate: str | None = Field(
        default=None, description="PEM file shown to browsers; the console's own certificate by default."
    )
    certificate_key: str | None = Field(default=None, description="PEM file of its key.")
    origin: str | None = Field(
        default=None, description="How browsers call the console, https://HOST or https://HOST:PORT; its address else."
    )
    timezone: str = Field(
        default="UTC", max_length=64, description="Of the times on the page, such as Europe/Brussels."
    )
    link_at_start: bool = Field(default=True, description="Print a one-time login link when the console starts.")
    link_minutes: int = Field(default=15, ge=1, le=60, description="How long a login link is of use.")
    session_hours: int = Field(default=12, ge=1, le=24, description="How long a login lasts.")
    max_sessions: int = Field(default=32, ge=1, le=256, description="Logins at once; one more ends the oldest.")
    max_streams: int = Field(default=64, ge=1, le=512, description="Pages at once that follow the gateway live.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.tls and not is_loopback(self.host):
            raise ValueError("tls = false: plain HTTP is for an address of this machine only, such as localhost:7480")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key are set together")
        if self.origin is not None and not _is_origin(self.origin, secure=self.tls):
            raise ValueError("origin: write https://HOST or https://HOST:PORT, or http:// where tls = false")
        try:
            self.zone()
        except (ValueError, OSError, KeyError) as error:
            raise ValueError("timezone: this machine knows no such zone") from error
        return self

    @property
    def host(self) -> str:
        """Return the host of the address."""
        return self.address.rpartition(":")[0].strip("[]")

    def origin_at(self, port: int) -> str:
        """Return how browsers call the console that listens on a port."""
        if self.origin is not None:
            return self.origin
        host = _LOCALHOST if is_unspecified(self.host) else self.host
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def zone(self) -> tzinfo:
        """Return the time zone of the page."""
        # UTC must not depend on the machine's table of zones, which a small container lacks.
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address with this host."""
    if host.lower() == _LOCALHOST:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Tell an address that stands for all of the machine's."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def load_settings(home: Path, config: Path | None = None) -> ConsoleSettings:
    """Read the settings file that is named, else that of the folder, else take the defaults.

    Raises:
        ConfigError: The file is missing, no TOML, or has an unknown or wrong key.
    """
    return config_of(home, FILE_NAME, ConsoleSettings, config)


def _is_origin(text: str, *, secure: bool) -> bool:
    try:
        parts = urlsplit(text)
        named = parts.hostname and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    scheme = "https" if secure else "http"
    return bool(named) and parts.scheme == scheme and text == f"{scheme}://{parts.netloc}"
