"""A participant's side of operations: open, read, sign, start the sweep, take part in it, read the report (3.6).

A node acts on the charter that it signed and keeps beside the operation's key, never on what the gateway says of it:

    operations/ID.charter   as signed
    operations/ID.key       the operation key, 0600
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import ConfigError, IdentityError, InputError, ProtocolError, RefusedError, UnavailableError
from concordat.identity.files import read_private, read_public, write_private, write_public
from concordat.identity.names import Role
from concordat.protocol.charter import (
    CHARTER_DOMAIN,
    OPERATION_ID,
    accept_charter,
    accept_signature,
    charter_hash,
    open_key,
    parse_charter,
    seal_key,
)
from concordat.protocol.report import accept_report
from concordat.rpc.client import call
from concordat.tokens import MASK_KEY_BYTES, MaskKey
from concordat.wire.v1 import operations_pb2 as wire
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub
from services.node.policy import About, Policy, may_tell
from services.node.store.sweep_set import SetQuery, read_sweep_set, still_in_set
from services.node.sweep import SweepParty, SweepRows, run_sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date
    from pathlib import Path

    import grpc.aio

    from concordat.identity.home import Home
    from concordat.wire.v1 import sweep_pb2
    from services.node.store.store import Store

__all__ = [
    "HeldOperation",
    "OperationPlan",
    "Proposal",
    "fetch_operation",
    "fetch_report",
    "join_sweep",
    "list_operations",
    "load_operation",
    "open_operation",
    "read_report",
    "sign_operation",
    "start_sweep",
]

CALL_S: Final = 30.0
SALT_DOMAIN: Final = "sweep-salt"
TOKENS_WAIT_S: Final = 8.0
_POLL_S: Final = 0.2


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


@dataclass(frozen=True, slots=True)
class HeldOperation:
    """An operation whose charter this node has checked, with its key."""

    raw: bytes
    charter: wire.Charter
    key: MaskKey

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the charter."""
        return charter_hash(self.raw)


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
        RefusedError: The gateway does not take it, as where the id belongs to another charter.
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
    _keep(home, HeldOperation(raw, charter, MaskKey(key)))
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
        RefusedError: The charter is of another manifest, or the gateway does not take the signature.
        IdentityError: Another charter was signed under this id before.
    """
    held = proposal.held
    if held.charter.manifest_hash != home.manifest.hash:
        raise RefusedError("the charter names another manifest", code="stale_manifest")
    # Before the signature leaves: a node that has signed can take part, also after a crash here.
    _keep(home, held)
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


async def join_sweep(
    home: Home, channel: grpc.aio.Channel, store: Store, operation: str, sweep_id: bytes, *, today: date
) -> sweep_pb2.SweepDone:
    """Take part in a sweep that the gateway has announced, with the charter and key that this node keeps.

    Raises:
        ConfigError: This node has not signed such an operation.
        RefusedError: A participant has not signed; names it.
        IdentityError: The gateway shows another charter, or a signature that does not fit.
        UnavailableError: Values still wait for tokens, or the stream broke.
    """
    held = load_operation(home, operation)
    await _require_all_signed(home, channel, held)
    query = set_query(home, held.charter, today=today)
    party = SweepParty(
        str(home.identity),
        sweep_id,
        operation=operation,
        participants=held.charter.participants,
        rows=await _rows(store, held, query),
        salt=set_salt(home, held),
    )

    def may_prove(references: Sequence[bytes]) -> bool:
        with store.read() as db:
            return still_in_set(db, query, references)

    return await run_sweep(channel, party, store=store.verified_pairs, may_prove=may_prove)


def set_query(home: Home, charter: wire.Charter, *, today: date) -> SetQuery:
    """Return which records this node puts into a sweep: those that all other participants may be told of."""
    manifest, about = home.manifest, About(charter.purpose, charter.operation)
    own = manifest.party_by_id(home.identity)
    others = [manifest.party_by_id(party) for party in charter.participants if party != own.id]

    def tells_all(policy: Policy) -> bool:
        return all(may_tell(policy, one, own=own, manifest=manifest, about=about) for one in others)

    return SetQuery(
        operation=charter.operation,
        tells_all=tells_all,
        today=today,
        epoch=charter.epoch,
        rules_versions={name: manifest.rules_versions[name].current for name in charter.namespaces},
        domain=charter.operation if charter.exercise else "",
    )


def set_salt(home: Home, held: HeldOperation) -> bytes:
    """Return the salt of this node's commitments under a charter: the same in each sweep."""
    return hashlib.sha256(home.signing_key.sign(SALT_DOMAIN, held.hash)).digest()


async def fetch_report(home: Home, channel: grpc.aio.Channel, operation: str) -> dict[str, Any]:
    """Read the frozen report, checked against the gateway's signature and the charter that this node keeps.

    Raises:
        IdentityError: The signature does not fit, or the report is of another charter.
        RefusedError: There is no report yet, or this node takes no part.
    """
    request = wire.GetReportRequest(operation=operation)
    reply = await call(
        OperationServiceStub(channel).GetReport, request, party="gateway", role=Role.GATEWAY, timeout_s=CALL_S
    )
    return read_report(home, operation, reply.report, reply.signature)


def read_report(home: Home, operation: str, raw: bytes, signature: bytes) -> dict[str, Any]:
    """Check a report that was received, and read it.

    Raises:
        IdentityError: Not signed by a gateway of the manifest, or of another operation or charter.
    """
    report = accept_report(raw, signature, operation=operation, manifest=home.manifest)
    kept = _charter_path(home, operation).exists()
    if kept and report["charter_hash"] != load_operation(home, operation).hash.hex():
        raise IdentityError("the report is of another charter than the one that this node signed")
    return report


def load_operation(home: Home, operation: str) -> HeldOperation:
    """Return an operation that this node has opened or signed.

    Raises:
        ConfigError: There is none, or its key file is too open or another than the charter names.
    """
    raw = read_public(_charter_path(home, operation))
    charter = parse_charter(raw)
    key = read_private(_key_path(home, operation))
    if len(key) != MASK_KEY_BYTES or MaskKey(key).hash != charter.operation_key_hash:
        raise ConfigError(f"{_key_path(home, operation)}: not the key that the charter names")
    return HeldOperation(raw, charter, MaskKey(key))


async def _require_all_signed(home: Home, channel: grpc.aio.Channel, held: HeldOperation) -> None:
    # Step 3.6 (1): that all have signed is not taken from the gateway's word.
    shown = await fetch_operation(home, channel, held.charter.operation)
    if shown.held.raw != held.raw:
        raise IdentityError("the gateway shows another charter than the one that was signed here")
    if missing := sorted(set(held.charter.participants) - set(shown.signed)):
        raise RefusedError(f"the charter is not signed by {', '.join(missing)}")


async def _rows(store: Store, held: HeldOperation, query: SetQuery) -> SweepRows:
    """Return the node's set; values that were submitted a moment ago are given time to get their tokens."""
    waited_s = 0.0
    while True:
        try:
            return await asyncio.to_thread(_read_rows, store, held, query)
        except UnavailableError:
            if waited_s >= TOKENS_WAIT_S:
                raise
        await asyncio.sleep(_POLL_S)
        waited_s += _POLL_S


def _read_rows(store: Store, held: HeldOperation, query: SetQuery) -> SweepRows:
    with store.read() as db:
        found = read_sweep_set(db, query)
    return SweepRows.of(found, held.key)


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
    )


def _keep(home: Home, held: HeldOperation) -> None:
    operation = held.charter.operation
    path = _charter_path(home, operation)
    if path.exists() and read_public(path) != held.raw:
        raise IdentityError("another charter was signed under this operation's id before")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(_key_path(home, operation), held.key.secret())
    write_public(path, held.raw)


def _charter_path(home: Home, operation: str) -> Path:
    return _folder(home, operation) / f"{operation}.charter"


def _key_path(home: Home, operation: str) -> Path:
    return _folder(home, operation) / f"{operation}.key"


def _folder(home: Home, operation: str) -> Path:
    # The id comes from the gateway and becomes a file name.
    if not OPERATION_ID.fullmatch(operation):
        raise InputError("an operation's id has at most 64 letters, digits, dots, hyphens and underscores")
    return home.path / "operations"
