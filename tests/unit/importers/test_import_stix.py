"""STIX 2.1 bundles are read as stix2 writes them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.vocabulary import Assessment, Role
from services.node.importers import ImportedFile, Limits, Refusal, Row, RowDefaults
from services.node.importers.fields import RowReader
from services.node.importers.refusals import RefusedValue
from services.node.importers.stix_bundle import read_rows
from services.node.importers.stix_pattern import alternatives
from services.node.importers.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]


def found_in(file: ImportedFile) -> list[tuple[int, str, str, str | None]]:
    """Return line, kind, identifier and platform of the rows of a file, and assert that nothing was refused."""
    items = list(file)
    assert not [item for item in items if isinstance(item, Refusal)]
    return [(item.line, item.kind.value, item.typed, item.platform) for item in items if isinstance(item, Row)]


@pytest.mark.parametrize("pretty", [False, True])
def test_the_objects_of_a_bundle_become_rows(imported: Imported, pretty: bool) -> None:
    bundle = stix2.Bundle(
        stix2.EmailAddress(value="a@example.com"),
        stix2.URL(value="https://shop.example/a"),
        stix2.DomainName(value="shop.example"),
        stix2.UserAccount(account_type="facebook", account_login="maria.example", user_id="100000000000001"),
        stix2.Identity(name="Helpline", contact_information="call +44 7700 900123, or write: help@example.com."),
    )
    file = imported(bundle.serialize(pretty=pretty), "bundle.json")
    assert file.facts.format == "stix"
    assert found_in(file) == [
        (1, "email", "a@example.com", None),
        (2, "url", "https://shop.example/a", None),
        (3, "domain", "shop.example", None),
        (4, "username", "maria.example", "facebook"),
        (4, "user_id", "100000000000001", "facebook"),
        (5, "email", "help@example.com", None),
        (5, "phone", "+44 7700 900123", None),
    ]


def test_an_indicator_gives_the_equalities_of_its_pattern(imported: Imported) -> None:
    pattern = (
        "[email-addr:value = 'a@example.com' OR url:value = 'https://shop.example/it\\'s'] OR "
        "[user-account:account_login = 'maria' AND user-account:account_type = 'vk']"
    )
    bundle = stix2.Bundle(stix2.Indicator(pattern=pattern, pattern_type="stix"))
    assert found_in(imported(bundle.serialize(), "bundle.json")) == [
        (1, "email", "a@example.com", None),
        (1, "url", "https://shop.example/it's", None),
        (1, "username", "maria", "vk"),
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        "[url:value LIKE 'https://%']",
        "[url:value = 'a'] AND [url:value = 'b']",
        "[url:value = 'a'] FOLLOWEDBY [url:value = 'b']",
        "[url:value = 'a'] WITHIN 5 SECONDS",
        "[url:value = 'a' AND email-addr:value = 'b']",
        "[NOT url:value = 'a']",
        "[url:value != 'a']",
        "[url:value IN ('a', 'b')]",
        "[(url:value = 'a')]",
        "[url:value = 'a'",
        "url:value = 'a'",
        "[]",
        "",
        "[url:value = 'a' OR ]",
        "[url:value = 'a'] OR",
    ],
)
def test_a_pattern_that_says_more_than_equalities_is_refused_whole(pattern: str) -> None:
    with pytest.raises(RefusedValue) as caught:
        alternatives(pattern)
    assert caught.value.code == "pattern_unsupported"


@given(st.text(alphabet="[]'\\ ORANDurl:value=x()", max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_pattern_is_read_or_refused(pattern: str) -> None:
    try:
        found = alternatives(pattern)
    except RefusedValue:
        return
    assert found


def test_times_of_an_observation_reach_what_it_refers_to_over_references(imported: Imported) -> None:
    account = stix2.UserAccount(account_login="maria", account_type="vk")
    email = stix2.EmailAddress(value="a@example.com", belongs_to_ref=account.id)
    seen = stix2.ObservedData(
        first_observed="2026-01-02T03:04:05Z",
        last_observed="2026-01-05T03:04:05Z",
        number_observed=1,
        object_refs=[email.id],
    )
    rows = list(imported(stix2.Bundle(account, email, seen).serialize(), "bundle.json"))
    assert [row.line for row in rows] == [1, 2]
    for row in rows:
        assert isinstance(row, Row)
        assert (row.observed_from, row.observed_to) == (date(2026, 1, 2), date(2026, 1, 5))


REFERENCES = st.lists(st.lists(st.integers(min_value=0, max_value=7), max_size=4), min_size=1, max_size=8)


@given(REFERENCES)
@settings(max_examples=100, deadline=None)
def test_references_in_any_shape_end_and_give_each_object_once(references: list[list[int]]) -> None:
    objects = tuple(
        {
            "type": "observed-data" if number == 0 else "domain-name",
            "id": f"x--{number}",
            "value": f"{number}.example",
            "first_observed": "2026-01-02T03:04:05Z",
            "resolves_to_refs": [f"x--{target}" for target in targets],
            "belongs_to_ref": f"x--{number}",
        }
        for number, targets in enumerate(references)
    )
    items = list(read_rows(objects, RowReader(RowDefaults(), Limits()), Tally()))
    assert list(range(2, len(objects) + 1)) == [item.line for item in items]


def test_own_properties_fill_the_fields_of_a_row(imported: Imported) -> None:
    url = stix2.URL(
        value="https://shop.example/a",
        allow_custom=True,
        x_concordat_role="suspect",
        x_concordat_thb="suspected",
        x_concordat_origin=["RO", "BG"],
    )
    (row,) = imported(stix2.Bundle(url, allow_custom=True).serialize(), "bundle.json")
    assert isinstance(row, Row)
    assert (row.role, row.assessment.thb, row.context.origin) == (Role.SUSPECT, Assessment.SUSPECTED, ("RO", "BG"))
    assert row.client_ref == url.id


def test_a_kind_that_stix_has_not_comes_as_an_object_of_our_own(imported: Imported) -> None:
    @stix2.CustomObservable(
        "x-concordat-identifier",
        [("kind", stix2.properties.StringProperty()), ("identifier", stix2.properties.StringProperty())],
    )
    class Identifier:
        pass

    made: Any = Identifier
    bundle = stix2.Bundle(made(kind="WhatsApp", identifier="+44 7700 900123"), allow_custom=True)
    assert found_in(imported(bundle.serialize(), "bundle.json")) == [(1, "whatsapp", "+44 7700 900123", None)]


def test_types_without_kind_are_refused_by_name_and_structure_is_counted(imported: Imported) -> None:
    maker = stix2.Identity(name="Example unit")
    address, email = stix2.IPv4Address(value="192.0.2.1"), stix2.EmailAddress(value="a@example.com")
    bundle = stix2.Bundle(
        maker,
        address,
        email,
        stix2.Relationship(email, "related-to", address, created_by_ref=maker.id),
        stix2.Indicator(pattern="[url:value = 'https://x.example']", pattern_type="stix", revoked=True),
    )
    file = imported(bundle.serialize(), "bundle.json")
    refusals = [item for item in file if isinstance(item, Refusal)]
    assert [(item.line, item.code) for item in refusals] == [(2, "unsupported_type")]
    assert "'ipv4-addr'" in refusals[0].reason
    assert file.tally.skipped == {"structure": 2, "revoked": 1}
    assert (file.tally.rows, file.tally.lines) == (1, 5)


ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "value", "pattern", "object_refs", "user_id", "x_concordat_role", "revoked"]),
            inner,
        )
    ),
    max_leaves=12,
)
TYPES = ["email-addr", "identity", "indicator", "user-account", "x-concordat-identifier", "observed-data", "other"]


@given(st.lists(st.tuples(st.sampled_from(TYPES), ANY_JSON), max_size=6))
@settings(max_examples=150, deadline=None)
def test_objects_of_any_shape_are_rows_refusals_or_counted(parts: list[tuple[str, Any]]) -> None:
    objects = tuple({**inner, "type": name} if isinstance(inner, dict) else inner for name, inner in parts)
    tally = Tally()
    items = list(read_rows(objects, RowReader(RowDefaults(), Limits()), tally))
    lines = {item.line for item in items}
    assert len(objects) == len(lines) + tally.skipped.total()
