"""This node's part in a sweep that the gateway has announced (docs/protocol.md 3.6 (2) to (5))."""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from concordat.errors import IdentityError, ProtocolError, RefusedError, UnavailableError
from concordat.rpc.client import channel as channel_to
from services.node.held import HeldOperation, load_operation
from services.node.index.keeper import FOLDER
from services.node.index.operation_run import PROVED, build_operation_run, records_of
from services.node.operations import fetch_operation
from services.node.policy import About, Policy, may_tell
from services.node.store.sweep_set import SetQuery, read_sweep_set, require_tokens, still_in_set
from services.node.sweep import SweepParty
from services.node.sweep_lines import Preparation, run_sweep
from services.node.sweep_rows import SweepColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    import grpc.aio

    from concordat.identity.home import Home
    from concordat.wire.v1 import operations_pb2 as wire
    from concordat.wire.v1 import sweep_pb2
    from services.node.store.store import Store

CONDITION: Final = "sweep set"
"""Under which name `status` shows how far the making of a set is."""
SALT_DOMAIN: Final = "sweep-salt"
TOKENS_WAIT_S: Final = 8.0
ROWS_OF_FILES: Final = 100_000
"""From so many records on a set is made in files, else in memory."""
SAY_EVERY_S: Final = 2.0
_POLL_S: Final = 0.2


def _silent(_: str) -> None:
    """Hear of progress."""


async def join_sweep(
    home: Home,
    channel: grpc.aio.Channel,
    store: Store,
    operation: str,
    sweep_id: bytes,
    *,
    today: date,
    say: Callable[[str], None] = _silent,
) -> sweep_pb2.SweepDone:
    """Take part in a sweep that the gateway has announced, with the charter and key that this node keeps.

    Args:
        home: The node's folder.
        channel: To the gateway.
        store: The node's store.
        operation: Its id.
        sweep_id: Of the sweep.
        today: The day.
        say: Hears, in a thread, how far the making of a large set is, as text for `status`; empty once that is over.

    Raises:
        NotSignedError: This node has not signed such an operation.
        ConfigError: What it keeps of the operation cannot be used.
        RefusedError: A participant has not signed; names it.
        IdentityError: The gateway shows another charter, or a signature that does not fit.
        UnavailableError: Values still wait for tokens, or the stream broke.
    """
    held = load_operation(home.path, operation)
    await _require_all_signed(home, channel, held)
    query = set_query(home, held.charter, today=today)

    async def build(progress: Callable[[int, int], None]) -> SweepParty:
        steps = Steps(say, progress)
        try:
            party = SweepParty(
                str(home.identity),
                sweep_id,
                operation=operation,
                participants=held.charter.participants,
                rows=await _rows(partial(_read_rows, home, store, held, query, sweep_id, steps)),
                salt=set_salt(home, held),
            )
            await asyncio.to_thread(party.commit)
        finally:
            await asyncio.to_thread(steps.end)
        return party

    def may_prove(references: Sequence[bytes]) -> bool:
        with store.read() as db:
            return still_in_set(db, query, references)

    preparation, dial = Preparation(operation, sweep_id, build), partial(dial_shard, home)
    return await run_sweep(channel, preparation, store=store.verified_pairs, may_prove=may_prove, dial=dial)


def dial_shard(home: Home, address: str) -> grpc.aio.Channel:
    """Open a channel to a shard that the gateway has named; only the gateway's own identity is taken for an answer.

    Raises:
        ProtocolError: The address is not the gateway's: a hub must not make nodes knock at doors in their own network.
    """
    gateway = home.manifest.gateways[0]
    if not is_of(gateway.address, address):
        raise ProtocolError("the gateway names a shard that is not of its own host or domain")
    return channel_to(address, home=home, server=gateway.spiffe)


def is_of(gateway: str, address: str) -> bool:
    """Tell whether an address is of the gateway's host, or of the domain in which that host is.

    Args:
        gateway: HOST:PORT, of the manifest.
        address: HOST:PORT, as the gateway names it.
    """
    own, host = (one.rpartition(":")[0].lower().rstrip(".") for one in (gateway, address))
    domain = own.partition(".")[2]
    # A domain of one label, such as `eu`, is nobody's own; an IP address has none.
    has_domain = "." in domain and not own.endswith("]") and not domain.rpartition(".")[2].isdigit()
    return host == own or (has_domain and host.endswith(f".{domain}"))


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


async def _require_all_signed(home: Home, channel: grpc.aio.Channel, held: HeldOperation) -> None:
    # Step 3.6 (1): that all have signed is not taken from the gateway's word.
    shown = await fetch_operation(home, channel, held.charter.operation)
    if shown.held.raw != held.raw:
        raise IdentityError("the gateway shows another charter than the one that was signed here")
    if missing := sorted(set(held.charter.participants) - set(shown.signed)):
        raise RefusedError(f"the charter is not signed by {', '.join(missing)}")


async def _rows(read: Callable[[], SweepColumns]) -> SweepColumns:
    """Return the node's set; values that were submitted a moment ago are given time to get their tokens."""
    clock = asyncio.get_running_loop().time
    # To read a large set takes long itself: it is not read dozens of times.
    until = clock() + TOKENS_WAIT_S
    while True:
        try:
            return await asyncio.to_thread(read)
        except UnavailableError:
            if clock() >= until:
                raise
        await asyncio.sleep(_POLL_S)


def _read_rows(
    home: Home, store: Store, held: HeldOperation, query: SetQuery, sweep_id: bytes, steps: Steps
) -> SweepColumns:
    with store.read() as db:
        # First: while values wait for tokens this is tried again and again, and a large set takes long to read.
        require_tokens(db, query)
        if records_of(db, query) < ROWS_OF_FILES:
            return SweepColumns.of(read_sweep_set(db, query), held.key, sweep_id)
    return build_operation_run(store, query, held.key, sweep_id, home.path / FOLDER, steps)


class Steps:
    """Says from time to time how far a set is; each word of it is a write to the store."""

    def __init__(
        self,
        say: Callable[[str], None],
        progress: Callable[[int, int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            say: Hears it as text, every two seconds at most, and an empty text at the end.
            progress: Hears each time how many rows of how many are ready; the gateway is told (I11).
            monotonic: The time.
        """
        self._say, self._progress, self._monotonic = say, progress, monotonic
        self._next_at = monotonic()
        self._said = self._ended = False

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Hear how many rows of how many are done."""
        # Before it is made only the node knows of how many: records that are told to nobody are among those it reads.
        self._progress(*(done, total) if phase == PROVED else (0, 0))
        if self._monotonic() >= self._next_at and not self._ended:
            self._next_at, self._said = self._monotonic() + SAY_EVERY_S, True
            self._say(f"{done:,} of {total:,} records are {phase}; the sweep begins when all parties are ready")

    def end(self) -> None:
        """Take back what was said; a thread that still works on a set that was given up says nothing more."""
        self._ended = True
        if self._said:
            self._say("")
