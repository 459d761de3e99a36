"""A partner at the table: real processes, the command and the client, and what the holders are told (3.9)."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concordat.client import Client, Cover, Item
from concordat.clock import SystemClock
from concordat.errors import IdentityError
from concordat.identity.home import load_home
from concordat.tokens import MaskKey
from demo.processes import free_ports
from demo.scenario import Party
from tests.e2e.api_tap import ApiTap
from tests.e2e.canaries import Canary, Scanner
from tests.e2e.local import KillableFederation, run_json, settled, until
from tests.unit.client.fake_hub import CASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concordat.client import Outcome

pytestmark = pytest.mark.slow

HELD = "+40 721 123 456"
CLOSED = "only.fr@mail.example"
UNKNOWN = "t.me/nobody_knows_this"


class PartnerFederation(KillableFederation):
    """NL and DE answer partners, FR does not; IJM only asks. Its API is reached through a tap."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ("NL", "DE", "FR"))
        self._parties = {name: Party(answers_partners=name != "FR") for name in self.names}
        self._partners = ("IJM",)

    @property
    def partner(self) -> Path:
        return self.home("IJM", "partner")

    @contextmanager
    def tapped(self) -> Iterator[ApiTap]:
        """Let the gateway listen elsewhere, and put a tap at the address of the manifest."""
        assert self.manifest is not None
        gateway, listen = self.home("g1", "gateway"), self.manifest.gateways[0].api_address or ""
        dial = f"localhost:{free_ports(1)[0]}"
        (gateway / "gateway.toml").write_text(f'api = "{dial}"\n', encoding="utf-8")
        with ApiTap(gateway, listen=listen, dial=dial) as tap:
            yield tap

    def of_partner(self, name: str) -> list[dict[str, Any]]:
        """Return the matches with the partner that a node shows."""
        found = run_json("node", "matches", "--home", self.home(name))["matches"]
        return [one for one in found if one["other"].endswith("/partner/IJM")]


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PartnerFederation, ApiTap]]:
    with PartnerFederation(tmp_path_factory.mktemp("partner")) as federation:
        federation.prepare()
        with federation.tapped() as tap:
            federation.start()
            files = {"NL": f"phone,{HELD}\n", "DE": f"whatsapp,{HELD}\n", "FR": f"phone,{HELD}\nemail,{CLOSED}\n"}
            for name, rows in files.items():
                path = federation.folder / f"{name}.csv"
                path.write_text(f"kind,identifier\n{rows}", encoding="utf-8")
                federation.submit(name, path)
            settled(federation, told=6)
            yield federation, tap


@pytest.fixture
def federation(tapped: tuple[PartnerFederation, ApiTap]) -> PartnerFederation:
    tapped[0].whole()
    return tapped[0]


def ask(federation: PartnerFederation, *items: str | Item) -> Outcome:
    async def asked() -> Outcome:
        async with Client.open(federation.partner) as client:
            return await client.check(items, CASE)

    return asyncio.run(asked())


def test_a_partner_sees_hits_misses_and_who_is_outside_and_each_holder_is_told_once(
    federation: PartnerFederation, tmp_path: Path
) -> None:
    listed, why = tmp_path / "list.csv", tmp_path / "why.toml"
    listed.write_text(
        f"identifier,client_ref\n{HELD},row-1\n{CLOSED},row-2\n{UNKNOWN},row-3\nJane Doe,row-4\n", encoding="utf-8"
    )
    run_json("partner", "justification", why)
    command = ("partner", "check", listed, "--home", federation.partner, "--justification", why)

    found = run_json(*command)

    rows = {one["client_ref"]: one for one in found["results"]}
    assert [one["result"] for one in rows.values()] == ["hit", "no_hit", "no_hit", "unreadable"]
    assert sorted(hit["party"] for hit in rows["row-1"]["hits"]) == ["DE", "NL"]
    assert sorted(rows["row-2"]["covered"]) == ["DE", "NL"]
    assert rows["row-2"]["not_covered"] == [{"party": "FR", "why": "outside"}]
    assert len(found["requests"]) == 1

    # Asked again, by another process and by the client: the same hits, and nobody is told again.
    again = run_json(*command)
    assert [one["hits"] for one in again["results"]] == [one["hits"] for one in found["results"]]
    assert again["requests"] != found["requests"]
    assert ask(federation, HELD)[0].hits[0].handle == rows["row-1"]["hits"][0]["handle"]
    for name in ("NL", "DE"):
        until(f"{name} is told", partial(federation.of_partner, name))
    # What would be told twice would be there by the end of one more tick.
    ask(federation, UNKNOWN)
    for name in ("NL", "DE"):
        assert [(one["asked"], one["other_looks_once"]) for one in federation.of_partner(name)] == [(False, True)]
    assert federation.of_partner("FR") == []


def evaluations_logged(federation: PartnerFederation) -> set[tuple[str, str]]:
    """Return request and justification hash of all that the custodians logged for the partner."""
    logs = [federation.home(f"c{number}", "custodian") / "custodian.log" for number in (1, 2, 3)]
    lines = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    return {(one["request"], one["justification"]) for one in lines if one["requester"].endswith("/IJM")}


def test_i5_a_partner_opens_the_hashes_that_others_logged(federation: PartnerFederation, tmp_path: Path) -> None:
    """Evidence that nobody can open is none."""
    listed, why = tmp_path / "list.csv", tmp_path / "why.toml"
    listed.write_text("t.me/asked_for_the_audit\n", encoding="utf-8")
    run_json("partner", "justification", why)
    mine = ("--home", federation.partner, "--justification", why)
    before = evaluations_logged(federation)
    (request,) = run_json("partner", "check", listed, *mine)["requests"]
    logged = evaluations_logged(federation) - before
    ledger = sqlite3.connect(federation.home("g1", "gateway") / "ledger.db")
    query = "SELECT justification_hash FROM check_log WHERE check_id = ?"
    (digest,) = ledger.execute(query, (bytes.fromhex(request),)).fetchone()
    ledger.close()
    assert len(logged) == 2, "one request a custodian"
    for name, seen in {(request, digest.hex()), *logged}:
        opened = run_json("partner", "audit", name, seen, *mine)
        assert opened["justification"]["purpose"] == "investigation"
    why.write_text(why.read_text("utf-8").replace("analyst-1", "analyst-2"), encoding="utf-8")
    refused = run_json("partner", "audit", request, digest.hex(), *mine, code=2)
    assert refused["error"]["code"] == "justification_missing"


def test_i6_a_holder_that_is_away_is_offline_and_named_and_the_partner_is_served_again_after_a_restart(
    federation: PartnerFederation,
) -> None:
    federation.kill(federation.host_of("DE"))

    def away() -> bool:
        one = ask(federation, HELD)[0]
        return {cover.party: cover.cover for cover in one.coverage}["DE"] is Cover.OFFLINE

    until("DE counts as offline", away)
    found = ask(federation, HELD, UNKNOWN)
    assert [one.result.value for one in found] == ["hit", "no_hit"]
    assert [hit.party for hit in found[0].hits] == ["NL"]
    assert found[1].sentence() == ("no hit at the party covered; not covered: DE (offline); FR (outside the agreement)")
    federation.revive(federation.host_of("DE"))
    federation.wait_attached(["DE"])

    async def through_a_restart() -> Outcome:
        async with Client.open(federation.partner) as client:
            await client.check([HELD], CASE)
            await asyncio.to_thread(federation.kill, federation.hub)
            await asyncio.to_thread(federation.whole)
            # Its token ended with the gateway's process; the client sees nothing of it.
            return await client.check([HELD], CASE)

    assert sorted(hit.party for hit in asyncio.run(through_a_restart())[0].hits) == ["DE", "NL"]


def test_another_key_or_another_party_gets_no_token(federation: PartnerFederation) -> None:
    status = run_json("partner", "status", "--home", federation.partner)
    assert status["scopes"] == ["evaluate", "query", "report"]
    assert (sorted(status["answering"]), status["outside"]) == (["DE", "NL"], ["FR"])
    key = federation.partner / "sign.key"
    good = key.read_bytes()
    try:
        key.write_bytes((federation.home("NL") / "sign.key").read_bytes())
        with pytest.raises(IdentityError, match="not the key that the manifest names"):
            ask(federation, HELD)
    finally:
        key.write_bytes(good)


def test_i1_nothing_that_the_partner_knows_is_on_its_wire_or_in_the_gateway_s_folder_and_a_planted_leak_is_found(
    tapped: tuple[PartnerFederation, ApiTap],
) -> None:
    federation, tap = tapped
    federation.whole()
    items = [Item("(0040) 721-123-456", client_ref="reference-0047"), Item("Lena.P+1@googlemail.com"), Item(UNKNOWN)]

    async def asked(*, planted: str | None = None) -> Scanner:
        async with Client.open(federation.partner) as client:
            await client.check(items, CASE)
            secrets: list[tuple[str, str | bytes]] = [("client_ref", "reference-0047"), ("case", CASE.reference)]
            secrets += [("typed", item.text) for item in items]
            for value, known in client._kept.items():
                secrets += [("canonical", value.canonical), ("label", known.label), ("secret", known.secret)]
                mask = MaskKey(load_home(federation.partner, clock=SystemClock()).mask_key(1))
                assert mask.apply(known.label) == known.token
            if planted is not None:
                exchange = client._session._connection.exchange("GET", f"/v1/{planted}", headers={}, token=None)
                async with exchange as response:
                    await client._session._connection.read(response)
            return Scanner(Canary(number, what, value) for number, (what, value) in enumerate(secrets))

    scanner = asyncio.run(asked())
    places = tap.places()
    assert sum(content.count(b"POST /v1/queries") for _, content in places) >= 1
    assert sum(content.count(b"POST /v1/evaluations") for _, content in places) >= 2
    disk = [
        (str(path), path.read_bytes())
        for folder in (federation.home("g1", "gateway"), federation.partner)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    log = [("the gateway's log", (federation.folder / "gateway.log").read_bytes())]
    assert scanner.find_all([*places, *disk, *log]) == []

    before = len(places)
    found = asyncio.run(asked(planted="lenap%40gmail.com")).find_all(tap.places()[before:])
    assert {one.encoding for one in found} == {"percent"}


def test_what_the_manual_shows_works_as_it_stands(federation: PartnerFederation) -> None:
    manual = (Path(__file__).parents[2] / "docs/sdk.md").read_text(encoding="utf-8")
    (federation.folder / "list.csv").write_text(f"identifier\n{HELD}\n", encoding="utf-8")
    python = shlex.quote(sys.executable)

    def run(command: str) -> str:
        done = subprocess.run(command, shell=True, cwd=federation.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    commands = re.findall(r"^\$ concordat (.*)$", manual, re.MULTILINE)
    assert len(commands) == 4
    said = [run(f"{python} -m concordat {command}") for command in commands]
    assert "lets you: evaluate, query, report" in said[1]
    assert "hit at DE, NL" in said[2]
    assert '"result": "hit"' in said[3]
    (program,) = re.findall(r"^```python\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    (federation.folder / "ask.py").write_text(program, encoding="utf-8")
    lines = run(f"{python} ask.py").splitlines()
    assert lines[0].startswith("None hit at DE, NL (M-")
    assert lines[2] == "row 7 no hit at the 2 parties covered; not covered: FR (outside the agreement)"
    assert "'eu_state'" in lines[3]
