from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.config import Settings, load_toml
from concordat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PASTED = "hunter2-pasted-secret"


class Inner(Settings):
    port: int = 1


class Example(Settings):
    address: str
    inner: Inner = Inner()


def _load(tmp_path: Path, text: str | bytes) -> Example:
    path = tmp_path / "example.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_toml(path, Example)


def test_a_file_becomes_a_frozen_model(tmp_path: Path) -> None:
    assert _load(tmp_path, 'address = "a:1"\n[inner]\nport = 2\n') == Example(address="a:1", inner=Inner(port=2))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'address = "a"\nadress = "{PASTED}"\n', "adress: unknown key"),
        (f'address = "a"\n[inner]\nportt = "{PASTED}"\n', r"inner\.portt: unknown key"),
        ("", "address: missing"),
        (f'address = "a"\n[inner]\nport = "{PASTED}"\n', r"inner\.port: "),
        ("address = ", "no valid TOML"),
        (b"\xff", "no valid TOML"),
        ("#" * ((1 << 20) + 1), "larger than"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_key_and_never_by_value(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"example\.toml.*{told}") as caught:
        _load(tmp_path, text)
    assert PASTED not in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_toml(tmp_path / "nowhere.toml", Example)
