"""Which evaluation requests a custodian takes, before it asks its store (2, I5, I7)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import SystemClock
from concordat.errors import ConcordatError
from concordat.identity.home import Home, load_home
from concordat.protocol.evaluation import DOMAIN, MAX_ELEMENTS, accept_evaluation
from concordat.wire.v1 import custodian_pb2 as wire
from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from pathlib import Path

NOW = SystemClock().now()
ELEMENTS = bytes(range(32)) * 2


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Home]:
    folder: Path = small_federation.make(tmp_path_factory.mktemp("evaluation") / "federation")
    return tuple(load_home(folder / name, clock=SystemClock()) for name in ("node/NL", "custodian/c1"))  # type: ignore[return-value] # two names, two homes


def code_of(
    homes: tuple[Home, Home],
    *,
    now: float = NOW,
    domain: str = DOMAIN,
    elements: bytes = ELEMENTS,
    **changed: Any,
) -> str:
    """Return the code by which a request is refused that is right in all but what a test changes, or 'accepted'."""
    node, custodian = homes
    fields = {
        "federation": node.manifest.federation,
        "manifest_hash": node.manifest.hash,
        "requester": str(node.identity),
        "custodian": str(custodian.identity),
        "request_id": b"r" * 16,
        "key_class": "strong",
        "epoch": 1,
        "count": 2,
        "elements_hash": hashlib.sha256(elements).digest(),
        "justification_hash": b"j" * 32,
        "expires_at_ms": int(now * 1000) + 60_000,
        **changed,
    }
    body = wire.EvaluateBody(**fields).SerializeToString(deterministic=True)
    request = wire.EvaluateRequest(body=body, signature=node.signing_key.sign(domain, body), elements=elements)
    try:
        accept_evaluation(request, manifest=custodian.manifest, custodian=str(custodian.identity), now=now)
    except ConcordatError as error:
        return error.code
    return "accepted"


def test_a_request_that_is_right_is_accepted(homes: tuple[Home, Home]) -> None:
    assert code_of(homes) == "accepted"


def test_no_request_is_taken_once_the_manifest_itself_has_expired(homes: tuple[Home, Home]) -> None:
    end = float(homes[1].manifest.expires)
    assert code_of(homes, now=end - 1) == "accepted"
    assert code_of(homes, now=end) == "stale_manifest"


@pytest.mark.parametrize("domain", ["check", "charter", "refusal", "certificate", "operation-key", "evaluate/2"])
def test_a_signature_made_for_something_else_is_no_signature_of_a_request(
    homes: tuple[Home, Home], domain: str
) -> None:
    assert code_of(homes, domain=domain) == "bad_signature"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"requester": "spiffe://test.example/node/DE"}, "bad_signature"),
        ({"requester": "spiffe://test.example/node/XX"}, "bad_identity"),
        ({"requester": "spiffe://test.example/custodian/c2"}, "bad_identity"),
        ({"requester": "spiffe://test.example/gateway/g1"}, "bad_identity"),
        ({"requester": ""}, "bad_identity"),
        ({"custodian": "spiffe://test.example/custodian/c2"}, "bad_identity"),
        ({"federation": "other.example"}, "bad_identity"),
        ({"manifest_hash": b""}, "stale_manifest"),
        ({"key_class": ""}, "stale_epoch"),
        ({"key_class": "STRONG"}, "stale_epoch"),
        ({"epoch": 0}, "stale_epoch"),
        ({"expires_at_ms": int(NOW * 1000)}, "expired"),
        ({"expires_at_ms": int(NOW * 1000) + 721_000}, "expired"),
        ({"expires_at_ms": (1 << 63) - 1}, "expired"),
        ({"justification_hash": b""}, "justification_missing"),
        ({"request_id": b""}, "protocol_violation"),
        ({"count": 0}, "protocol_violation"),
        ({"count": 1}, "protocol_violation"),
        ({"count": 3}, "protocol_violation"),
        ({"count": (1 << 32) - 1}, "protocol_violation"),
        ({"elements": b"", "count": 0}, "protocol_violation"),
        ({"elements": bytes(32 * (MAX_ELEMENTS + 1)), "count": MAX_ELEMENTS + 1}, "protocol_violation"),
        ({"elements_hash": bytes(32)}, "protocol_violation"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_with_its_code(
    homes: tuple[Home, Home], changed: dict[str, Any], code: str
) -> None:
    assert code_of(homes, **changed) == code
