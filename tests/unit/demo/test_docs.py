"""What the documents show is so: commands exist, examples load, and tables are those of the code."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from pathlib import Path
from typing import Final

import pytest

from concordat.cli import run
from concordat.protocol.report import ROW_OF_NAMESPACE, TOTALS
from demo.scenario import load_scenario
from services.node.case import parse_case, template

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
COMMAND: Final = re.compile(
    r"concordat (console|demo|federation|custodian|gateway|node|oprf|partner)((?: [a-z][a-z-]+)*)"
)


def commands() -> list[tuple[str, ...]]:
    found = {
        (match[1], *match[2].split())
        for page in PAGES
        for span in re.findall(r"`([^`\n]+)`|^(concordat .*)$", page.read_text("utf-8"), re.MULTILINE)
        for match in COMMAND.finditer(span[0] or span[1])
    }
    return sorted(found)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_that_a_page_names_is_there(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    # What follows a command may be a value, such as the name of a file.
    shown = []
    for length in (len(words), len(words) - 1):
        assert run([*words[:length], "--help"]) == 0
        shown.append(" ".join(capsys.readouterr().out.split()))
    assert any(f"Usage: concordat {' '.join(words[: len(words) - at])} " in text for at, text in enumerate(shown))


def test_pages_name_commands() -> None:
    assert {("node", "audit"), ("node", "justification"), ("custodian", "quota")} <= set(commands())


def test_the_example_of_a_scenario_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/scenario.md").read_text("utf-8"), re.DOTALL)
    path = tmp_path / "scenario.json"
    path.write_text(example)
    assert load_scenario(path).totals == {"communication_devices": 2}
    assert set(json.loads(example)) == {"name", "parties", "lines", "match", "differ", "totals"}


def test_the_rows_of_the_report_are_those_of_the_code() -> None:
    text = (ROOT / "docs/report.md").read_text("utf-8")
    rows = re.findall(r"^\|.*\(`(\w+)`\) \| ((?:`\w+`(?:, )?)+)", text, re.MULTILINE)
    assert {name for name, _ in rows} == set(TOTALS)
    by_page = {
        namespace: name for name, cell in rows for namespace in re.findall(r"`(\w+)`", cell) if "platforms_" not in name
    }
    assert by_page == dict(ROW_OF_NAMESPACE)


def test_a_justification_opens_as_the_page_on_audits_says() -> None:
    case, salt = parse_case(template(date(2027, 1, 1)), today=date(2026, 1, 1)), b"s" * 16
    said = b"concordat/v1/justification" + b"\0" + len(salt).to_bytes(2, "big") + salt + case.justification_bytes()
    assert case.justification_hash(salt) == hashlib.sha256(said).digest()
