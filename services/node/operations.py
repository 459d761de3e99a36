"""A participant's side of operations: open, read, sign, start the sweep, read the report (3.6).

What it has signed is kept by `services.node.held`; its part in a sweep is `services.node.joining`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import IdentityError, InputError, ProtocolError, RefusedError
from concordat.identity.names import Role
from concordat.protocol.charter import (
    CHARTER_DOMAIN,
    accept_charter,
    accept_signature,
    charter_hash,
    open_key,
    parse_charter,
    seal_key,
)
from concordat.protocol.near import require_four_eyes
from concordat.protocol.report import accept_report
from concordat.rpc.client import call
from concordat.tokens import MASK_KEY_BYTES, MaskKey
from concordat.wire.v1 import operations_pb2 as wire
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub
from services.node.held import HeldOperation, charter_path, held_charters, keep_operation, load_operation

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from concordat.identity.home import Home

CALL_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPlan:
    """What an opener decides.

    Attributes:
        operation: Id, at most 64 characters of [A-Za-z0-9._-].
        title: For people.
        participants: Short names, the opener's among them or added.
        purpose: Purpose code.
        namespaces: What the sweep counts.
        starts_at: Unix seconds.
        ends_at: Unix seconds.
        justification_hash: SHA-256 of the salted justification (I5).
        epoch: Epoch of the labels; the manifest's current one by default.
        exercise: Whether it is an exercise.
        readers: Short names of the partners that may read the report.
        officer: Pseudonym of the officer who opens it; needed beside a second one.
        second_officer: Pseudonym of another one, who agreed that it is near to an earlier operation (3.6 (7)).
    """

    operation: str
    title: str
    participants: tuple[str, ...]
    purpose: str
    namespaces: tuple[str, ...]
    starts_at: int
    ends_at: int
    justification_hash: bytes
    epoch: int | None = None
    exercise: bool = False
    readers: tuple[str, ...] = ()
    officer: str = ""
    second_officer: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An operation as the gateway gave it, checked: charter, signatures and key fit."""

    held: HeldOperation
    signed: tuple[str, ...]
    state: int


async def open_operation(
    home: Home, channel: grpc.aio.Channel, plan: OperationPlan, *, random_bytes: Callable[[int], bytes]
) -> bytes:
    """Sign a charter, seal a fresh operation key to each participant, and propose both; return the charter's hash.

    Raises:
        InputError: The plan makes no charter.
        RefusedError: The gateway does not take it, as where the id belongs to another charter; or, with code
            `near_duplicate`, it is near to an earlier one and names no second officer.
    """
    key = random_bytes(MASK_KEY_BYTES)
    raw = _charter(home, plan, MaskKey(key).hash).SerializeToString(deterministic=True)
    try:
        charter = parse_charter(raw)
    except (ProtocolError, RefusedError) as error:
        raise InputError(error.message) from error
    request = wire.ProposeRequest(
        charter=raw,
        signature=home.signing_key.sign(CHARTER_DOMAIN, raw),
        keys=[
            seal_key(key, raw, party, manifest=home.manifest, opener=home.signing_key) for party in charter.participants
        ],
    )
    reply = await call(
        OperationServiceStub(channel).Propose, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    if reply.charter_hash != charter_hash(raw):
        raise ProtocolError("the gateway confirms another charter")
    # Only now: a charter that was not taken must not replace the key of one that was.
    keep_operation(home.path, HeldOperation(raw, charter, MaskKey(key)))
    return charter_hash(raw)


async def list_operations(channel: grpc.aio.Channel) -> list[wire.OperationSummary]:
    """Return the operations in which this node takes part, ascending by id."""
    stub = OperationServiceStub(channel)
    reply = await call(
        stub.ListOperations, wire.ListOperationsRequest(), party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    return list(reply.operations)


async def fetch_operation(home: Home, channel: grpc.aio.Channel, operation: str) -> Proposal:
    """Read an operation and check all of it: the opener's charter, every signature, the sealed key.

    Raises:
        IdentityError: Something does not fit; names the party.
        RefusedError: There is no such operation, or this node takes no part in it.
    """
    request = wire.GetOperationRequest(operation=operation)
    reply = await call(
        OperationServiceStub(channel).GetOperation, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    signatures = {one.party: one.signature for one in reply.signatures}
    opener = parse_charter(reply.charter).opener
    charter = accept_charter(reply.charter, signatures.get(opener, b""), manifest=home.manifest)
    if charter.operation != operation or str(home.identity) not in charter.participants:
        raise IdentityError("the gateway gave a charter of another operation, or of other participants")
    for party, signature in signatures.items():
        accept_signature(reply.charter, party, signature, manifest=home.manifest)
    assert home.sealing_key is not None
    key = open_key(reply.key, reply.charter, manifest=home.manifest, own=str(home.identity), key=home.sealing_key)
    return Proposal(HeldOperation(reply.charter, charter, key), tuple(sorted(signatures)), reply.state)


async def sign_operation(home: Home, channel: grpc.aio.Channel, proposal: Proposal) -> int:
    """Countersign the charter that was read, and keep it with its key; return the operation's state.

    Raises:
        RefusedError: The charter is of another manifest; near to one that this node has signed and without a second
            officer of its opener; or the gateway does not take the signature.
        IdentityError: Another charter was signed under this id before.
    """
    held = proposal.held
    if held.charter.manifest_hash != home.manifest.hash:
        raise RefusedError("the charter names another manifest", code="stale_manifest")
    # That no earlier one is near is not left to the gateway.
    require_four_eyes(held.charter, held_charters(home.path))
    # Before the signature leaves: a node that has signed can take part, also after a crash here.
    keep_operation(home.path, held)
    request = wire.CountersignRequest(
        operation=held.charter.operation, signature=home.signing_key.sign(CHARTER_DOMAIN, held.raw)
    )
    reply = await call(
        OperationServiceStub(channel).Countersign, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    state: int = reply.state
    return state


async def start_sweep(channel: grpc.aio.Channel, operation: str) -> bytes:
    """Start the sweep of an operation that this node has opened; return the sweep's id."""
    request = wire.StartSweepRequest(operation=operation)
    reply = await call(
        OperationServiceStub(channel).StartSweep, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    sweep_id: bytes = reply.sweep_id
    return sweep_id


async def fetch_report(home: Home, channel: grpc.aio.Channel, operation: str, *, version: int = 0) -> dict[str, Any]:
    """Read a version of the report, checked against the gateway's signature and the charter that this node keeps.

    Args:
        home: The node's folder.
        channel: To the gateway.
        operation: Operation id.
        version: From 1; 0 is the newest.

    Raises:
        IdentityError: The signature does not fit, or the report is of another charter or version.
        RefusedError: There is no report or version yet, or this node takes no part.
    """
    request = wire.GetReportRequest(operation=operation, version=version)
    reply = await call(
        OperationServiceStub(channel).GetReport, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    report = read_report(home, operation, reply.report, reply.signature)
    if version and report.get("version") != version:
        raise IdentityError("the gateway gave another version of the report")
    return report


def read_report(home: Home, operation: str, raw: bytes, signature: bytes) -> dict[str, Any]:
    """Check a report that was received, and read it.

    Raises:
        IdentityError: Not signed by a gateway of the manifest, or of another operation or charter.
    """
    report = accept_report(raw, signature, operation=operation, manifest=home.manifest)
    kept = charter_path(home.path, operation).exists()
    if kept and report["charter_hash"] != load_operation(home.path, operation).hash.hex():
        raise IdentityError("the report is of another charter than the one that this node signed")
    return report


def _charter(home: Home, plan: OperationPlan, key_hash: bytes) -> wire.Charter:
    participants = {home.manifest.party(name).id for name in plan.participants} | {str(home.identity)}
    return wire.Charter(
        federation=home.manifest.federation,
        manifest_hash=home.manifest.hash,
        operation=plan.operation,
        title=plan.title,
        opener=str(home.identity),
        participants=sorted(participants),
        purpose=plan.purpose,
        namespaces=sorted(set(plan.namespaces)),
        starts_at=plan.starts_at,
        ends_at=plan.ends_at,
        exercise=plan.exercise,
        operation_key_hash=key_hash,
        epoch=plan.epoch or home.manifest.epochs.current,
        justification_hash=plan.justification_hash,
        readers=sorted({home.manifest.party(name).id for name in plan.readers}),
        # A pseudonym leaves the node where others are to see that there were two.
        officer=plan.officer if plan.second_officer else "",
        second_officer=plan.second_officer,
    )
