"""Kinds are read as people name them, and an unknown one is refused by code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from concordat.canon import Context, Kind, read
from concordat.errors import InputError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tel", Kind.PHONE),
        ("Mobile", Kind.PHONE),
        ("phone-number", Kind.PHONE),
        ("E-Mail", Kind.EMAIL),
        ("mail", Kind.EMAIL),
        ("site", Kind.WEBSITE),
        ("nickname", Kind.USERNAME),
        ("USER ID", Kind.USER_ID),
        ("user_id", Kind.USER_ID),
        ("Twitter", Kind.X),
        ("ok.ru", Kind.OK),
        ("Bank account", Kind.IBAN),
        ("Instagram profile", Kind.INSTAGRAM),
        ("WhatsApp Numbers", Kind.WHATSAPP),
        ("Telegram username", Kind.TELEGRAM),
    ],
)
def test_kind_is_found_by_its_usual_names(name: str, kind: Kind) -> None:
    assert Kind.parse(name) is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_kind_is_found_by_its_own_value(kind: Kind) -> None:
    assert Kind.parse(kind.value.upper()) is kind


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Kind.parse("carrier pigeon")
    assert caught.value.code == "unknown_kind"
    assert "pigeon" not in str(caught.value)


def test_text_over_the_limit_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        read(Kind.URL, "https://example.com/" + "a" * 2048, Context(home_region="NL"))
    assert caught.value.code == "too_long"


def test_import_loads_no_heavy_library() -> None:
    heavy = "{'phonenumbers', 'tldextract', 'idna', 'stdnum', 'confusable_homoglyphs'}"
    program = f"import sys, concordat.canon; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
