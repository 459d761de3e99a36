"""MISP events are read as pymisp writes them."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pymisp import MISPEvent, MISPObject

from concordat.canon import Kind
from services.node.importers import ImportedFile, Refusal, Row, RowDefaults
from services.node.importers.misp_kinds import ATTRIBUTE_KINDS, DESCRIPTIVE, OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]

# What pymisp itself warns about is not ours to repair.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pymisp.*")


def event(*attributes: tuple[str, str], objects: tuple[MISPObject, ...] = ()) -> Any:
    """Return an event of pymisp with these attributes and objects."""
    made = MISPEvent()
    made.info = "Example"
    for kind, value in attributes:
        made.add_attribute(kind, value)
    for thing in objects:
        made.add_object(thing)
    return made


def thing(template: str, **relations: str) -> MISPObject:
    """Return an object of a template, its relations' underscores for hyphens."""
    made = MISPObject(template)
    for relation, value in relations.items():
        made.add_attribute(relation.replace("_", "-"), value)
    return made


def rows_of(file: ImportedFile) -> list[tuple[int, Kind, str, str | None]]:
    """Return line, kind, identifier and platform of the rows of a file, and assert that nothing was refused."""
    items = list(file)
    assert not [item for item in items if isinstance(item, Refusal)]
    return [(item.line, item.kind, item.typed, item.platform) for item in items if isinstance(item, Row)]


ATTRIBUTES = (
    ("phone-number", "+44 7700 900123"),
    ("email-src", "a@example.com"),
    ("url", "https://shop.example/a"),
    ("domain|ip", "shop.example|192.0.2.1"),
    ("twitter-id", "maria_example"),
    ("jabber-id", "maria@chat.example"),
    ("iban", "GB33BUKB20201555555555"),
    ("mobile-application-id", "com.example.app"),
)
KINDS = (Kind.PHONE, Kind.EMAIL, Kind.URL, Kind.DOMAIN, Kind.X, Kind.ACCOUNT, Kind.IBAN, Kind.APP)


@pytest.mark.parametrize("indent", [None, 2])
def test_attributes_of_an_event_become_rows_in_their_order(imported: Imported, indent: int | None) -> None:
    file = imported(event(*ATTRIBUTES).to_json(indent=indent), "event.json")
    assert file.facts.format == "misp"
    found = rows_of(file)
    assert [line for line, *_ in found] == list(range(1, len(ATTRIBUTES) + 1))
    assert list(KINDS) == [kind for _, kind, *_ in found]
    assert [value.partition("|")[0] for _, value in ATTRIBUTES] == [typed for _, _, typed, _ in found]


@pytest.mark.parametrize(
    "wrap",
    [lambda event: {"Event": event}, lambda event: {"response": [{"Event": event}]}, lambda event: [{"Event": event}]],
)
def test_an_event_is_read_in_each_wrapping_of_an_export(imported: Imported, wrap: Callable[[Any], Any]) -> None:
    inner = json.loads(event(("phone-number", "+44 7700 900123")).to_json())
    assert rows_of(imported(json.dumps(wrap(inner)), "event.json")) == [(1, Kind.PHONE, "+44 7700 900123", None)]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            thing("facebook-account", account_name="maria.example", account_id="100000000000001", description="x"),
            {("username", "maria.example", "facebook"), ("user_id", "100000000000001", "facebook")},
        ),
        (
            thing("facebook-group", group_alias="examplegroup", link="https://www.facebook.com/groups/examplegroup"),
            {
                ("group", "examplegroup", "facebook"),
                ("group", "https://www.facebook.com/groups/examplegroup", "facebook"),
            },
        ),
        (
            thing("telegram-account", username="maria_example", phone="+44 7700 900123"),
            {("username", "maria_example", "telegram"), ("phone", "+44 7700 900123", "telegram")},
        ),
        (thing("instagram-account", account_name="maria.example"), {("username", "maria.example", "instagram")}),
        (thing("twitter-account", name="maria_example"), {("username", "maria_example", "x")}),
        (
            thing("instant-message", app_used="WhatsApp", from_number="+44 7700 900123", body="tomorrow"),
            {("phone", "+44 7700 900123", "WhatsApp")},
        ),
        (
            thing("social-media-group", platform="vk", group_alias="club1", username="maria"),
            {("group", "club1", "vk"), ("username", "maria", "vk")},
        ),
        (
            thing("user-account", account_type="forum.example", username="maria", email="a@example.com"),
            {("username", "maria", "forum.example"), ("email", "a@example.com", "forum.example")},
        ),
        (thing("phone", msisdn="447700900123", brand="Example"), {("phone", "447700900123", None)}),
        (thing("bank-account", iban="GB33BUKB20201555555555"), {("iban", "GB33BUKB20201555555555", None)}),
        (thing("short-message-service", **{"from": "+44 7700 900123"}, body="x"), {("sms", "+44 7700 900123", None)}),
        # An object without an entry of its own goes by the types of its attributes.
        (thing("domain-ip", domain="shop.example"), {("domain", "shop.example", None)}),
    ],
)
def test_an_object_gives_its_identifiers_with_their_platform(
    imported: Imported, made: MISPObject, expected: set[tuple[str, str, str | None]]
) -> None:
    found = rows_of(imported(event(objects=(made,)).to_json(), "event.json"))
    assert expected == {(kind.value, typed, platform) for _, kind, typed, platform in found}


def test_what_only_describes_an_object_is_counted_and_not_refused(imported: Imported) -> None:
    made = thing("facebook-account", account_name="maria.example", description="a smiling face")
    file = imported(event(objects=(made,)).to_json(), "event.json")
    list(file)
    assert file.tally.skipped == {"descriptive": 1}


def test_a_type_without_kind_is_refused_by_name_and_ordinal(imported: Imported) -> None:
    _, refusal = imported(event(("url", "https://shop.example"), ("sha256", "0" * 64)).to_json(), "event.json")
    assert isinstance(refusal, Refusal)
    assert (refusal.line, refusal.code, refusal.typed) == (2, "unsupported_type", "0" * 64)
    assert "'sha256'" in refusal.reason


def test_deleted_attributes_and_objects_are_counted_and_not_read(imported: Imported) -> None:
    phone = thing("phone", msisdn="1")
    made = event(("url", "https://shop.example/a"), ("url", "https://shop.example/b"), objects=(phone,))
    fields = json.loads(made.to_json())
    fields["Attribute"][0]["deleted"] = True
    fields["Object"][0]["deleted"] = True
    file = imported(json.dumps(fields), "event.json")
    assert [item.line for item in file] == [2]
    assert file.tally.skipped == {"deleted": 2}


def test_comment_uuid_and_times_of_an_attribute_come_with_its_row(imported: Imported) -> None:
    made = MISPEvent()
    made.info = "Example"
    attribute: Any = made.add_attribute("phone-number", "+44 7700 900123", comment="on a poster")
    attribute.first_seen = "2026-01-02T03:04:05+00:00"
    attribute.last_seen = "2026-01-04T03:04:05+00:00"
    (row,) = imported(made.to_json(), "event.json", defaults=RowDefaults(region="GB"))
    assert isinstance(row, Row)
    assert row.client_ref == attribute.uuid
    assert (row.notes, row.region) == ("on a poster", "GB")
    assert (row.observed_from, row.observed_to) == (date(2026, 1, 2), date(2026, 1, 4))


def test_the_table_of_kinds_names_types_and_relations_that_misp_has() -> None:
    types = set((MISPEvent().describe_types or {})["types"])
    assert set(ATTRIBUTE_KINDS) <= types | {"uri"}
    for name, template in OBJECTS.items():
        relations = set((MISPObject(name)._definition or {})["attributes"])
        # Contact fields are one table for all who have some of them.
        assert set(template.kinds) & relations, name
        assert not set(template.kinds) & DESCRIPTIVE, name
