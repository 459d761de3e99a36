"""The command line of a node stores without a running node, says what was refused and why, and prints JSON."""

from __future__ import annotations

import io
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concordat.cli import run
from concordat.justification import Step, justification_salt
from services.node import cli_operation
from services.node.case import load_case
from services.node.config import NodeSettings, load_settings
from services.node.store.rows import ToldRow
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from concordat.identity.home import Home

OTHER = "spiffe://test.example/node/DE"


@pytest.fixture
def case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "case.toml"
    assert run(["node", "case", "new", str(path)]) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("identifier\n+44 7700 900123\nnonsense\n0610000001\n")
    return path


def submit(path: Path, case: Path, home: Home, *more: str) -> int:
    return run(["node", "submit", str(path), "--case", str(case), "--home", str(home.path), *more])


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_submit_reports_as_json(home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(listing, case, home, "--kind", "phone", "--region", "de", "--json") == 0
    report = said(capsys)
    assert (report["accepted"], report["refused"], report["region_assumed"]) == (2, 1, 0)
    assert report["refused_lines"] == [
        {"line": 3, "code": "unreadable_phone", "reason": "the number has letters that no dial has"}
    ]
    assert (report["running"], report["again"], report["matches"]) == (False, False, [])
    assert report["progress"] == {"values": 2, "tokenised": 0, "published": 0, "asked": 0, "settled": 0}


def test_a_submit_reports_to_people(home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(listing, case, home, "--kind", "phone") == 0
    text = " ".join(capsys.readouterr().err.split())
    assert "accepted 2 (known before: 0), refused 1" in text
    assert "1 number was read in a region that was assumed" in text
    assert "line 3: the number has letters that no dial has [unreadable_phone]" in text
    assert "The node is not running" in text
    # Nobody was covered, so nothing is said of hits (I6).
    assert "No match" not in text


def test_a_file_of_which_nothing_can_be_read_is_wrong_input_and_claims_nothing(
    home: Home, case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("identifier\nnonsense\n")
    assert submit(path, case, home, "--kind", "phone") == 2
    text = capsys.readouterr().err
    assert "line 2: the number has letters that no dial has" in text
    assert "nothing is known of matches" in text
    assert "No match" not in text


def test_a_file_that_was_read_wrongly_is_read_again_with_other_options(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(listing, case, home, "--json") == 2
    assert (said(capsys)["accepted"], submit(listing, case, home, "--kind", "phone", "--json")) == (0, 0)
    report = said(capsys)
    assert (report["accepted"], report["again"]) == (2, False)
    assert submit(listing, case, home, "--kind", "phone", "--json") == 0
    assert said(capsys)["again"] is True


def test_a_typed_value_is_shown_as_it_is_read(home: Home, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--kind", "phone", "--case", str(case), "--home", str(home.path)]
    assert run(["node", "check", "0610000001", *common]) == 0
    assert "0610000001 is read as +31610000001 (NL, assumed)" in capsys.readouterr().err


def test_identifiers_are_read_from_standard_input(
    home: Home, case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--kind", "phone", "--case", str(case), "--home", str(home.path), "--json"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("+44 7700 900123\r\n+44 7700 900124\n"))
    assert run(["node", "check", "-", *common]) == 0
    report = said(capsys)
    assert report["accepted"] == 2
    # No node runs, so that nobody was asked: a program must not read 'no hit' (I6).
    assert {one["state"] for one in report["not_covered"]} == {"new"}
    assert run(["node", "check", "+44 7700 900125", "--look-onse", *common]) == 2
    assert "option" in said(capsys)["error"]["message"]


def test_a_case_profile_that_was_not_filled_in_is_warned_of(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(listing, case, home, "--kind", "phone")
    assert "still has the template's reference, authority, officer" in capsys.readouterr().err
    case.write_text(case.read_text().replace("officer-17", "officer-18").replace("Unit 1", "Unit 2"))
    submit(listing, case, home, "--kind", "phone")
    assert "still has the template's reference:" in capsys.readouterr().err


def test_an_operation_without_a_charter_here_is_warned_of(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(listing, case, home, "--kind", "phone", "--operation", "op-mistyped") == 0
    assert "has signed no charter of op-mistyped" in capsys.readouterr().err


def test_no_charter_is_signed_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert not cli_operation._confirmed()


def test_spellings_of_one_match_are_one_row(home: Home, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for spelling in ("+44 7700 900123", "tel:+447700900123"):
        run(["node", "check", spelling, "--kind", "phone", "--case", str(case), "--home", str(home.path)])
    with Store.open(home.path / FILE_NAME) as store:
        with store.read() as db:
            (reference,) = db.execute("SELECT reference FROM value WHERE grade = 1").fetchone()
        store.receive_notice(1, b"", told=told(reference), at=1.0)
    capsys.readouterr()
    assert run(["node", "matches", "--all", "--home", str(home.path)]) == 0
    text = capsys.readouterr().out
    assert text.count("M-1") == 1
    assert text.count("DE ") == 1
    assert "tel:+447700900123 (phone)" in text


def test_single_values_are_checked_and_kept_or_looked_at_once(
    home: Home, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--kind", "whatsapp", "--case", str(case), "--home", str(home.path), "--json"]
    assert run(["node", "check", "+44 7700 900123", "--look-once", *common]) == 0
    assert said(capsys)["accepted"] == 1
    assert run(["node", "check", "+44 7700 900123", *common]) == 0
    assert said(capsys)["again"] is False
    assert run(["node", "records", "--home", str(home.path), "--json"]) == 0
    assert [one["look_once"] for one in said(capsys)["records"]] == [False]


def test_records_status_cases_and_matches_are_shown(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(listing, case, home, "--kind", "phone", "--json")
    capsys.readouterr()
    with Store.open(home.path / FILE_NAME) as store:
        with store.read() as db:
            (reference,) = db.execute(
                "SELECT reference FROM value WHERE canonical = '+447700900123' AND grade = 1"
            ).fetchone()
        store.receive_notice(1, b"", told=told(reference), at=1.0)
        store.set_condition("tokenise", "waiting: 2 of 3 custodians are needed", 1.0)
        store.add_incident(
            at=1.0, party="spiffe://test.example/custodian/c2", what="its proof did not hold", evidence="{}"
        )
    where = ["--home", str(home.path), "--json"]
    run(["node", "matches", *where])
    (match,) = said(capsys)["matches"]
    assert (match["typed"], match["file"], match["line"]) == ("+44 7700 900123", "list.csv", 2)
    assert (match["other"], match["handle"], match["grade"]) == (OTHER, "M-1", "strong")
    # Nothing of the other side but who it is (I4).
    assert "other_reference" not in match
    run(["node", "records", "--refused", *where])
    assert [(one["line"], one["typed"]) for one in said(capsys)["records"]] == [(3, "nonsense")]
    run(["node", "records", "--behind", "1", "--limit", "1", *where])
    page = said(capsys)
    assert ([one["line"] for one in page["records"]], page["total"]) == ([3], 3)
    run(["node", "records", "--file", "list.csv", "--refused", *where])
    assert said(capsys)["total"] == 1
    assert run(["node", "records", "--file", "lst.csv", *where]) == 2
    assert "no file of this name" in said(capsys)["error"]["message"]
    run(["node", "records", "--limit", "1", *where[:2]])
    assert "2 more; --behind 1 shows the next ones" in capsys.readouterr().err
    run(["node", "status", *where])
    status = said(capsys)
    assert (status["accepted"], status["to_check"], status["shown"], status["running"]) == (2, 4, 1, False)
    assert status["conditions"][0]["text"] == "waiting: 2 of 3 custodians are needed"
    assert status["incidents"][0]["party"].endswith("c2")
    run(["node", "case", "show", *where])
    assert [one["reference"] for one in said(capsys)["cases"]] == ["THB-2026-0001"]
    for command in (["matches", "--all"], ["records"], ["status"], ["case", "show"]):
        assert run(["node", *command, "--home", str(home.path)]) == 0
    assert "M-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "Atlantis"], "two-letter country code"),
        (["--kind", "spaceship"], "the kinds are phone, fax,"),
        (["--operation"], "operation"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert submit(listing, case, home, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (home.path / FILE_NAME).exists() or not shown(home)


def test_a_folder_of_another_party_is_refused(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["node", "status", "--home", str(federation / "custodian/c1")]) == 2
    assert "not of a node" in capsys.readouterr().err


def test_a_case_profile_that_is_there_is_not_overwritten(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = case.read_text()
    assert run(["node", "case", "new", str(case)]) == 2
    assert case.read_text() == before
    assert "not overwritten" in capsys.readouterr().err


def test_the_example_settings_are_settings(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "services/node/example.toml"
    assert load_settings(tmp_path, example) == NodeSettings() == load_settings(tmp_path)


def shown(home: Home) -> list[object]:
    with Store.open(home.path / FILE_NAME) as store, store.read() as db:
        return db.execute("SELECT typed FROM record").fetchall()


def told(reference: bytes) -> ToldRow:
    return ToldRow(
        edge_id=b"e" * 16,
        own_reference=reference,
        other=OTHER,
        other_reference=b"r" * 16,
        handle="M-1",
        grade=1,
        told_at_ms=1_795_500_000_000,
        asked=True,
        check_id=None,
        sweep_id=None,
        look_once=False,
    )


def test_the_proof_commands_answer_before_anything_was_asked(
    home: Home, case: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(listing, case, home, "--kind", "phone", "--json")
    capsys.readouterr()
    profile = load_case(case, today=date(2026, 1, 1))
    request = b"r" * 16
    digest = profile.justification_hash(justification_salt(home.signing_key, Step.EVALUATE, request)).hex()
    where = ["--home", str(home.path), "--json"]
    assert run(["node", "audit", *where]) == 0
    assert said(capsys) == {"checks": [], "of_others": []}
    assert run(["node", "justification", request.hex(), digest, *where]) == 0
    assert said(capsys)["case"] == "THB-2026-0001"
    at = ["--home", str(home.path)]
    assert run(["node", "officer", "add", profile.officer, "A. Example", "--unit", "Unit 1", *at]) == 0
    capsys.readouterr()
    assert run(["node", "justification", request.hex(), digest, *where]) == 0
    assert said(capsys)["officers"] == [{"pseudonym": profile.officer, "name": "A. Example", "unit": "Unit 1"}]
    assert run(["node", "justification", request.hex(), digest, *at]) == 0
    assert f"{profile.officer} is A. Example, Unit 1" in capsys.readouterr().out
    assert run(["node", "justification", request.hex(), "00" * 32, *where]) == 2
    assert said(capsys)["error"]["code"] == "justification_missing"
    assert run(["node", "justification", request.hex(), "no hash", *where]) == 2
