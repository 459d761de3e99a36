"""`concordat partner`, as people and programs see it."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from concordat.cli import run
from tests.unit.client.fake_hub import OFFLINE, TIMED_OUT, FakeHub, hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIST = """identifier;kind;region;client_ref
+40 721 123 456;;;row-1
lena@mail.example;email;;row-2
0722 998 877;phone;RO;
Jane Doe;;;row-4
DE89 3704 0044 0532 0130 00;;;row-5
"""


@pytest.fixture
async def fake(federation: Path) -> AsyncIterator[FakeHub]:
    async with hub(federation) as serving:
        await serving.hold("NL", "e164", "+40721123456")
        yield serving


@pytest.fixture
def why(tmp_path: Path) -> Path:
    path = tmp_path / "why.toml"
    assert run(["partner", "justification", str(path), "--json"]) == 0
    return path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(LIST, encoding="utf-8")
    return path


async def command(*arguments: object) -> int:
    return await asyncio.to_thread(run, [str(one) for one in arguments])


async def check(federation: Path, file: object, why: Path, *options: object) -> int:
    return await command(
        "partner", "check", file, "--home", federation / "partner/IJM", "--justification", why, *options
    )


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


async def test_a_list_is_checked_and_every_line_has_its_result_as_json(
    federation: Path, fake: FakeHub, why: Path, listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(federation, listed, why, "--json") == 0
    found = printed(capsys)
    rows = found["results"]
    assert [(one["line"], one["client_ref"], one["result"]) for one in rows] == [
        (2, "row-1", "hit"),
        (3, "row-2", "no_hit"),
        (4, None, "no_hit"),
        (5, "row-4", "unreadable"),
        (6, "row-5", "not_allowed"),
    ]
    assert rows[0]["hits"] == [{"party": "NL", "class": "eu_state", "handle": rows[0]["hits"][0]["handle"]}]
    assert rows[1]["covered"] == ["NL", "DE"]
    assert rows[1]["not_covered"] == [{"party": "FR", "why": "outside"}]
    assert rows[2]["read_as"] == "+40722998877"
    assert "unknown_kind" in rows[3]["reason"]
    assert [one["state"] for one in found["coverage"]] == ["covered", "covered", "outside"]
    assert len(found["requests"]) == 1


async def test_people_see_hits_first_and_of_whom_they_are(
    federation: Path, fake: FakeHub, why: Path, listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(federation, listed, why) == 0
    out, err = capsys.readouterr()
    words = " ".join(out.split())
    order = [words.index(text) for text in ("hit at NL", "unreadable", "not allowed", "no hit at 2 covered")]
    assert order == sorted(order)
    assert "1 hit, 1 unreadable, 1 not allowed, 2 no hit" in words
    assert "Covered: 2 parties (DE, NL), data of" in words
    assert "not covered: FR (outside the agreement)" in words
    assert "\x1b" not in out
    assert "still has the template's" in err


async def test_i6_the_table_claims_nothing_of_who_is_not_covered(
    federation: Path, fake: FakeHub, why: Path, listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states |= {"NL": OFFLINE, "DE": TIMED_OUT}
    assert await check(federation, listed, why) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "Nobody was covered for all of them; not covered: DE (no answer in time); NL (offline)" in words
    assert "no hit" not in words


async def test_standard_input_is_a_list_and_options_say_kind_and_region(
    federation: Path, fake: FakeHub, why: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"0721 123 456\n\n0722998877\n")))
    assert await check(federation, "-", why, "--region", "RO", "--kind", "whatsapp", "--json") == 0
    rows = printed(capsys)["results"]
    assert [(one["line"], one["kind"], one["result"]) for one in rows] == [
        (1, "whatsapp", "hit"),
        (3, "whatsapp", "no_hit"),
    ]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"lena@b.example\n\xff\n", (), "line 2: is not UTF-8"),
        (b"", (), "no identifiers"),
        (b"lena@b.example", ("--region", "Mars"), "--region is a two-letter"),
        (b"lena@b.example", ("--kind", "nonsense"), "--kind: no such kind"),
    ],
)
async def test_what_is_wrong_with_the_input_ends_with_2_and_shows_no_identifier(
    federation: Path,
    why: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    options: tuple[str, ...],
    message: str,
) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert await check(federation, path, why, *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "b.example" not in err


async def test_an_identifier_in_place_of_a_file_is_not_repeated(
    federation: Path, why: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(federation, "+40721123456", why) == 2
    err = capsys.readouterr().err
    assert "give a file, or - for standard input" in err
    assert "40721123456" not in err
    assert await check(federation, "+40721123456", why, "lena@mail.example") == 2
    err = capsys.readouterr().err
    assert "never among the arguments" in err
    assert "lena" not in err


async def test_a_list_of_which_nothing_can_be_read_ends_with_2_and_a_gateway_that_is_not_there_with_1(
    federation: Path, why: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("Jane Doe\n", encoding="utf-8")
    assert await check(federation, path, why, "--json") == 2
    assert printed(capsys)["results"][0]["result"] == "unreadable"
    path.write_text("lena@mail.example\n", encoding="utf-8")
    assert await check(federation, path, why, "--json") == 1
    assert printed(capsys)["error"]["code"] == "unavailable"


async def test_without_a_justification_it_says_how_to_make_one(
    federation: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(federation, listed, tmp_path / "none.toml") == 2
    assert "concordat partner justification FILE" in capsys.readouterr().err
    why = tmp_path / "why.toml"
    assert await command("partner", "justification", why) == 0
    assert await command("partner", "justification", why) == 2
    text = why.read_text(encoding="utf-8")
    assert "was not overwritten" in capsys.readouterr().err
    assert "subject_category" in text


async def test_a_gateway_that_is_away_is_named_and_no_custodian_is(
    federation: Path, listed: Path, why: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(federation, listed, why) == 1
    said = capsys.readouterr().err
    assert "gateway g1" in said
    assert "custodian" not in said


async def test_status_says_what_the_agreement_allows_and_whether_the_gateway_answers(
    federation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation / "partner/IJM"
    assert await command("partner", "status", "--home", home, "--json") == 1
    assert "cannot be reached" in printed(capsys)["trouble"]
    async with hub(federation):
        assert await command("partner", "status", "--home", home, "--json") == 0
        found = printed(capsys)
        assert await command("partner", "status", "--home", home) == 0
        words = " ".join(capsys.readouterr().out.split())
    assert (found["answering"], found["outside"]) == (["NL", "DE"], ["FR"])
    assert found["rights"]["missing_person"] == ["e164"]
    assert found["scopes"] == ["evaluate", "query"]
    assert "for missing_person: e164" in words
    assert "outside the agreement: FR" in words


async def test_a_report_is_shown_as_a_table_or_as_it_was_signed(
    federation: Path, fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    text = fake.show_report("/v1/operations/op1/report", operation="op1")
    home = federation / "partner/IJM"
    assert await command("partner", "report", "op1", "--home", home, "--json") == 0
    assert printed(capsys) == json.loads(text)
    assert await command("partner", "report", "op1", "--home", home) == 0
    shown = capsys.readouterr().out
    assert "Values that two or more participants hold: 3" in shown
    assert "not in them: DE (absent)" in shown
    assert "in no row above: iban 2" in shown
    assert await command("partner", "report", "op2", "--home", home) == 1
    assert "[refused]" in capsys.readouterr().err


async def test_the_only_folder_is_found_and_otherwise_asked_for(
    federation: Path, fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await command("partner", "status") == 2
    assert "--home" in capsys.readouterr().err
    (tmp_path / "federation/partner").mkdir(parents=True)
    (tmp_path / "federation/partner/IJM").symlink_to(federation / "partner/IJM")
    assert await command("partner", "status") == 0
