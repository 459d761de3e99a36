"""What a node can prove of its own questions: why it asked, what it signed, and what the hub signed about coverage.

Of others' questions it shows those that found something here and of which it was told.

A justification leaves the node as a salted hash only (I5). The salt follows from the request's id and the party's key,
so that the party, and nobody else, can open a hash that stands in a custodian's or the hub's log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import ConcordatError
from concordat.justification import Step, justification_salt, opening_salts
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import SignedHeader, parse_header
from concordat.wire.v1 import check_pb2 as wire
from services.node.store import cases, inbox

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from services.node.case import CaseProfile

_STATE: Final = "HOLDER_STATE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A justification that a hash stands for."""

    case: CaseProfile
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a certificate says; `problem` is why it proves nothing, or empty.

    `holders` has the state and the minute of the data (Unix seconds, 0 where none is named) by SPIFFE id.
    """

    gateway: str
    issued_at_ms: int
    partial: bool
    holders: dict[str, tuple[str, int]]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCheck:
    """One signed question of this node; `opened` is None where no form of the case that is stored fits the hash."""

    header: SignedHeader
    reference: str
    opened: Opened | None
    coverage: Coverage | None


def asked_checks(db: sqlite3.Connection, *, manifest: Manifest, key: SigningKey) -> Iterator[AskedCheck]:
    """Yield every question that was signed, oldest first, with its reason and the coverage that was certified."""
    rows = db.execute(
        "SELECT s.header, s.certificate, c.reference FROM sent_check s JOIN batch b ON b.id = s.batch_id"
        " JOIN case_profile c ON c.id = b.case_id ORDER BY s.sent_at, s.check_id"
    )
    for raw, certificate, reference in rows:
        header = parse_header(raw, b"")
        salt = justification_salt(key, Step.CHECK, header.fields.check_id)
        opened = _opened(cases.forms_of(db, reference), salt, header.fields.justification_hash)
        coverage = None if certificate is None else _coverage(certificate, header, manifest)
        yield AskedCheck(header=header, reference=reference, opened=opened, coverage=coverage)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredCheck:
    """A question of another party that found something here, and of which this node was told."""

    check_id: bytes
    asker: str
    looked_once: bool
    told_at_ms: int
    shown: int
    """Own values that match, less those whose match became void."""


def answered_checks(db: sqlite3.Connection) -> list[AnsweredCheck]:
    """Return the questions of others of which this node was told, in the order in which it was."""
    found: dict[tuple[bytes, str], AnsweredCheck] = {}
    for row in inbox.all_told(db):
        if row.asked or not row.check_id:
            continue
        key, shown = (row.check_id, row.other), int(row.state == "shown")
        before = found.get(key)
        found[key] = AnsweredCheck(
            check_id=row.check_id,
            asker=row.other,
            looked_once=row.look_once,
            told_at_ms=row.told_at_ms if before is None else before.told_at_ms,
            shown=shown if before is None else before.shown + shown,
        )
    return list(found.values())


def open_justification(db: sqlite3.Connection, *, key: SigningKey, name: bytes, digest: bytes) -> Opened | None:
    """Return the justification behind a hash in another party's log, or None where no stored form of a case fits.

    Args:
        db: The store.
        key: The node's.
        name: What names the request there: the id of a check or of an evaluation request, or an operation's id.
        digest: The justification hash there.
    """
    salts = opening_salts(key, name)
    for case in cases.all_cases(db):
        forms = cases.forms_of(db, case.reference)
        for salt in salts:
            if (opened := _opened(forms, salt, digest)) is not None:
                return opened
    return None


def _opened(forms: list[CaseProfile], salt: bytes, digest: bytes) -> Opened | None:
    found = next((one for one in forms if one.justification_hash(salt) == digest), None)
    return None if found is None else Opened(case=found, salt=salt)


def _coverage(raw: bytes, header: SignedHeader, manifest: Manifest) -> Coverage:
    certificate, problem = wire.Certificate.FromString(raw), ""
    try:
        body = accept_certificate(certificate, header=header, manifest=manifest)
    except ConcordatError as error:
        body, problem = wire.CertificateBody.FromString(certificate.body), error.message
    holders = {one.holder: (_state(one.state), one.data_minute * 60) for one in body.holders}
    return Coverage(
        gateway=body.gateway,
        issued_at_ms=body.issued_at_ms,
        partial=body.partial,
        holders=holders,
        problem=problem,
    )


def _state(number: wire.HolderState.ValueType) -> str:
    return wire.HolderState.Name(number).removeprefix(_STATE).lower()
