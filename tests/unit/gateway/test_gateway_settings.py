"""Settings, the table of who may call what, and sabotage: all data, all refused where they are wrong."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.cli import run
from concordat.errors import ConfigError
from gateway.config import GatewaySettings, load_settings
from gateway.postgres import Postgres
from gateway.rules import Limits
from gateway.sabotage import LossyTable, SilentLedger
from gateway.sweep.effects import SweepSettings
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from tests.unit.gateway.world import World

EXAMPLE = Path(str(resources.files("gateway") / "example.toml"))


def test_the_example_names_every_setting_with_its_default() -> None:
    written = load_settings(Path(), EXAMPLE)
    assert written == GatewaySettings(address="0.0.0.0:7400", ledger="ledger.db")
    text = EXAMPLE.read_text()
    for name in (*GatewaySettings.model_fields, *SweepSettings.model_fields, *Limits.model_fields):
        assert f"{name} =" in text or f"[{name}]" in text


def test_every_setting_says_what_it_is() -> None:
    models = (GatewaySettings, SweepSettings, Limits)
    fields = [field for model in models for field in model.model_fields.values()]
    assert all(field.description and not field.is_required() for field in fields)


def test_an_unknown_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("[limits]\nmax_itens = 3\n")
    with pytest.raises(ConfigError, match=r"limits\.max_itens"):
        load_settings(tmp_path)


def test_a_folder_without_settings_has_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings == GatewaySettings()
    assert settings.database(tmp_path) == tmp_path / "ledger.db"
    url = "postgresql+pg8000://hub@db.example/ledger"
    given = GatewaySettings(ledger=url, ledger_password_file=Path("secret"), ledger_tls_ca=Path("/ca.pem"))
    wanted = Postgres(url, password_file=tmp_path / "secret", tls_ca=Path("/ca.pem"))
    assert given.database(tmp_path) == wanted


def test_check_config_reads_a_folder_and_starts_nothing(
    federation_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gateway", "check-config", "--home", str(federation_folder / "gateway" / "g1"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["nodes"], found["settings"]["limits"]["max_items"]) == (4, 4096)
    assert run(["gateway", "check-config", "--home", str(federation_folder / "node" / "NL"), "--json"]) != 0


def test_status_shows_numbers_only(federation_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(federation_folder / "gateway" / "g1")
    arguments = ["gateway", "status", "--home", home, "--ledger", str(tmp_path / "l.db"), "--json"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("sweeps") == []
    assert set(found.values()) == {0}


def test_a_sabotage_that_does_not_exist_is_refused(
    federation_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(federation_folder / "gateway" / "g1")
    ledger = str(tmp_path / "l.db")
    arguments = ["gateway", "run", "--home", home, "--ledger", ledger, "--sabotage", "tea", "--json"]
    assert run(arguments) == 2
    assert "no such sabotage" in capsys.readouterr().out


def test_the_lossy_table_loses_every_match(world: World) -> None:
    manifest = world.federation.manifest
    parties = tuple(party.id for party in manifest.nodes)
    lossy = LossyTable(parties, log2_slots=manifest.plane_log2_slots, hashes=manifest.plane_hashes)
    world.stop(world.hubs[0])
    world.hub(table=lossy)
    de, nl = world.attached("DE", "x", "y"), world.attached("NL", "x", "y")
    nl.check("x", "y")
    world.window()
    assert (nl.told, de.told) == ([], [])


def test_the_silent_ledger_never_tells_its_victim(world: World) -> None:
    ledger = world.ledger
    silent = SilentLedger(ledger._engine, now_ms=ledger._now_ms, random_bytes=ledger._random_bytes)
    silent.victim = world.federation.id("DE")
    world.ledger = silent
    world.stop(world.hubs[0])
    world.hub()
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.window()
    assert (len(nl.told), len(de.told)) == (1, 0)
    assert not told_once(nl, de)
