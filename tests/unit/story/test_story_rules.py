"""A story holds when every rule does; each rule is broken once here, and the verifier names it (docs/story.md)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from concordat import cli
from concordat.clock import SystemClock
from concordat.identity.home import Home, load_home
from concordat.protocol.certificate import sign_certificate
from concordat.protocol.check import audience_hash, sign_header
from concordat.protocol.withdrawal import sign_receipt
from concordat.story.model import Act, Claim, PartyPart, SentCheck, Story
from concordat.story.verify import RULES, judge, verify
from concordat.wire.v1 import check_pb2 as wire
from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START_MS = 1_790_000_000_000
CHECK = b"c" * 16
EDGE = b"e" * 16
OWN, THEIRS = b"1" * 16, b"2" * 16


@dataclass
class Written:
    """A story of NL and DE in parts that a test may change before it is read."""

    homes: dict[str, Home]
    header: wire.CheckHeader
    body: wire.CertificateBody
    notices: dict[str, list[wire.Notice]] = field(default_factory=dict)
    signer: str = "gateway"

    def story(self, *claims: Claim) -> Story:
        signed = sign_header(self.header, self.homes["NL"].signing_key)
        self.body.header_hash = signed.hash
        certificate = sign_certificate(self.body, self.homes[self.signer].signing_key)
        check = SentCheck(header=text(signed.raw), certificate=text(certificate.SerializeToString()))
        parts = [PartyPart(party="NL", checks=(check,), notices=self._lists("NL"))]
        parts.append(PartyPart(party="DE", notices=self._lists("DE")))
        acts = (Act(text="NL asks", at_ms=START_MS), Act(text="DE withdraws", at_ms=START_MS + 10_000))
        manifest = (self.homes["NL"].path / "manifest.json").read_bytes()
        return Story(manifest=text(manifest), parties=tuple(parts), acts=acts, claims=claims)

    def _lists(self, party: str) -> tuple[str, ...]:
        return tuple(text(one.SerializeToString()) for one in self.notices[party])

    def rules_broken(self) -> set[int]:
        return {one.rule for one in verify(self.story(), self.homes["NL"].manifest)}

    def id(self, name: str) -> str:
        return str(self.homes[name].identity)


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    folder = small_federation.make(tmp_path_factory.mktemp("story") / "federation")
    found = {path.name: load_home(path, clock=SystemClock()) for path in sorted((folder / "node").iterdir())}
    return found | {"gateway": load_home(next((folder / "gateway").iterdir()), clock=SystemClock())}


@pytest.fixture
def written(homes: dict[str, Home]) -> Written:
    manifest = homes["NL"].manifest
    nl, de = str(homes["NL"].identity), str(homes["DE"].identity)
    header = wire.CheckHeader(
        federation=manifest.federation,
        manifest_hash=manifest.hash,
        asker=nl,
        check_id=CHECK,
        purpose="investigation",
        justification_hash=b"j" * 32,
        count=1,
        issued_at_ms=START_MS,
        expires_at_ms=START_MS + 60_000,
        epoch=1,
        audience_hash=audience_hash(bytes(16), []),
    )
    body = wire.CertificateBody(
        federation=manifest.federation,
        manifest_hash=manifest.hash,
        gateway=str(homes["gateway"].identity),
        check_id=CHECK,
        epoch=1,
        issued_at_ms=START_MS + 700,
        holders=[wire.HolderCoverage(holder=de, state=wire.HOLDER_STATE_COVERED)],
    )
    told = {
        "NL": wire.Told(other=de, own_reference=OWN, other_reference=THEIRS, asked=True),
        "DE": wire.Told(other=nl, own_reference=THEIRS, other_reference=OWN, asked=False),
    }
    for one in told.values():
        one.MergeFrom(
            wire.Told(edge_id=EDGE, handle="M-1", grade=wire.GRADE_STRONG, told_at_ms=START_MS + 300, check_id=CHECK)
        )
        one.decision = 3
    gone = wire.Withdrawn(party=de, reference=THEIRS, withdrawn_at_ms=START_MS + 10_500)
    heard = wire.Withdrawn(edge_id=EDGE, own_reference=OWN)
    heard.MergeFrom(gone)
    receipt = wire.ReceiptBody(withdrawer=de, reference=THEIRS, edge_id=EDGE, signer=nl, taken_at_ms=START_MS + 10_600)
    kept = wire.ReceiptFor(receipt=sign_receipt(receipt, homes["NL"].signing_key))
    notices = {
        "NL": [wire.Notice(cursor=1, told=told["NL"]), wire.Notice(cursor=2, withdrawn=heard)],
        "DE": [
            wire.Notice(cursor=1, told=told["DE"]),
            wire.Notice(cursor=2, withdrawn=gone),
            wire.Notice(cursor=3, receipt=kept),
        ],
    }
    return Written(homes, header, body, notices)


def test_a_story_that_is_true_breaks_no_rule(written: Written) -> None:
    assert written.rules_broken() == set()


def _another_asks(written: Written) -> None:
    written.header.asker = written.id("DE")


def _a_party_signs_the_certificate(written: Written) -> None:
    written.signer = "DE"


def _a_notice_is_left_out(written: Written) -> None:
    del written.notices["DE"][1]


def _times_go_back(written: Written) -> None:
    written.notices["NL"][1].withdrawn.withdrawn_at_ms = START_MS


def _told_twice(written: Written) -> None:
    again = wire.Notice(cursor=2, told=written.notices["NL"][0].told)
    again.told.edge_id = b"f" * 16
    written.notices["NL"].insert(1, again)
    written.notices["NL"][2].cursor = 3


def _told_on_one_side_only(written: Written) -> None:
    written.notices["DE"][0].told.other_reference = b"9" * 16


def _told_of_who_was_away(written: Written) -> None:
    written.body.holders[0].state = wire.HOLDER_STATE_OFFLINE


def _told_by_a_check_of_nobody(written: Written) -> None:
    written.notices["NL"][0].told.check_id = b"x" * 16


def _told_after_the_withdrawal(written: Written) -> None:
    late = wire.Notice(cursor=3, told=written.notices["NL"][0].told)
    late.told.told_at_ms = START_MS + 11_000
    written.notices["NL"].append(late)


def _a_receipt_of_another(written: Written) -> None:
    written.notices["DE"][2].receipt.receipt.signature = bytes(64)


def _a_receipt_for_nothing(written: Written) -> None:
    written.notices["DE"][1].withdrawn.reference = b"7" * 16


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (_another_asks, 1),
        (_a_party_signs_the_certificate, 1),
        (_a_notice_is_left_out, 2),
        (_times_go_back, 2),
        (_told_twice, 3),
        (_told_on_one_side_only, 4),
        (_told_of_who_was_away, 5),
        (_told_by_a_check_of_nobody, 5),
        (_told_after_the_withdrawal, 6),
        (_a_receipt_of_another, 7),
        (_a_receipt_for_nothing, 7),
    ],
)
def test_a_rule_that_is_broken_is_named(written: Written, broken: Callable[[Written], None], rule: int) -> None:
    broken(written)
    assert rule in written.rules_broken()


def test_every_rule_is_broken_by_a_test() -> None:
    assert set(RULES) == {1, 2, 3, 4, 5, 6, 7}


def test_claims_are_judged_by_what_the_parts_show_of_their_act(written: Written) -> None:
    """A claim is of one act: what came before or after it does not count."""
    claims = [
        (Claim(act=1, kind="told", party="NL", other="DE"), True),
        (Claim(act=2, kind="told", party="NL", other="DE"), False),
        (Claim(act=2, kind="told", party="NL", other="DE", times=0), True),
        (Claim(act=1, kind="state", party="NL", other="DE", state="covered"), True),
        (Claim(act=1, kind="state", party="NL", other="DE", state="offline"), False),
        (Claim(act=2, kind="state", party="NL", other="DE", state="covered"), False),
        (Claim(act=2, kind="withdrawn", party="NL", other="DE"), True),
        (Claim(act=2, kind="receipt", party="DE", other="NL"), True),
        (Claim(act=1, kind="receipt", party="DE", other="NL"), False),
        (Claim(act=1, kind="told", party="FR", other="NL"), False),
    ]
    judged = judge(written.story(*(claim for claim, _ in claims)), written.homes["NL"].manifest)
    assert [one.holds for one in judged] == [holds for _, holds in claims]


def test_the_command_reads_a_file_and_its_exit_code_says_whether_it_holds(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, roots = tmp_path / "story.json", written.homes["NL"].path / "root-keys.json"
    path.write_text(
        written.story(Claim(act=1, kind="told", party="NL", other="DE")).model_dump_json(), encoding="utf-8"
    )
    assert cli.run(["audit", "story", str(path), "--roots", str(roots), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["holds"] is True
    assert cli.run(["audit", "story", str(path), "--roots", str(roots)]) == 0
    assert "NL is told of DE once" in capsys.readouterr().out
    _told_on_one_side_only(written)
    path.write_text(written.story().model_dump_json(), encoding="utf-8")
    assert cli.run(["audit", "story", str(path), "--roots", str(roots), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["rule"] == 4


@pytest.mark.parametrize("content", ["", "{}", '{"manifest": "x", "parties": []}', "[]"])
def test_what_is_no_story_is_refused_by_field(
    written: Written, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, roots = tmp_path / "story.json", written.homes["NL"].path / "root-keys.json"
    path.write_text(content, encoding="utf-8")
    assert cli.run(["audit", "story", str(path), "--roots", str(roots), "--json"]) in (1, 2)
    assert json.loads(capsys.readouterr().out)["error"]["code"] in ("bad_input", "bad_identity")
