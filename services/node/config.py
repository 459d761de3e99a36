"""The running node's settings: `node.toml` in its folder, or nothing, as every value has a default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.config import load_settings as config_of
from concordat.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "node.toml"


class NodeSettings(TelemetrySettings):
    """What a node is told; whom it dials and what it may ask stands in the manifest."""


def load_settings(home: Path, config: Path | None = None) -> NodeSettings:
    """Read the settings file that is named, else that of the folder, else take the defaults.

    Raises:
        ConfigError: The file is missing, no TOML, or has an unknown or wrong key.
    """
    return config_of(home, FILE_NAME, NodeSettings, config)
