"""Where a process sends its spans and metrics; a part of every service's settings."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from concordat.config import Settings, explain
from concordat.errors import ConfigError


class TelemetrySettings(Settings):
    """What every process is told about its telemetry. Nothing is exported without `otlp`."""

    otlp: str | None = Field(
        default=None, description="OTLP/gRPC collector, http://HOST:PORT or https://HOST:PORT; none by default."
    )
    otlp_ca: str | None = Field(
        default=None, description="PEM file of the roots for https, in the folder; the machine's roots by default."
    )
    otlp_insecure: bool = Field(
        default=False, description="Allow http to a collector that is not on this machine: others can read it then."
    )
    trace_ratio: float = Field(default=1.0, ge=0, le=1, description="Part of all traces that is exported.")

    @model_validator(mode="after")
    def _endpoint(self) -> Self:
        if self.otlp is None:
            return self
        host = _host(self.otlp)
        if self.otlp.startswith("http://") and not (self.otlp_insecure or _is_loopback(host)):
            raise ValueError("otlp: http is for a collector on this machine; take https, or set otlp_insecure = true")
        if self.otlp_ca is not None and not self.otlp.startswith("https://"):
            raise ValueError("otlp_ca: is for https")
        return self

    def sending_to(self, otlp: str | None) -> Self:
        """Return these settings with another collector, where one is given.

        Raises:
            ConfigError: It is no endpoint, or http to another machine.
        """
        if otlp is None:
            return self
        try:
            return self.model_validate({**self.model_dump(), "otlp": otlp})
        except ValidationError as error:
            raise ConfigError(f"--otlp: {explain(error).removeprefix('the whole: otlp: ')}") from None

    def roots(self, home: Path | None) -> bytes | None:
        """Return the roots for https; None for those of the machine.

        Raises:
            ConfigError: The file cannot be read.
        """
        if self.otlp_ca is None:
            return None
        path = (home or Path()) / self.otlp_ca
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"otlp_ca: {path} cannot be read ({error.strerror})") from error


def _host(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:
        good = None
    # No path and no user: neither would be used, and either may hold what is secret.
    if not good or endpoint != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError("otlp: write http://HOST:PORT or https://HOST:PORT")
    return parts.hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
