"""Values that many unrelated people share are known by their canonical form, and others are not taken for them."""

from __future__ import annotations

import pytest

from concordat.canon import Context, Grade, Kind, read
from concordat.canon.common_values import (
    EMERGENCY,
    HOTLINE,
    MAIL_PROVIDER,
    PLATFORM,
    SHARED_HOST,
    TEST_NUMBER,
    common_reason,
)


@pytest.mark.parametrize(
    ("kind", "typed", "reason"),
    [
        ("phone", "116 000", HOTLINE),
        ("phone", "+49 116 111", HOTLINE),
        ("phone", "0800 116 117", HOTLINE),
        ("phone", "112", EMERGENCY),
        ("phone", "+44 7700 900123", TEST_NUMBER),
        ("phone", "+44 20 7946 0958", TEST_NUMBER),
        ("phone", "+1 212 555 0123", TEST_NUMBER),
        ("platform", "gmail.com", MAIL_PROVIDER),
        ("platform", "https://www.facebook.com/", PLATFORM),
        ("platform", "bit.ly", SHARED_HOST),
        # These are somebody's own.
        ("phone", "+31 6 21 12 34 56", None),
        ("phone", "+40 721 116 000", None),
        ("phone", "+44 7700 901123", None),
        ("phone", "+1 212 555 2368", None),
        ("platform", "evil-shop.example", None),
        ("email", "somebody@gmail.com", None),
        ("facebook", "https://facebook.com/somebody.else", None),
    ],
)
def test_a_common_value_is_known_by_why_it_is_common(kind: str, typed: str, reason: str | None) -> None:
    reading = read(Kind.parse(kind), typed, Context(home_region="NL"))
    strong = next(one for one in reading.values if one.grade is Grade.STRONG)
    assert common_reason(strong.namespace.value, strong.canonical) == reason
