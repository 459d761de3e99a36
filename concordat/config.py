"""One TOML file per service, read into one frozen model.

An unknown key is an error, and so is a missing or wrong value; the message names file and key, never the value, because
a value may be a secret that someone pasted into the wrong place.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

_MAX_BYTES = 1 << 20


class Settings(BaseModel):
    """Base of all settings models: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def load_toml(path: Path, model: type[SettingsT]) -> SettingsT:
    """Read a settings file into `model`.

    Args:
        path: TOML file, UTF-8, at most 1 MiB.
        model: A frozen pydantic model; derive it from `Settings`.

    Raises:
        ConfigError: If the file cannot be read, is no TOML, or has an unknown, missing or wrong key.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        place = f" ({error})" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise ConfigError(f"{path}: no valid TOML{place}") from error
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None


def load_settings(home: Path, name: str, model: type[SettingsT], config: Path | None = None) -> SettingsT:
    """Read the settings file that is named, else `name` in the party's folder, else take the defaults.

    Raises:
        ConfigError: The file is missing, no TOML, or has an unknown or wrong key.
    """
    if config is None and not (home / name).exists():
        return model()
    return load_toml(config or home / name, model)


def explain(error: ValidationError) -> str:
    """Say what is wrong with a model, by field and without any value."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    parts = [f"{_place(detail)}: {_reason(detail)}" for detail in details[:5]]
    if len(details) > len(parts):
        parts.append(f"and {len(details) - len(parts)} more")
    return "; ".join(parts)


def _place(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"]) or "the whole"


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    if detail["type"] == "missing":
        return "missing"
    return detail["msg"].removeprefix("Value error, ")
