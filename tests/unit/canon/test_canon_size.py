"""Whatever is typed, its canonical form fits into a token input or is refused; nothing else may stop a node."""

from __future__ import annotations

import pytest

from concordat.canon import Context, Kind, read
from concordat.errors import InputError
from concordat.tokens import token_input

NL = Context("NL")


@pytest.mark.parametrize("where", ["/", "/?q=", "/#/"])
def test_a_form_that_grows_over_every_limit_is_refused_at_once(where: str) -> None:
    """Under NFKC each of these becomes 18 characters, and each of those six bytes: 198 000 in all."""
    with pytest.raises(InputError) as caught:
        read(Kind.URL, f"https://example.com{where}" + "\ufdfa" * 2000, NL)
    assert caught.value.code == "too_long"


def test_the_longest_forms_that_are_taken_fit_into_a_token_input() -> None:
    reading = read(Kind.URL, "https://example.com/" + "\U0001f600" * 2000, NL)
    for value in reading.values:
        assert len(token_input("d" * 255, value.namespace, 1, 1, value.canonical)) <= 65_535
