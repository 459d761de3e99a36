"""The holder's side of a live check: a question in, an answer out (docs/protocol.md 3.4 step 2).

The hub is not trusted: it names no asker here. The header speaks for its signer by the manifest, and the ask MAC speaks
for each item. A hit is worth nothing without it, so that a token that somebody only saw opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConcordatError, ProtocolError, RefusedError
from concordat.protocol import macs
from concordat.protocol.check import accept_audience, accept_header, accept_items, parse_header
from concordat.tokens import NAMESPACE_NUMBERS, REFERENCE_BYTES, TOKEN_BYTES, column
from concordat.wire.v1 import check_pb2 as wire
from services.node.exchange.partners import accept_role, allowed_hits
from services.node.exchange.seen import Item, SeenCheck, SeenChecks
from services.node.store.rows import WitnessRow

if TYPE_CHECKING:
    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId
    from concordat.protocol.check import SignedHeader
    from services.node.store.rows import Hit
    from services.node.store.store import Store

POSITION_BYTES: Final = 4
HIDDEN: Final = 0


class Answerer:
    """Answers questions from the store, the same item always alike."""

    def __init__(self, own: SpiffeId, manifest: Manifest, store: Store, *, clock: Clock) -> None:
        self._own = own
        self._manifest = manifest
        self._store = store
        self._clock = clock
        self._seen = SeenChecks()

    def use_manifest(self, manifest: Manifest) -> None:
        """Judge all further questions by another manifest."""
        self._manifest = manifest

    def forget(self) -> None:
        """Forget all answers, where what they assert was not kept."""
        self._seen = SeenChecks()

    def answer(self, question: wire.Question) -> wire.Answer:
        """Return the hits of a question, or a refusal of the whole of it; rows are durable before this returns.

        More items than a header's count, or an id that was used for another header, get an answer without hits.

        Raises:
            ProtocolError: The header cannot be read, so that there is no check to refuse.
            UnavailableError: The store cannot be used.
        """
        header = parse_header(question.header, question.signature)
        check_id = header.fields.check_id
        try:
            positions = self._accept(question, header)
        except ConcordatError as error:
            return wire.Answer(check_id=check_id, refused=error.code)
        try:
            check, fresh = self._seen.admit(header, positions, question.items, now=self._clock.now())
        except ProtocolError:
            # Not a refusal, which everybody's certificates show: an asker that uses an id twice would see by it who
            # may hold what it asks, silently or not (I11).
            return wire.Answer(check_id=check_id)
        if fresh:
            self._look(question, header, check=check, fresh=fresh)
        return _as_answer(check_id, [check.answers[one] for one in positions if one in check.answers])

    def _accept(self, question: wire.Question, header: SignedHeader) -> list[int]:
        """Check all that does not need the store, and return the positions of the items."""
        asker = header.fields.asker
        accept_header(header, manifest=self._manifest, asker=asker, now=self._clock.now())
        party = self._manifest.party_by_id(asker)
        if party.spiffe == self._own:
            raise ProtocolError("the question is this node's own")
        if not self._manifest.may_ask(party.party_class, self._own.name):
            raise RefusedError("the opt-in table does not let this class ask here")
        accept_role(header, party, question, manifest=self._manifest)
        items = question.items
        accept_items(items, count=header.fields.count, exact=False)
        accept_audience(header, question.audience_salt, list(question.audience_sets), items.audiences)
        if len(question.positions) != len(items.grades) * POSITION_BYTES:
            raise ProtocolError("a question has one position an item")
        positions: list[int] = np.frombuffer(question.positions, dtype="<u4").tolist()
        if max(positions) >= header.fields.count or len(set(positions)) != len(positions):
            raise ProtocolError("a position is over the header's count, or there twice")
        return positions

    def _look(self, question: wire.Question, header: SignedHeader, *, check: SeenCheck, fresh: list[int]) -> None:
        """Look items up that have no answer yet, and keep what was verified before it can leave."""
        items = question.items
        hits = self._store.lookup(_chosen(items.tokens, TOKEN_BYTES, fresh), header.fields.epoch)
        hits = allowed_hits(hits, header, manifest=self._manifest)
        proven = _proven(items, header, hits=hits, fresh=fresh)
        told, own, header_hash = self._told(question), str(self._own), header.hash
        witnesses: list[WitnessRow] = []
        coincidences: list[WitnessRow] = []
        found: dict[int, Item] = {}
        positions = np.frombuffer(question.positions, dtype="<u4")
        for at, hit in proven:
            reference = items.references[at * REFERENCE_BYTES : (at + 1) * REFERENCE_BYTES]
            row = WitnessRow(hit.reference, header.fields.asker, reference, header.fields.check_id)
            is_told = told[items.audiences[at] if items.audiences else 0]
            if hit.grade == wire.GRADE_STRONG:
                decision = macs.ASKER_TOLD | (macs.HOLDER_TOLD if is_told else HIDDEN)
                mac = macs.answer_mac(hit.secret, header_hash, own, (reference, hit.reference), decision)
                position = int(positions[at])
                found[position] = Item(position, hit.reference, decision, mac, NAMESPACE_NUMBERS[hit.namespace])
            if is_told:
                # An audience that leaves this node out is answered in memory and leaves nothing on its disk.
                (witnesses if hit.grade == wire.GRADE_STRONG else coincidences).append(row)
        if witnesses:
            self._store.witness(witnesses)
        if coincidences:
            self._store.weak_coincidences(coincidences)
        check.answers.update(found)

    def _told(self, question: wire.Question) -> list[bool]:
        """Tell for each audience set whether this node is in it."""
        own = str(self._own)
        return [audience.everyone or own in audience.parties for audience in question.audience_sets]


def _chosen(packed: bytes, width: int, chosen: list[int]) -> bytes:
    if len(chosen) * width == len(packed):
        return packed
    return b"".join([packed[at * width : (at + 1) * width] for at in chosen])


def _proven(
    items: wire.CheckItems, header: SignedHeader, *, hits: list[Hit], fresh: list[int]
) -> list[tuple[int, Hit]]:
    """Return the hits whose ask MAC fits, with their place in the question; the others show nothing."""
    # A weak token that is presented as strong would otherwise tell somebody.
    placed = [(fresh[hit.index], hit) for hit in hits if hit.kept]
    placed = [(at, hit) for at, hit in placed if items.grades[at] == hit.grade]
    places = [at for at, _ in placed]
    expected = column(
        macs.ask_macs(
            b"".join([hit.secret for _, hit in placed]),
            header.hash,
            b"".join([items.tokens[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES] for at in places]),
            b"".join([items.references[at * REFERENCE_BYTES : (at + 1) * REFERENCE_BYTES] for at in places]),
        ),
        macs.MAC_BYTES,
    )
    width = macs.MAC_BYTES
    return [
        one
        for one, mac in zip(placed, expected, strict=True)
        if macs.equal(mac, items.ask_macs[one[0] * width : (one[0] + 1) * width])
    ]


def _as_answer(check_id: bytes, found: list[Item]) -> wire.Answer:
    return wire.Answer(
        check_id=check_id,
        positions=np.array([one.position for one in found], dtype="<u4").tobytes(),
        references=b"".join([one.reference for one in found]),
        decisions=bytes([one.decision for one in found]),
        answer_macs=b"".join([one.mac for one in found]),
        namespaces=bytes([one.namespace for one in found]),
    )
