"""Settings: what may go over plain HTTP, how browsers call the console, and that the example is one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from concordat.errors import ConfigError
from services.console.config import FILE_NAME, ConsoleSettings, load_settings
from services.console.service import origins_of


def test_the_example_settings_are_the_defaults() -> None:
    text = (Path(__file__).parents[3] / "services/console/example.toml").read_text(encoding="utf-8")
    assert ConsoleSettings.model_validate(tomllib.loads(text)) == ConsoleSettings()
    for name in ConsoleSettings.model_fields:
        assert f"{name} = " in text, "every setting is explained"


@pytest.mark.parametrize("address", ["localhost:7480", "127.0.0.1:0", "[::1]:7480", "127.1.2.3:80"])
def test_plain_http_is_for_this_machine(address: str) -> None:
    assert not ConsoleSettings(address=address, tls=False).tls


@pytest.mark.parametrize("address", ["0.0.0.0:7480", "[::]:7480", "console.example:7480", "192.0.2.1:7480"])
def test_plain_http_for_others_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="this machine only"):
        ConsoleSettings(address=address, tls=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"origin": "http://console.example"},
        {"origin": "https://console.example/"},
        {"origin": "https://user@console.example"},
        {"origin": "console.example"},
        {"certificate": "web.crt"},
        {"timezone": "Middle/Earth"},
        {"timezone": "../../etc/passwd"},
        {"session_hours": 1000},
        {"link_minutes": 0},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ConsoleSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "origin", "others"),
    [
        ({}, "https://localhost:7480", {"https://127.0.0.1:7480", "https://[::1]:7480"}),
        ({"address": "0.0.0.0:7480"}, "https://localhost:7480", {"https://127.0.0.1:7480", "https://[::1]:7480"}),
        ({"address": "console.example:443"}, "https://console.example:443", set()),
        (
            {"address": "[::1]:7480", "tls": False},
            "http://[::1]:7480",
            {"http://localhost:7480", "http://127.0.0.1:7480"},
        ),
        ({"address": "0.0.0.0:7480", "origin": "https://console.example"}, "https://console.example", set()),
    ],
)
def test_browsers_call_the_console_as_its_settings_say(
    settings: dict[str, object], origin: str, others: set[str]
) -> None:
    made = ConsoleSettings.model_validate(settings)
    port = int(made.address.rpartition(":")[2])
    assert made.origin_at(port) == origin
    assert set(origins_of(made, origin, port)) == {origin} | others


def test_a_wrong_file_is_named_and_its_values_are_not(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('address = "0.0.0.0:7480"\ntls = false\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"console\.toml.*plain HTTP") as caught:
        load_settings(tmp_path)
    assert "0.0.0.0" not in caught.value.message
