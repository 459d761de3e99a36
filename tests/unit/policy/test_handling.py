"""What a line, a case and a role say together of who may be told, and for how long (LB-24, LB-26)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from concordat.errors import InputError
from concordat.vocabulary import Tlp, Visibility
from services.node.policy import OUTSIDE_UNION, Policy, told_parties
from services.node.store.policies import proposals
from services.node.submit import Submitter

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk

MAIL = "kind,identifier,{}\nemail,one@mail.example,{}\n"


def only(desk: Desk) -> Policy:
    (policy,) = desk.policies()
    return policy


def told(desk: Desk, policy: Policy) -> list[str]:
    manifest = desk.home.manifest
    return told_parties(policy, own=manifest.party("NL"), manifest=manifest)


@pytest.mark.parametrize(
    ("column", "cell", "field", "value"),
    [
        ("visibility", "Local only", "visibility", Visibility.LOCAL_ONLY),
        ("tlp", "red", "tlp", Tlp.RED),
        ("tell", "DE;third_country", "tell", ("DE", "third_country")),
        ("not_tell", "UA", "not_tell", ("UA",)),
        ("not_tell", "none", "not_tell", ()),
        ("purposes", "investigation", "purposes", ("investigation",)),
        ("operations", "EMPACT-2026", "operations", ("EMPACT-2026",)),
        ("handling", "H3", "handling", "H3"),
    ],
)
def test_a_column_says_how_its_record_is_handled(desk: Desk, column: str, cell: str, field: str, value: object) -> None:
    desk.submit(MAIL.format(column, cell))
    assert getattr(only(desk), field) == value


def test_a_line_goes_before_the_role_and_the_role_before_the_case(desk: Desk) -> None:
    desk.case_fields = {"defaults": {"not_tell": ["UA"], "visibility": "silent"}, "named_parties": ["DE"]}
    desk.submit("kind,identifier,role,visibility\nemail,a@mail.example,suspect,\nemail,b@mail.example,,visible\n")
    silent, visible = desk.policies()
    assert (silent.visibility, visible.visibility) == (Visibility.SILENT, Visibility.VISIBLE)
    assert silent.not_tell == visible.not_tell == ("UA",)


@pytest.mark.parametrize("role", ["victim", "potential_victim", "witness"])
def test_a_protected_role_is_silent_to_all_but_the_parties_named_in_the_case(desk: Desk, role: str) -> None:
    desk.case_fields = {"named_parties": ["DE"]}
    desk.submit(MAIL.format("role", role))
    assert told(desk, only(desk)) == ["DE"]


def test_without_named_parties_nobody_is_told_of_a_victim(desk: Desk) -> None:
    desk.submit(MAIL.format("role", "victim"))
    assert told(desk, only(desk)) == []


def test_a_victim_is_told_of_outside_the_union_once_a_second_person_has_approved(desk: Desk) -> None:
    """LB-26: until then it is as if the line had left them out."""
    desk.submit("kind,identifier,role,tell\nemail,one@mail.example,victim,DE;UA;IJM\n")
    assert told(desk, only(desk)) == ["DE"]
    assert {one.value for one in OUTSIDE_UNION} <= set(only(desk).not_tell)
    with desk.store.read() as db:
        (waiting,) = proposals(db)
    assert told(desk, Policy.of(waiting.policy)) == ["DE", "IJM", "UA"]


@pytest.mark.parametrize(
    ("role", "cell", "until"),
    [
        ("suspect", "", "2026-12-31"),
        ("suspect", "2026-12-01", "2026-12-01"),
        ("suspect", "2030-01-01", "2026-12-31"),
        ("victim", "", "2026-12-31"),
        ("victim", "2026-12-01", "2026-12-01"),
    ],
)
def test_a_record_is_kept_no_longer_than_its_case(desk: Desk, role: str, cell: str, until: str) -> None:
    desk.submit(f"kind,identifier,role,keep_until\nemail,one@mail.example,{role},{cell}\n")
    with desk.store.read() as db:
        assert db.execute("SELECT keep_until FROM record").fetchone() == (until,)


def test_a_victim_is_kept_for_the_shortest_time(desk: Desk) -> None:
    desk.case_fields = {"valid_until": date(2028, 1, 1)}
    desk.submit("kind,identifier,role\nemail,one@mail.example,victim\nemail,two@mail.example,suspect\n")
    with desk.store.read() as db:
        rows = db.execute("SELECT keep_until FROM record ORDER BY id").fetchall()
    assert rows == [("2027-02-22",), ("2028-01-01",)]


def test_a_line_that_names_no_party_is_refused_and_the_rest_is_taken(desk: Desk) -> None:
    report = desk.submit("kind,identifier,tell\nemail,one@mail.example,XX\nemail,two@mail.example,DE\n")
    assert (report.counts.accepted, report.counts.refused) == (1, 1)
    (refused,) = report.refused
    assert (refused.line, refused.code) == (2, "party_unknown")
    assert "'tell'" in refused.reason
    assert "third_country" in refused.reason


@pytest.mark.parametrize("fields", [{"named_parties": ["XX"]}, {"defaults": {"tell": ["XX"]}}])
def test_a_case_that_names_no_party_is_refused_by_its_field(desk: Desk, fields: dict[str, object]) -> None:
    desk.case_fields = fields
    with pytest.raises(InputError) as refused:
        desk.submit(MAIL.format("role", "suspect"))
    assert refused.value.code == "party_unknown"
    assert next(iter(fields)) in refused.value.message


def test_a_local_record_is_neither_tokenised_nor_asked_about(desk: Desk) -> None:
    desk.submit(MAIL.format("visibility", "local_only"))
    assert desk.count("SELECT count(*) FROM value WHERE kept = 0") == 1
    assert desk.count("SELECT (SELECT count(*) FROM to_tokenise) + (SELECT count(*) FROM to_check)") == 0


def test_a_value_is_compared_once_one_of_its_records_is(desk: Desk) -> None:
    desk.submit(MAIL.format("visibility", "local_only"))
    desk.submit(MAIL.format("visibility", "silent"))
    assert desk.count("SELECT count(*) FROM value WHERE kept = 1") == 1
    assert desk.count("SELECT count(*) FROM to_tokenise") == 1
    assert desk.count("SELECT count(*) FROM to_check") == 1


ASKED = "SELECT count(*) FROM batch_item i JOIN batch b ON b.id = i.batch_id"


def test_a_second_record_that_lets_others_be_told_has_its_value_asked_about_anew(desk: Desk) -> None:
    """I3, C6: who was covered while the first record was silent holds the value and would hear of it never."""
    desk.submit(MAIL.format("visibility", "silent"))
    desk.tokenise()
    desk.submit(MAIL.format("visibility", "visible"))
    assert desk.count("SELECT count(*) FROM to_check") == 1
    desk.tokenise()
    desk.submit("\n" + MAIL.format("visibility", "visible"))
    assert desk.count("SELECT count(*) FROM to_check") == 0


def test_each_operation_of_a_value_is_asked_about_and_waits_by_itself(desk: Desk) -> None:
    """LB-23: a holder may make the operation a condition, so that a question for one says nothing of the other."""
    path = desk.folder / "list.csv"
    path.write_text("kind,identifier\nemail,one@mail.example\n", encoding="utf-8")
    for operation in ("", "EMPACT-1"):
        Submitter(desk.home, desk.store, desk.clock, desk.case(), operation=operation).submit(path)
        desk.tokenise()
    assert desk.count(f"{ASKED} WHERE b.operation = ''") == 1
    assert desk.count(f"{ASKED} WHERE b.operation = 'EMPACT-1'") == 1
    assert desk.count("SELECT count(*) FROM pending") == 2


def test_what_is_local_only_stays_so_when_its_file_is_kept_after_one_look(desk: Desk) -> None:
    """I11."""
    path = desk.folder / "list.csv"
    path.write_text("kind,identifier,visibility\nemail,a@mail.example,local only\nemail,b@mail.example,\n")
    for look_once in (True, False):
        Submitter(desk.home, desk.store, desk.clock, desk.case(), look_once=look_once).submit(path)
    assert desk.count("SELECT count(*) FROM value WHERE kept = 1 AND canonical = 'b@mail.example'") == 1
    assert desk.count("SELECT count(*) FROM value WHERE kept = 1 AND canonical = 'a@mail.example'") == 0
    assert desk.count("SELECT count(*) FROM to_tokenise u JOIN value v ON v.id = u.value_id WHERE v.kept = 0") == 0


def test_what_was_asked_for_one_look_is_asked_for_its_own_purpose_once_it_is_kept(desk: Desk) -> None:
    desk.submit("kind,identifier\nemail,one@mail.example\n", look_once=True)
    desk.tokenise()
    desk.case_fields = {"reference": "THB-2026-0002", "purpose": "prevention"}
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    assert desk.count("SELECT count(DISTINCT purpose) FROM to_check") == 2
