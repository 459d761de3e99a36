"""JSON lines are read strictly: keys by name, text as text, nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from concordat.canon import Kind
from concordat.errors import InputError
from concordat.vocabulary import Assessment, InformationEvaluation, Use
from services.node.importers import ImportedFile, Refusal, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]


def test_a_line_may_nest_context_and_assessment(imported: Imported) -> None:
    line = {
        "kind": "phone",
        "identifier": " 07700 900123",
        "information_evaluation": 2,
        "client_ref": 17,
        "context": {"use": "contact", "origin": ["RO", "BG"], "at_risk_group": "minors", "destination": "NL"},
        "assessment": {"thb": "suspected", "csa": None},
        "notes": None,
    }
    (row,) = imported(json.dumps(line), "one.json")
    assert isinstance(row, Row)
    assert (row.typed, row.client_ref, row.notes) == (" 07700 900123", "17", None)
    assert (row.context.use, row.context.origin, row.context.destination) == (Use.CONTACT, ("RO", "BG"), ("NL",))
    assert (row.assessment.thb, row.assessment.csa) == (Assessment.SUSPECTED, None)
    assert row.information_evaluation is InformationEvaluation.TWO


def test_a_line_means_the_same_flat_and_nested(imported: Imported) -> None:
    nested = {"kind": "phone", "value": "1", "context": {"use": "contact"}, "assessment": {"csa": "checked"}}
    flat = {"kind": "phone", "value": "1", "use": "contact", "csa": "checked"}
    assert list(imported(json.dumps(nested), "a.jsonl")) == list(imported(json.dumps(flat), "b.jsonl"))


@pytest.mark.parametrize("value", [7700900123, 7.5, True, ["1"], {"a": 1}])
def test_an_identifier_that_is_not_text_is_refused(imported: Imported, value: Any) -> None:
    (refusal,) = imported(json.dumps({"kind": "phone", "identifier": value}), "a.jsonl")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("wrong_type", "identifier")


@pytest.mark.parametrize(
    ("key", "shown"), [("shoe size", "shoe size"), ("07700 900123", "number 3"), ("a@example.com", "number 3")]
)
def test_an_unknown_key_is_named_unless_it_could_be_an_identifier(imported: Imported, key: str, shown: str) -> None:
    (refusal,) = imported(json.dumps({"kind": "phone", "identifier": "1", key: "x"}), "a.jsonl")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("key_unknown", shown)
    assert shown in refusal.reason


def test_a_file_of_lines_is_told_by_its_content_too(imported: Imported) -> None:
    line = json.dumps({"kind": "email", "identifier": "a@example.com"})
    for name in ("a.jsonl", "a.ndjson", "a.json", "a.txt", "a"):
        file = imported(f"{line}\n{line}\n", name)
        assert file.facts.format == "jsonl"
        assert [item.kind for item in file if isinstance(item, Row)] == [Kind.EMAIL] * 2


def test_lines_with_a_mark_or_in_utf16_are_read(imported: Imported) -> None:
    line = json.dumps({"kind": "username", "identifier": "josé"}, ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16"):
        (row,) = imported(line.encode(encoding), "a.jsonl")
        assert isinstance(row, Row)
        assert row.typed == "josé"


@pytest.mark.parametrize("text", ["[]", "[\n{}\n]", ' [{"kind": "phone"}]'])
def test_an_array_is_refused_with_what_to_do(imported: Imported, text: str) -> None:
    with pytest.raises(InputError, match="one object a line") as caught:
        imported(text, "a.json")
    assert caught.value.code == "json_array"


def test_a_bracket_on_a_broken_first_line_is_no_array(imported: Imported) -> None:
    items = list(imported('[\n{"kind": "phone", "identifier": "1"}\n', "a.jsonl"))
    assert [(item.line, isinstance(item, Row)) for item in items] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"kind": "phone", "identifier": ' + "9" * 5000 + "}", "json_broken"),
        ('{"kind": "phone", "identifier": ' + "[" * 64 + "]" * 64 + "}", "too_deep"),
        ('{"kind": "phone", "identifier": ' + '["[",' * 63 + "1" + "]" * 63 + "}", "wrong_type"),
        ('{"kind": "phone", "identifier": Infinity}', "json_broken"),
        ('{"kind": "phone"} {}', "json_broken"),
    ],
)
def test_json_that_programs_could_read_differently_is_refused(imported: Imported, line: str, code: str) -> None:
    (refusal,) = imported(line, "a.jsonl")
    assert isinstance(refusal, Refusal)
    assert code == refusal.code


def test_a_first_line_longer_than_what_is_looked_at_is_still_told_apart(imported: Imported) -> None:
    row = {"kind": "phone", "identifier": "1", "notes": "n" * 100_000}
    assert imported(f"{json.dumps(row)}\n" * 2, "lines.json").facts.format == "jsonl"
    event = {"Event": {"info": "n" * 100_000, "Attribute": []}}
    assert imported(json.dumps(event), "event.json").facts.format == "misp"
    bundle = {"objects": [{"type": "url", "value": "https://shop.example"}] * 3000, "type": "bundle"}
    assert imported(json.dumps(bundle), "bundle.json").facts.format == "stix"


def test_a_table_may_begin_with_a_bracket(imported: Imported) -> None:
    file = imported("[kind];[identifier]\nphone;07700 900123\n", "list.csv")
    assert [item.typed for item in file] == ["07700 900123"]
