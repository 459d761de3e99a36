from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import IdentityError
from concordat.identity.names import Role, SpiffeId

_LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?", fullmatch=True)


@settings(max_examples=50)
@given(st.lists(_LABELS, min_size=1, max_size=4).map(".".join), st.sampled_from(Role), _NAMES)
def test_a_name_reads_back_as_it_was_written(federation: str, role: Role, name: str) -> None:
    spiffe = SpiffeId(federation, role, name)
    assert SpiffeId.parse(str(spiffe)) == spiffe


@settings(max_examples=200)
@given(st.text(max_size=40) | st.text(alphabet="spiffe:/nodeNL.-x", max_size=40))
def test_whatever_is_read_writes_back_the_same_and_the_rest_is_refused(text: str) -> None:
    with suppress(IdentityError):
        assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://eu.example/node",
        "spiffe://eu.example/node/NL/x",
        "spiffe://eu.example/node/",
        "spiffe:///node/NL",
        "SPIFFE://eu.example/node/NL",
        "https://eu.example/node/NL",
        "spiffe://EU.example/node/NL",
        "spiffe://eu.example:443/node/NL",
        "spiffe://user@eu.example/node/NL",
        "spiffe://eu.example/Node/NL",
        "spiffe://eu.example/admin/NL",
        "spiffe://eu.example/node/N L",
        "spiffe://eu.example/node/NL\n",
        "spiffe://eu.example/node/N%4C",
        "spiffe://eu.example/node/NL?x",
        "spiffe://eu.example/node/NL#x",
        "spiffe://eu.example/node/-NL",
        "spiffe://eu.example/node/n.l",
        "spiffe://eu.example/node/\u0430",
        "spiffe://eu..example/node/NL",
        f"spiffe://eu.example/node/{'N' * 64}",
        f"spiffe://{'.'.join(['a' * 60] * 4)}/custodian/{'N' * 60}",
    ],
)
def test_what_only_resembles_a_name_is_refused(uri: str) -> None:
    with pytest.raises(IdentityError):
        SpiffeId.parse(uri)


def test_the_dns_name_holds_name_role_and_federation() -> None:
    assert SpiffeId.parse("spiffe://eu.example/node/NL").dns_name == "nl.node.eu.example"
