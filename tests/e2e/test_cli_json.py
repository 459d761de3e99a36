"""What programs read is one JSON object, whichever command they call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.local import concordat, mail, mails, run_json

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.local import KillableFederation


@pytest.mark.slow
def test_what_programs_read_is_one_json_object(whole_federation: KillableFederation, tmp_path: Path) -> None:
    federation, first = whole_federation, 50_000
    where = {name: ("--home", federation.home(name), "--case", federation.case()) for name in federation.names}
    file = mails(tmp_path / "list.csv", range(first, first + 3))
    with file.open("a", encoding="utf-8") as more:
        more.write("phone,nonsense\n")

    with concordat("node", "submit", file, *where["NL"], "--json") as process:
        report = json.loads(process.communicate()[0])
    assert (report["accepted"], report["refused"], report["again"], report["running"]) == (3, 1, False, True)
    assert [(one["line"], one["code"]) for one in report["refused_lines"]] == [(5, "unreadable_phone")]
    assert report["progress"] == dict.fromkeys(("values", "tokenised", "published", "asked", "settled"), 3)
    assert (report["not_covered"], report["matches"]) == ([], [])
    assert run_json("node", "submit", file, *where["NL"])["again"] is True

    (found,) = run_json("node", "check", mail(first), "--kind", "email", *where["DE"])["matches"]
    assert (found["other"].rpartition("/")[2], found["typed"], found["asked"]) == ("NL", mail(first), True)

    home = ("--home", federation.home("DE"))
    (match,) = (one for one in run_json("node", "matches", *home)["matches"] if one["typed"] == mail(first))
    assert match == found
    assert mail(first) in {one["typed"] for one in run_json("node", "records", *home)["records"]}
    refused = run_json("node", "records", "--refused", "--home", federation.home("NL"))["records"]
    assert [one["typed"] for one in refused] == ["nonsense"]
    status = run_json("node", "status", *home)
    assert (status["node"].rpartition("/")[2], status["running"], status["pending"]) == ("DE", True, [])
    assert [one["reference"] for one in run_json("node", "case", "show", *home)["cases"]] == ["THB-2026-0001"]
    assert run_json("node", "operation", "list", *home) == {"operations": []}

    hub = ("--home", federation.home("g1", "gateway"))
    assert run_json("gateway", "check-config", *hub)["nodes"] == 2
    assert run_json("gateway", "status", *hub)["edges_live"] >= 1
    custodian = ("--home", federation.home("c1", "custodian"))
    assert run_json("custodian", "check-config", *custodian, code=2)["error"]["code"] == "bad_config"
    assert run_json("federation", "check", federation.home("NL"))["manifest_version"] == 1
