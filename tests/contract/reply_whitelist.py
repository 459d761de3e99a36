"""I4: every field that can reach another party, the hub operator or a partner, and why it may.

A field that is on no list here fails tests/contract/test_reply_whitelist.py. Whoever adds one writes down which of the
allowed things it is: Pruem II lets a reply hold the number of matches, date, time and number of request and reply,
state codes and reference numbers (art. 28(2), LB-07), and the quality of the match (art. 44(4), LB-08: a class, never a
score). What signs or proves one of these is evidence; what the session itself needs says nothing of any record.
"""

from __future__ import annotations

from typing import Final

NUMBER: Final = "number of the request or reply, or of the match (28(2))"
TIME: Final = "date or time of request or reply (28(2))"
PARTY: Final = "state code: which party (28(2), 44(4))"
REFERENCE: Final = "opaque reference number of a record, random, its holder's own (28(2))"
QUALITY: Final = (
    "class of the match or of the question: grade, kind of value, purpose, decision; no score (44(4), LB-08)"
)
EVIDENCE: Final = "signature, MAC or hash that proves the rest, and opens to nothing by itself"
COVERAGE: Final = "who was asked and who not (art. 41, 46; LB-17), the same for all askers of the tick"
CORRECTION: Final = "what recipient and provider must tell each other of an error (art. 51, 64(1)(m); LB-22)"
QUESTION: Final = "the question itself, to holders whose plane says 'maybe'; tokens, no identifier (LB-21)"
SESSION: Final = "state of the recipient's own session, plane or list; says nothing of any record"
OPERATION: Final = "of a charter, to those whom it names; says nothing of any record"
SWEEP: Final = "of candidate rows of a sweep, to participants whose sets are compared"
COURSE: Final = "how far a running sweep is, to the hub's operator; rows in thousands, sets in tens of a hundred (I11)"
QUOTA: Final = "the caller's own evaluations at one custodian; blinded elements, no identifier"
SHARD: Final = "of a part of a sweep, to the gateway itself and to no other party (3.7); no token"
PARENT: Final = "holds only what is listed under its own name"
COUNT: Final = "statistics: numbers a pair, namespace or operation, of edges that both were told of (art. 72, LB-27)"

_WIRE: Final[dict[str, dict[str, str]]] = {
    NUMBER: {
        "Answer": "check_id positions",
        "CertificateBody": "check_id tick",
        "CheckReceived": "check_id tick",
        "CheckRefused": "check_id",
        "Notice": "cursor",
        "Told": "edge_id handle check_id sweep_id",
        "Voided": "edge_id",
        "Withdrawn": "edge_id",
        "ReceiptBody": "edge_id",
        "FeedbackBody": "edge_id",
        "CheckHeader": "check_id count",
        "Question": "tick positions",
    },
    TIME: {
        "CertificateBody": "issued_at_ms",
        "Told": "told_at_ms",
        "Voided": "voided_at_ms",
        "Withdrawn": "withdrawn_at_ms",
        "ReceiptBody": "taken_at_ms",
        "FeedbackBody": "given_at_ms",
        "CheckHeader": "issued_at_ms expires_at_ms",
    },
    PARTY: {
        "Told": "other",
        "Withdrawn": "party",
        "ReceiptBody": "withdrawer signer",
        "FeedbackBody": "other signer",
        "CheckHeader": "federation asker",
        "CertificateBody": "federation gateway",
    },
    REFERENCE: {
        "Answer": "references",
        "Told": "own_reference other_reference",
        "Withdrawn": "reference own_reference",
        "ReceiptBody": "reference",
        "FeedbackFor": "own_reference",
    },
    QUALITY: {
        "Answer": "decisions namespaces refused",
        "Told": "grade asked decision look_once exercise",
        "CheckHeader": "operation purpose epoch look_once exercise",
        "CheckRefused": "code",
        "CertificateBody": "epoch",
    },
    EVIDENCE: {
        "Answer": "answer_macs",
        "Told": "answer_mac",
        "Certificate": "body signature",
        "CertificateBody": "manifest_hash header_hash",
        "Receipt": "body signature",
        "Feedback": "body signature",
        "CheckHeader": "manifest_hash justification_hash audience_hash",
        "Question": "header signature audience_salt",
    },
    COVERAGE: {
        "CertificateBody": "holders partial ledger_incarnation ledger_position",
        "HolderCoverage": "holder state data_minute",
        "Presence": "attached",
    },
    CORRECTION: {"FeedbackBody": "reason"},
    QUESTION: {
        "CheckItems": "tokens references ask_macs grades audiences group_tags",
        "AudienceSet": "everyone parties",
        "AudienceClause": "parties purposes operations",
    },
    SESSION: {
        "Welcome": "gateway manifest_hash ledger_incarnation ledger_position ledger_sequence plane_log2_slots "
        "plane_hashes max_items tick notice_cursor takes_several",
        "SnapshotInstalled": "sequence",
        "PlaneShape": "log2_slots",
        "Published": "sequence",
        "Barrier": "tick required_sequence",
        "GetManifestResponse": "envelope",
    },
    OPERATION: {
        "ProposeResponse": "charter_hash",
        "GetOperationResponse": "charter state",
        "PartySignature": "party signature",
        "SealedKey": "recipient ciphertext signature",
        "OperationSummary": "operation title state unsigned exercise",
        "CountersignResponse": "state",
        "StartSweepResponse": "sweep_id",
        "GetReportResponse": "report signature versions",
        "OperationEvent": "operation kind sweep_id",
    },
    SWEEP: {
        "SweepPlan": "window_bits prefix_bits below first",
        "SweepShard": "address first end",
        "SweepWant": "window positions below",
        "SweepDone": "dropped report_version",
        "PairList": "peer pairs own_references own_rows peer_references",
        "PairProofs": "peer pairs macs decisions",
    },
    SHARD: {"PartNews": "state rows failed", "PartProgress": "windows owing"},
    QUOTA: {
        "EvaluateResponse": "elements proof manifest_hash quota_left",
        "GetQuotaResponse": "epochs period_ends_at_ms manifest_hash",
        "ClassQuota": "key_class limit used exercise_limit exercise_used",
    },
    PARENT: {
        "HubFrame": "welcome snapshot_installed published check_received check_refused question barrier certificate "
        "notice presence operation_event plane_shape several",
        "HubFrames": "frames",
        "Notice": "told voided withdrawn receipt feedback wiped",
        "ReceiptFor": "receipt",
        "FeedbackFor": "feedback",
        "Question": "items audience_sets",
        "AudienceSet": "clauses",
        "Welcome": "presence",
        "GetOperationResponse": "signatures key",
        "ListOperationsResponse": "operations",
        "SweepDown": "plan want pairs pair_proofs done",
        "SweepPlan": "shards",
        "PartNews": "begun progress",
        "GetQuotaResponse": "classes",
    },
}

_BODIES: Final[dict[str, dict[str, str]]] = {
    NUMBER: {"QueryResponse": "request", "Hit": "handle"},
    PARTY: {"Hit": "party"},
    REFERENCE: {"Hit": "reference"},
    QUALITY: {"Hit": "decision", "ItemResult": "result"},
    EVIDENCE: {"Hit": "answer_mac", "SignedCertificate": "body signature"},
    COVERAGE: {"Coverage": "party state data_minute"},
    OPERATION: {
        "ReportResponse": "report signature",
        "OperationState": "operation title purpose exercise phase starts_at ends_at participants signed",
        "FrozenReport": "frozen_at",
    },
    COURSE: {
        "SweepProgress": "phase windows_done windows pairs_percent rows_about shards_away",
        "SweepParty": "name standing owes prepared_percent code",
    },
    SESSION: {
        "OperatorState": "version changed_at federation gateway threshold",
        "NodeState": "name party_class attached since",
        "CustodianState": "name serving since",
    },
    COUNT: {
        "PairMatches": "one other counts",
        "PartnerMatches": "partner counts",
        "FrozenReport": "totals matches included",
    },
    QUOTA: {"EvaluationResponse": "elements proof manifest_hash quota_left"},
    PARENT: {
        "QueryResponse": "results coverage certificate",
        "ItemResult": "hits",
        "OperatorState": "nodes custodians matches partners operations",
        "OperationState": "report sweep",
        "SweepProgress": "parties",
    },
}


def _flat(lists: dict[str, dict[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for reason, messages in lists.items():
        for message, fields in messages.items():
            for field in fields.split():
                assert f"{message}.{field}" not in found, f"{message}.{field} is listed twice"
                found[f"{message}.{field}"] = reason
    return found


WIRE: Final = _flat(_WIRE)
"""`Message.field` of the wire -> reason."""
BODIES: Final = _flat(_BODIES)
"""`Model.field` of the HTTPS API -> reason."""
