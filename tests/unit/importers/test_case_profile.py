"""A case profile justifies searches: it is complete, in force, and says by field what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from concordat.errors import InputError
from concordat.vocabulary import Aim, Handling, InformationEvaluation, Offence, Purpose, SourceEvaluation
from services.node.case import CaseProfile, load_case, parse_case, template
from services.node.record import RowDefaults

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 24)
SALT = bytes(range(32))
PROFILE = """
reference = "THB-2026-0001"
authority = "Example Police"
officer = "officer-17"
purpose = "investigation"
offence = "trafficking in human beings"
subject_category = "victim"
aim = "identify"
valid_until = 2027-01-31

[defaults]
region = "uk"
keep_until = 2026-12-31
handling = "h1"
source_evaluation = "B"
information_evaluation = "2"
"""


def without(field: str) -> str:
    """Return the profile without the line of a field."""
    return "\n".join(line for line in PROFILE.splitlines() if not line.startswith(f"{field} "))


def changed(field: str, value: str) -> str:
    """Return the profile with another value of a field, as TOML."""
    return PROFILE.replace(
        next(line for line in PROFILE.splitlines() if line.startswith(f"{field} ")), f"{field} = {value}"
    )


def test_a_complete_profile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_bytes(b"\xef\xbb\xbf" + PROFILE.replace("\n", "\r\n").encode())
    case = load_case(path, today=TODAY)
    assert (case.reference, case.purpose, case.aim) == ("THB-2026-0001", Purpose.INVESTIGATION, Aim.IDENTIFY)
    assert case.offence is Offence.TRAFFICKING_IN_HUMAN_BEINGS
    assert case.row_defaults() == RowDefaults(
        region="GB",
        keep_until=date(2026, 12, 31),
        handling=Handling.H1,
        source_evaluation=SourceEvaluation.B,
        information_evaluation=InformationEvaluation.TWO,
    )


def test_without_a_day_of_its_own_a_record_is_kept_as_long_as_the_case() -> None:
    assert parse_case(without("keep_until"), today=TODAY).row_defaults().keep_until == date(2027, 1, 31)


@pytest.mark.parametrize(
    "field", ["reference", "authority", "officer", "purpose", "offence", "subject_category", "aim", "valid_until"]
)
def test_a_missing_field_of_the_justification_is_named(field: str) -> None:
    with pytest.raises(InputError, match=f"'{field}'") as caught:
        parse_case(without(field), today=TODAY)
    assert caught.value.code == "justification_missing"


@pytest.mark.parametrize("purpose", ["missing_person", "human_remains"])
def test_a_search_for_the_missing_and_the_dead_needs_no_offence(purpose: str) -> None:
    text = without("offence").replace('"investigation"', f'"{purpose}"')
    assert parse_case(text, today=TODAY).offence is None


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("purpose", '"curiosity"', "investigation"),
        ("purpose", "7", "investigation"),
        ("offence", '"littering"', "child_sexual_abuse"),
        ("subject_category", '"neighbour"', "missing_person"),
        ("aim", '"know"', "more_data"),
        ("valid_until", '"soon"', "2026-11-24"),
        ("valid_until", "2027-01-31T10:00:00", "2026-11-24"),
        ("reference", '"  "', "at least 1 character"),
        ("reference", f'"{"x" * 201}"', "at most 200 characters"),
        ("region", '"Romania"', "NL"),
        ("handling", '"secret"', "H0, H1, H2, H3"),
        ("source_evaluation", '"D"', "A, B, C, X"),
    ],
)
def test_a_wrong_value_is_refused_by_field_with_what_to_write(field: str, value: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_case(changed(field, value), today=TODAY)
    assert caught.value.code == "bad_input"
    assert field in caught.value.message
    assert hint in caught.value.message
    assert value.strip('"') not in caught.value.message.replace(hint, "")


def test_an_unknown_field_is_refused_without_showing_it() -> None:
    with pytest.raises(InputError, match="a field is unknown") as caught:
        parse_case(f'phone_of_suspect = "07700 900123"\n{PROFILE}', today=TODAY)
    assert "phone_of_suspect" not in caught.value.message
    # Neither does what the error was made from, as a traceback would show it.
    assert "07700" not in str(caught.value.__cause__)


def test_a_case_justifies_on_its_last_day_and_not_after_it() -> None:
    last = date(2026, 12, 31)
    assert parse_case(PROFILE, today=last).defaults.keep_until == last
    with pytest.raises(InputError, match=r"'defaults\.keep_until'") as caught:
        parse_case(PROFILE, today=last + timedelta(days=1))
    assert caught.value.code == "expired"
    with pytest.raises(InputError, match="'valid_until'") as caught:
        parse_case(PROFILE, today=date(2027, 2, 1))
    assert caught.value.code == "expired"


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"reference = \n", "no TOML at line 1"),
        (b"a = 1\na = 2\n", "no TOML"),
        (b"reference = 'caf\xe9'\n", "UTF-8"),
        (b"#" * 70_000, "65536 bytes"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_with_what_to_do(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "case.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=hint):
        load_case(path, today=TODAY)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="concordat node case new"):
        load_case(tmp_path / "none.toml", today=TODAY)


def test_the_template_is_a_valid_profile_that_names_every_field() -> None:
    text = template(valid_until=date(2027, 1, 31))
    case = parse_case(text, today=TODAY)
    assert case.valid_until == date(2027, 1, 31)
    uncommented = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines())
    fields = tomllib.loads(uncommented)
    assert set(fields) == set(CaseProfile.model_fields)
    assert set(fields["defaults"]) == set(type(case.defaults).model_fields)
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("#"))


def test_the_justification_is_canonical_json_and_leaves_the_defaults_out() -> None:
    content = parse_case(PROFILE, today=TODAY).justification_bytes()
    fields = json.loads(content)
    assert content == json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert fields == {
        "aim": "identify",
        "authority": "Example Police",
        "offence": "trafficking_in_human_beings",
        "officer": "officer-17",
        "purpose": "investigation",
        "reference": "THB-2026-0001",
        "subject_category": "victim",
        "valid_until": "2027-01-31",
    }


def test_the_hash_of_the_justification_is_bound_to_domain_salt_and_content() -> None:
    case = parse_case(PROFILE, today=TODAY)
    expected = hashlib.sha256(
        b"concordat/v1/justification\x00" + b"\x00\x20" + SALT + case.justification_bytes()
    ).digest()
    assert expected == case.justification_hash(SALT)
    assert case.justification_hash(SALT) != case.justification_hash(SALT[::-1])
    assert case.justification_hash(SALT) != parse_case(changed("officer", '"x"'), today=TODAY).justification_hash(SALT)


def test_what_is_written_otherwise_and_means_the_same_has_the_same_hash() -> None:
    other = PROFILE.replace('"trafficking in human beings"', '"Trafficking-in-human-beings"').replace('"uk"', '"NL"')
    hashes = {parse_case(text, today=TODAY).justification_hash(SALT) for text in (PROFILE, other)}
    assert len(hashes) == 1


def test_a_short_salt_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        parse_case(PROFILE, today=TODAY).justification_hash(b"short")
