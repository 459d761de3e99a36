"""Who may present a header, and when (3.4 (1))."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.errors import ConcordatError, ProtocolError
from concordat.identity.home import Home, load_home
from concordat.protocol.check import (
    SignedHeader,
    accept_audience,
    accept_header,
    accept_items,
    audience_hash,
    parse_header,
    sign_header,
)
from concordat.wire.v1 import check_pb2 as wire
from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from pathlib import Path

NOW = SystemClock().now()
SALT = bytes(16)
EVERYONE = [wire.AudienceSet(everyone=True)]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    folder: Path = small_federation.make(tmp_path_factory.mktemp("protocol") / "federation")
    return {path.name: load_home(path, clock=SystemClock()) for path in sorted((folder / "node").iterdir())}


def fields(home: Home) -> wire.CheckHeader:
    return wire.CheckHeader(
        federation=home.manifest.federation,
        manifest_hash=home.manifest.hash,
        asker=str(home.identity),
        check_id=b"c" * 16,
        purpose="prevention",
        justification_hash=b"j" * 32,
        count=2,
        issued_at_ms=int(NOW * 1000),
        expires_at_ms=int(NOW * 1000) + 60_000,
        epoch=1,
        audience_hash=audience_hash(SALT, EVERYONE),
    )


def accepted(home: Home, header: SignedHeader, *, asker: str | None = None, now: float = NOW) -> str:
    """Return the code of the refusal, or 'accepted'."""
    try:
        accept_header(
            parse_header(header.raw, header.signature),
            manifest=home.manifest,
            asker=asker or str(home.identity),
            now=now,
        )
    except ConcordatError as error:
        return error.code
    return "accepted"


def test_a_header_is_accepted_from_its_asker(homes: dict[str, Home]) -> None:
    home = next(iter(homes.values()))
    assert accepted(home, sign_header(fields(home), home.signing_key)) == "accepted"


def test_a_header_signed_again_by_another_party_is_refused(homes: dict[str, Home]) -> None:
    first, second = list(homes.values())[:2]
    stolen = sign_header(fields(first), second.signing_key)
    assert accepted(first, stolen) == "bad_signature"
    assert accepted(second, sign_header(fields(first), first.signing_key), asker=str(second.identity)) == "bad_identity"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"federation": "other.example"}, "refused"),
        ({"manifest_hash": b"m" * 32}, "stale_manifest"),
        ({"epoch": 9}, "stale_epoch"),
        ({"justification_hash": b""}, "justification_missing"),
        ({"purpose": ""}, "justification_missing"),
        ({"count": 0}, "protocol_violation"),
        ({"count": 5000}, "protocol_violation"),
        ({"check_id": b"short"}, "protocol_violation"),
        ({"issued_at_ms": int((NOW + 600) * 1000), "expires_at_ms": int((NOW + 660) * 1000)}, "expired"),
        ({"expires_at_ms": int((NOW - 1) * 1000)}, "expired"),
        ({"expires_at_ms": int((NOW + 3600) * 1000)}, "expired"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_a_header_that_breaks_a_rule_is_refused_with_its_code(
    homes: dict[str, Home], change: dict[str, object], code: str
) -> None:
    home = next(iter(homes.values()))
    body = fields(home)
    for name, value in change.items():
        setattr(body, name, value)
    assert accepted(home, sign_header(body, home.signing_key)) == code


def test_a_header_is_refused_once_the_manifest_itself_has_expired(homes: dict[str, Home]) -> None:
    """A process that started in time and was never restarted must not go on for ever under an old manifest."""
    home = next(iter(homes.values()))
    late = float(home.manifest.expires)
    body = fields(home)
    body.issued_at_ms, body.expires_at_ms = int(late * 1000), int(late * 1000) + 60_000
    assert accepted(home, sign_header(body, home.signing_key), now=late - 1) == "accepted"
    assert accepted(home, sign_header(body, home.signing_key), now=late) == "stale_manifest"


def test_a_header_is_refused_after_its_expiry(homes: dict[str, Home]) -> None:
    home = next(iter(homes.values()))
    assert accepted(home, sign_header(fields(home), home.signing_key), now=NOW + 61) == "expired"


def test_a_flipped_bit_anywhere_in_a_header_is_refused(homes: dict[str, Home]) -> None:
    home = next(iter(homes.values()))
    header = sign_header(fields(home), home.signing_key)
    for position in range(0, len(header.raw), 7):
        raw = bytearray(header.raw)
        raw[position] ^= 1
        try:
            changed = parse_header(bytes(raw), header.signature)
        except ConcordatError:
            continue
        assert accepted(home, changed) != "accepted"


def items(number: int, **change: bytes) -> wire.CheckItems:
    columns = {
        "tokens": bytes(16 * number),
        "references": bytes(16 * number),
        "ask_macs": bytes(32 * number),
        "grades": bytes([wire.GRADE_STRONG] * number),
        **change,
    }
    return wire.CheckItems(**columns)


@pytest.mark.parametrize(
    ("columns", "exact"),
    [
        (items(3), True),
        (items(1), True),
        (items(3), False),
        (items(0), False),
        (items(2, tokens=bytes(31)), True),
        (items(2, references=bytes(48)), True),
        (items(2, ask_macs=bytes(32)), True),
        (items(2, grades=bytes([1, 7])), True),
        (items(2, audiences=bytes(1)), True),
    ],
)
def test_columns_that_do_not_fit_the_header_are_refused(columns: wire.CheckItems, exact: bool) -> None:
    with pytest.raises(ConcordatError) as caught:
        accept_items(columns, count=2, exact=exact)
    assert caught.value.code == "protocol_violation"


def test_a_holder_may_get_fewer_items_than_the_header_counts() -> None:
    accept_items(items(1), count=2, exact=False)
    accept_items(items(2), count=2, exact=True)


def test_an_audience_set_that_no_length_prefix_can_hold_is_a_refusal_and_no_crash(homes: dict[str, Home]) -> None:
    home = next(iter(homes.values()))
    header = sign_header(fields(home), home.signing_key)
    with pytest.raises(ProtocolError):
        accept_audience(header, SALT, [wire.AudienceSet(parties=["p" * 70_000])], bytes(2))
    with pytest.raises(ProtocolError):
        accept_audience(header, bytes(70_000), EVERYONE, bytes(2))


def test_audience_sets_other_than_the_signed_ones_are_refused(homes: dict[str, Home]) -> None:
    home = next(iter(homes.values()))
    header = sign_header(fields(home), home.signing_key)
    accept_audience(header, SALT, EVERYONE, bytes(2))
    other = [wire.AudienceSet(parties=["spiffe://example.org/node/XX"])]
    for salt, sets, indexes in (
        (SALT, other, bytes(2)),
        (b"s" * 16, EVERYONE, bytes(2)),
        (SALT, EVERYONE, b"\x01"),
        (SALT, [], b""),
    ):
        with pytest.raises(ConcordatError):
            accept_audience(header, salt, sets, indexes)
