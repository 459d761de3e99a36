"""What the documents say of telemetry is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from concordat.telemetry import TelemetrySettings
from concordat.telemetry.allowed import ATTRIBUTES, SPANS

ROOT: Final = Path(__file__).parents[3]
RESOURCE: Final = {"service.name", "service.version", "service.instance.id"}


def section(title: str) -> str:
    text = (ROOT / "docs/telemetry.md").read_text("utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[str]:
    return re.findall(r"^\| (`.*?) \|", section(title), flags=re.MULTILINE)


def test_the_manual_names_every_setting_and_its_default() -> None:
    named = {row.split("`")[1] for row in rows("Settings")}
    assert named == {*TelemetrySettings.model_fields, "metrics"}


def test_the_manual_names_every_span() -> None:
    assert {row.strip("`") for row in rows("Spans")} == SPANS


def test_the_manual_names_every_metric() -> None:
    sources = [*(ROOT / "concordat/telemetry").glob("*.py"), ROOT / "gateway/metrics.py"]
    made = r'(?:duration|create_\w+)\(\s*"([a-z.]+)"'
    found = {name for source in sources for name in re.findall(made, source.read_text("utf-8"))}
    named = {name for row in rows("Metrics") for name in re.findall(r"`([a-z.]+)`", row)}
    assert named == found
    assert len(named) > 10


def test_the_collectors_fence_is_the_programs_list() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy/otel-collector.yaml").read_text("utf-8"))
    assert set(config["processors"]["redaction"]["allowed_keys"]) == {*ATTRIBUTES, *RESOURCE}
    for pipeline in config["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(config[part])
        assert "redaction" in pipeline["processors"]
