"""Which value counts in which row of the report (docs/report.md)."""

from __future__ import annotations

import pytest

from concordat.errors import ProtocolError
from concordat.protocol.report import CHECKED, CONFIRMED, SUSPECTED, class_byte, gravest, listed, split_class, totals


def test_suspected_excludes_identified_and_the_csa_flag_stands_beside_both() -> None:
    counts = {
        class_byte("platform", CHECKED, CHECKED): 7,
        class_byte("platform", SUSPECTED, CHECKED): 3,
        class_byte("platform", SUSPECTED, SUSPECTED): 2,
        class_byte("platform", CONFIRMED, CONFIRMED): 1,
        class_byte("platform", CHECKED, CONFIRMED): 4,
    }
    assert totals(counts) == {
        "people_usernames": 0,
        "platforms": 17,
        "communication_devices": 0,
        "platforms_suspected": 5,
        "platforms_identified": 1,
        "platforms_csa": 7,
    }


def test_the_row_follows_the_namespace_and_a_url_adds_no_platform() -> None:
    counts = {class_byte(name, 0, 0): 1 for name in ("e164", "email", "app", "account", "person", "url", "iban")}
    counted = totals(counts)
    assert (counted["communication_devices"], counted["people_usernames"], counted["platforms"]) == (3, 2, 0)
    assert listed(counts)["url"] == listed(counts)["iban"] == 1


def test_the_gravest_assessment_counts_in_each_area() -> None:
    held = [class_byte("platform", CONFIRMED, CHECKED), class_byte("platform", CHECKED, SUSPECTED)]
    assert split_class(gravest(held)) == ("platform", CONFIRMED, SUSPECTED)


def test_holders_of_one_value_cannot_name_different_namespaces() -> None:
    with pytest.raises(ProtocolError):
        gravest([class_byte("platform", 0, 0), class_byte("email", 0, 0)])


@pytest.mark.parametrize("byte", [0, 13, 15, 0x34, 0xC4])
def test_a_byte_that_names_no_class_is_refused(byte: int) -> None:
    with pytest.raises(ProtocolError):
        split_class(byte)
