"""A partner's query (docs/protocol.md 3.9): what is asked of it before it becomes a check, and what comes of it.

A query is a check that looks once, of a party without a session: it keeps nothing, its answer leaves with the
certificate, and whoever waits for it hears of it as a `QueryOutcome`. What a partner may not ask is refused here before
any node hears of it, since a holder that refuses a question covers nobody in that tick.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.api.model import MAX_QUERY_ITEMS
from concordat.clock import MS
from concordat.errors import ProtocolError, RefusedError, UnavailableError
from concordat.protocol.check import CHECK_COST, accept_margin
from concordat.protocol.macs import ASKER_TOLD
from concordat.tokens import NAMESPACES_BY_NUMBER
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from concordat.identity.manifest import Manifest
    from concordat.protocol.check import SignedHeader
    from gateway.edges import EdgeCandidate


@dataclass(frozen=True, slots=True)
class QueryHit:
    """One holder's answer to one item, for the partner to verify."""

    position: int
    party: str
    own_reference: bytes = field(repr=False)
    """The partner's."""
    reference: bytes = field(repr=False)
    """The holder's."""
    decision: int
    answer_mac: bytes = field(repr=False)
    handle: str = ""
    """Of the partner's match; the ledger makes it."""


@dataclass(frozen=True, slots=True)
class HolderCovered:
    """What the certificate says of one holder."""

    party: str
    state: wire.HolderState.ValueType
    data_minute: int


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """What a query brings: the certificate, what it says, and the hits whose edges are durable."""

    certificate: wire.Certificate = field(repr=False)
    coverage: tuple[HolderCovered, ...]
    hits: tuple[QueryHit, ...]


@dataclass(slots=True)
class Query:
    """What a live check of a partner has beside a node's."""

    number: int
    namespaces: bytes
    """Numbers that the partner declared, one byte an item."""
    hits: list[QueryHit] = field(default_factory=list)

    def take(self, found: Iterable[tuple[int, EdgeCandidate]]) -> None:
        """Keep the answers of which the asker may know, by position."""
        for position, one in found:
            if one.decision & ASKER_TOLD:
                hit = QueryHit(position, one.party_b, one.asked_as, one.reference_b, one.decision, one.answer_mac)
                self.hits.append(hit)

    def drop_dead(self, dead: Collection[tuple[str, bytes]]) -> None:
        """Take back hits of which the holder has withdrawn its value."""
        self.hits = [hit for hit in self.hits if (hit.party, hit.reference) not in dead]

    def drop_of(self, holder: str) -> bool:
        """Take back all hits of a holder; return whether there were any."""
        before = len(self.hits)
        self.hits = [hit for hit in self.hits if hit.party != holder]
        return len(self.hits) < before

    def outcome(self, certificate: wire.Certificate, body: wire.CertificateBody, *, durable: bool) -> QueryOutcome:
        """Return what leaves with the certificate; without durable edges nobody is told of anything."""
        coverage = tuple(HolderCovered(one.holder, one.state, one.data_minute) for one in body.holders)
        hits = sorted(self.hits, key=lambda hit: (hit.position, hit.party)) if durable else []
        return QueryOutcome(certificate, coverage, tuple(hits))


def accept_query(
    header: SignedHeader, message: wire.Check, *, manifest: Manifest, namespaces: bytes, now: float
) -> None:
    """Check what a query must be beside a well-formed check under an accepted header.

    Args:
        header: Accepted, of the partner.
        message: The whole of it.
        manifest: In force.
        namespaces: Declared by the partner, one byte an item.
        now: Unix seconds.

    Raises:
        RefusedError: The asker is no partner, has no row for the purpose, or the header expires too soon.
        ProtocolError: Too many items, weak ones, or a record that others could find.
    """
    fields, items = header.fields, message.items
    # (1) The published table comes first (I8); it names partners only.
    name = manifest.party_by_id(fields.asker).name
    if not manifest.partner_rights.get(name, {}).get(fields.purpose):
        raise RefusedError("no row lets this party query for this purpose")
    # (2) A partner keeps no record: it looks once, and every holder that answers is told of it.
    if not fields.look_once or message.only_holders or not audience_is_everyone(message.audience_sets):
        raise ProtocolError("a query looks once, and its audience is everyone")
    if fields.count > MAX_QUERY_ITEMS:
        raise ProtocolError(f"a query has at most {MAX_QUERY_ITEMS} items", code="too_large")
    if set(items.grades) != {wire.GRADE_STRONG} or len(namespaces) != fields.count:
        raise ProtocolError("a query has strong items only, each with its namespace")
    # (3) As for any check at the hub; here too, as this is asked before the hub is.
    accept_margin(fields, manifest=manifest, now=now)


def audience_is_everyone(sets: Iterable[wire.AudienceSet]) -> bool:
    """Tell whether every holder that answers may be told."""
    found = list(sets)
    return len(found) == 1 and found[0].everyone


def muted_positions(header: SignedHeader, namespaces: bytes, *, manifest: Manifest) -> frozenset[int]:
    """Return the positions of items of which no row says that this partner may query them for this purpose (I8)."""
    name, purpose = manifest.party_by_id(header.fields.asker).name, header.fields.purpose
    allowed = {number for number, word in NAMESPACES_BY_NUMBER.items() if manifest.may_query(name, purpose, word)}
    return frozenset(position for position, number in enumerate(namespaces) if number not in allowed)


class SpentQueries:
    """Queries whose header has not expired: each is asked once, and a partner has a bounded number of them.

    Holders remember each as long, by their own clocks. They answer nothing to other items under a header they know, and
    forget older checks where there are more than they can remember; so neither leaves the hub.
    """

    def __init__(self, *, max_items_of_asker: int, linger_ms: int = 0) -> None:
        self._max = max_items_of_asker
        self._linger_ms = linger_ms
        self._used: set[tuple[str, bytes]] = set()
        self._by_expiry: list[tuple[int, str, bytes, int]] = []
        self._cost: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._used)

    def admit(self, header: SignedHeader, *, now: float) -> None:
        """Take a query, once.

        Raises:
            RefusedError: Its id was used before, with code `request_reused`.
            UnavailableError: The partner has too many that are live.
        """
        now_ms = int(now * MS)
        while self._by_expiry and self._by_expiry[0][0] <= now_ms:
            _, asker, check_id, cost = heapq.heappop(self._by_expiry)
            self._used.discard((asker, check_id))
            self._cost[asker] -= cost
        fields = header.fields
        key, cost = (fields.asker, fields.check_id), fields.count + CHECK_COST
        if key in self._used:
            raise RefusedError("a query of this id was asked already", code="request_reused")
        if self._cost[fields.asker] + cost > self._max:
            raise UnavailableError("too many queries that have not expired", code="busy")
        self._used.add(key)
        self._cost[fields.asker] += cost
        heapq.heappush(self._by_expiry, (fields.expires_at_ms + self._linger_ms, *key, cost))
