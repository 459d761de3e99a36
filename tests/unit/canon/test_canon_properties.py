"""What holds for every text, not only for the vectors."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.canon import Context, Grade, Kind, Namespace, Reading, read
from concordat.canon.skeleton import skeleton
from concordat.canon.text import clean
from concordat.errors import InputError
from tests.unit.canon.canon_vectors import load, read_case

HOME = Context(home_region="NL")
BOUNDED = settings(max_examples=150, deadline=None)
INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\ufeff\u202a\u202e\u2066\u2069\ufe0f"

# Texts near to what is read, since plain random text rarely passes the first check.
_PIECES = st.sampled_from(
    [
        *(
            "https://",
            "hxxp://",
            "www.",
            "facebook.com/",
            "t.me/",
            "wa.me/",
            "profile.php?id=",
            "groups/",
            "@",
            "+",
            "00",
        ),
        *("example.com", "[.]", "(dot)", "#", "?", "&a=", "%", "%E2%80%8B", "//", "..", ":", "[", "]", "id", "\u200b"),
        *(
            "tel:",
            "mailto:",
            "tg://resolve?domain=",
            "signal.me/#p/",
            "xn--",
            "\u043f\u043e\u0447\u0442\u0430.\u0440\u0444",
        ),
        *("\u3002", "\u0660", "0721123456", "DE89370400440532013000", "com.example.chat", ".onion", "\ud800", "\u0130"),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.one_of(_PIECES, st.text(max_size=6)), max_size=8).map("".join))
CONTEXTS = st.builds(
    Context,
    home_region=st.sampled_from(["NL", "RO", "US", "ZZ", ""]),
    region=st.sampled_from([None, "RO", "uk", "??"]),
    origin=st.lists(st.sampled_from(["RO", "DE", "x"]), max_size=2).map(tuple),
    platform=st.one_of(st.none(), st.sampled_from(["Facebook", "whatsapp", "board.example"]), st.text(max_size=12)),
)


def _attempt(kind: Kind, typed: str, context: Context) -> Reading | InputError:
    try:
        return read(kind, typed, context)
    except InputError as error:
        return error


def _cases(*, retypable: bool = False) -> list[Any]:
    """Return the cases that read; with `retypable` those whose canonical form can be typed.

    That is all but an id, group or invitation of a platform, which is typed as an address.
    """
    return [
        pytest.param(case, loaded["default_context"], id=f"{namespace.value}-{n}")
        for namespace in Namespace
        for loaded in [load(namespace.value)]
        for n, case in enumerate(loaded["cases"])
        if "strong" in case and not (retypable and _is_typed_as_address(*case["strong"]))
    ]


def _is_typed_as_address(namespace: str, canonical: str) -> bool:
    return namespace == "account" and canonical.split(":", 2)[1] != "handle"


def _reread(reading: Reading) -> Reading:
    """Read the strong value again, as the kind and platform that name its namespace."""
    strong = reading.values[0]
    platform = None
    text = strong.canonical
    kinds = {
        Namespace.E164: Kind.PHONE,
        Namespace.EMAIL: Kind.EMAIL,
        Namespace.PLATFORM: Kind.PLATFORM,
        Namespace.URL: Kind.URL,
        Namespace.APP: Kind.APP,
        Namespace.IBAN: Kind.IBAN,
        Namespace.ACCOUNT: Kind.USERNAME,
    }
    if strong.namespace is Namespace.ACCOUNT:
        platform, _, text = text.split(":", 2)
    elif strong.namespace is Namespace.APP and not text.startswith("name="):
        text = text.partition(":")[2]
    return read(kinds[strong.namespace], text, Context(home_region="NL", platform=platform))


@pytest.mark.parametrize(("case", "context"), _cases(retypable=True))
def test_canonical_form_reads_as_itself(case: dict[str, Any], context: dict[str, Any]) -> None:
    reading = read_case(case, context)
    assert _reread(reading).values[0] == reading.values[0]


@pytest.mark.parametrize(("case", "context"), _cases())
def test_invisible_characters_change_nothing(case: dict[str, Any], context: dict[str, Any]) -> None:
    typed = case["typed"]
    for n, char in enumerate(INVISIBLE):
        place = (n * 7) % (len(typed) + 1)
        changed = typed[:place] + char + typed[place:]
        assert read_case({**case, "typed": changed}, context) == read_case(case, context)


@pytest.mark.parametrize(("case", "context"), _cases())
def test_full_width_digits_change_nothing(case: dict[str, Any], context: dict[str, Any]) -> None:
    wide = case["typed"].translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    assert read_case({**case, "typed": wide}, context).values == read_case(case, context).values


@BOUNDED
@given(kind=st.sampled_from(list(Kind)), typed=TEXTS, context=CONTEXTS)
def test_any_text_gives_a_sound_reading_or_an_input_error(kind: Kind, typed: str, context: Context) -> None:
    reading = _attempt(kind, typed, context)
    if isinstance(reading, InputError):
        assert reading.code in {"empty", "several"} or reading.code.startswith(("unreadable_", "unknown_region"))
        return
    assert reading.values[0].grade is Grade.STRONG
    assert all(value.grade is Grade.WEAK for value in reading.values[1:])
    assert len(set(reading.values)) == len(reading.values)
    for value in reading.values:
        assert value.canonical.encode("utf-8")
        assert not {unicodedata.category(char) for char in value.canonical} & {"Cc", "Cf", "Cs"}
        assert unicodedata.is_normalized("NFKC", value.canonical)


@BOUNDED
@given(kind=st.sampled_from(list(Kind)), typed=TEXTS)
def test_reading_twice_gives_the_same(kind: Kind, typed: str) -> None:
    try:
        first = read(kind, typed, HOME)
    except InputError:
        return
    assert read(kind, typed, HOME) == first


@BOUNDED
@given(typed=TEXTS)
def test_error_text_never_holds_what_was_typed(typed: str) -> None:
    for kind in (Kind.PHONE, Kind.EMAIL, Kind.URL, Kind.IBAN):
        found = _attempt(kind, "canary7" + typed + "7canary", HOME)
        assert not isinstance(found, InputError) or "canary7" not in str(found)


@BOUNDED
@given(text=st.text(max_size=40))
def test_cleaning_and_skeleton_are_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert skeleton(skeleton(text)) == skeleton(text)


@BOUNDED
@given(handle=st.from_regex(r"[a-z][a-z0-9_]{4,15}", fullmatch=True))
def test_handle_reads_alike_by_address_and_by_name(handle: str) -> None:
    by_name = read(Kind.INSTAGRAM, f"@{handle.upper()}", HOME).values[0]
    by_address = read(Kind.WEBSITE, f"https://www.tiktok.com/@{handle}", HOME).values[0]
    assert by_name.canonical == f"instagram.com:handle:{handle}"
    assert by_address.canonical == f"tiktok.com:handle:{handle}"
