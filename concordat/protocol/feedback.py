"""Negative feedback: a party signs that a match of which it was told is none (3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.protocol.withdrawal import EDGE_ID_BYTES, read_body, require_signer, require_time
from concordat.vocabulary import FalseHit, parse_word
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest

FEEDBACK_DOMAIN: Final = "feedback"


def sign_feedback(body: wire.FeedbackBody, key: SigningKey) -> wire.Feedback:
    """Serialise and sign feedback."""
    raw = body.SerializeToString(deterministic=True)
    return wire.Feedback(body=raw, signature=key.sign(FEEDBACK_DOMAIN, raw))


def accept_feedback(feedback: wire.Feedback, *, signer: str, manifest: Manifest) -> wire.FeedbackBody:
    """Read feedback and check its signature; its reason is a word of the closed vocabulary and no free text.

    Args:
        feedback: As received.
        signer: SPIFFE id of the party that must have signed it.
        manifest: In force.

    Raises:
        ProtocolError: Unreadable, an unknown reason, or an edge id of another size.
        IdentityError: Of another party, or badly signed.
    """
    body = read_body(wire.FeedbackBody, feedback.body, "the feedback")
    require_signer(body.signer, signer)
    manifest.party_by_id(signer).verify_key.verify(FEEDBACK_DOMAIN, feedback.signature, feedback.body)
    if len(body.edge_id) != EDGE_ID_BYTES:
        raise ProtocolError("feedback names an edge of 16 bytes")
    if parse_word(FalseHit, body.reason) is None:
        raise ProtocolError("feedback has an unknown reason")
    require_time(body.given_at_ms)
    return body
