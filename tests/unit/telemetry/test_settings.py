"""Telemetry goes over TLS, unless the collector is on the same machine or the operator says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from concordat.cli import run
from concordat.errors import ConfigError
from concordat.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "endpoint",
    ["http://localhost:4317", "http://127.0.0.1:4317", "http://[::1]:4317", "https://collector.example:4317"],
)
def test_an_endpoint_is_taken(endpoint: str) -> None:
    assert TelemetrySettings(otlp=endpoint).otlp == endpoint
    assert TelemetrySettings().sending_to(endpoint).otlp == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4317",
        "http://localhost",
        "http://localhost:99999",
        "ftp://localhost:4317",
        "http://localhost:4317/v1/traces",
        "https://user:hunter2@collector.example:4317",
        "https://collector.example:4317?key=hunter2",
        "http://[::1",
        "",
    ],
)
def test_what_is_no_endpoint_is_refused_and_not_repeated(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="write http"):
        TelemetrySettings(otlp=endpoint)
    with pytest.raises(ConfigError, match="--otlp") as caught:
        TelemetrySettings().sending_to(endpoint)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("host", ["collector.example", "10.0.0.1", "localhost.example", "127.0.0.1.example"])
def test_http_to_another_machine_needs_a_word_of_its_own(host: str) -> None:
    endpoint = f"http://{host}:4317"
    with pytest.raises(ValidationError, match="otlp_insecure"):
        TelemetrySettings(otlp=endpoint)
    assert TelemetrySettings(otlp=endpoint, otlp_insecure=True).otlp == endpoint


def test_roots_are_read_from_the_folder_and_are_for_https(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"roots")
    settings = TelemetrySettings(otlp="https://collector.example:4317", otlp_ca="ca.pem")
    assert settings.roots(tmp_path) == b"roots"
    with pytest.raises(ConfigError, match="otlp_ca"):
        settings.roots(tmp_path / "elsewhere")
    with pytest.raises(ValidationError, match="otlp_ca"):
        TelemetrySettings(otlp="http://localhost:4317", otlp_ca="ca.pem")


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_ratio_is_a_part(ratio: float) -> None:
    with pytest.raises(ValidationError):
        TelemetrySettings(trace_ratio=ratio)


def test_a_command_says_what_is_wrong_with_its_collector_before_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--once", "--otlp", "http://collector.example:4317"]) == 2
    assert "--otlp: http is for a collector on this machine" in capsys.readouterr().err
