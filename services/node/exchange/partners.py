"""What a holder asks of a question whose asker is a partner (docs/protocol.md 3.9), whatever the hub let through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.errors import ProtocolError, RefusedError
from concordat.identity.names import Role
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from concordat.identity.manifest import Manifest, Party
    from concordat.protocol.check import SignedHeader
    from services.node.store.rows import Hit


def accept_role(header: SignedHeader, asker: Party, question: wire.Question, *, manifest: Manifest) -> None:
    """Take the questions of nodes, and those of partners that their right allows.

    Raises:
        RefusedError: The asker's role does not ask, or no row of the manifest lets the partner ask for this purpose.
        ProtocolError: The partner keeps a record, or leaves this node out of who is told.
    """
    if asker.spiffe.role is Role.NODE:
        return
    # Step 3.9 (3): the table is the manifest's, and not the hub's to read for everybody (I8). It names partners only.
    if not manifest.partner_rights.get(asker.name, {}).get(header.fields.purpose):
        raise RefusedError("no row of the manifest lets this party ask for this purpose")
    if not header.fields.look_once or not all(one.everyone for one in question.audience_sets):
        raise ProtocolError("a partner looks once, and whoever answers is told of it")


def allowed_hits(hits: list[Hit], header: SignedHeader, *, manifest: Manifest) -> list[Hit]:
    """Leave out what a partner may not query; this node knows the namespace of its own value, the hub does not."""
    fields = header.fields
    asker = manifest.party_by_id(fields.asker)
    if asker.spiffe.role is Role.NODE:
        return hits
    return [
        hit
        for hit in hits
        if hit.grade == wire.GRADE_STRONG and manifest.may_query(asker.name, fields.purpose, hit.namespace)
    ]
