"""The holder's side of a live check: a question in, an answer out (docs/protocol.md 3.4 step 2).

The hub is not trusted: it names no asker here. The header speaks for its signer by the manifest, and the ask MAC speaks
for each item. A hit is worth nothing without it, so that a token that somebody only saw opens nothing. An answer that
was not given yet is decided by the policies of now; one that was given stays, whatever they became since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from concordat.clock import MS
from concordat.errors import ConcordatError, ProtocolError, RefusedError
from concordat.protocol import macs
from concordat.protocol.check import accept_audience, accept_header, accept_items, parse_header
from concordat.tokens import NAMESPACE_NUMBERS, REFERENCE_BYTES, TOKEN_BYTES, column
from concordat.wire.v1 import check_pb2 as wire
from services.node.exchange import coincidence
from services.node.exchange.coincidence import Discreet
from services.node.exchange.decision import Decider
from services.node.exchange.partners import accept_role, allowed_hits
from services.node.exchange.seen import Item, SeenCheck, SeenChecks
from services.node.store.rows import CoincidenceRow, Hit, WitnessRow

if TYPE_CHECKING:
    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId
    from concordat.protocol.check import SignedHeader
    from services.node.store.store import Store

POSITION_BYTES: Final = 4


class Answerer:
    """Answers questions from the store, the same item always alike."""

    def __init__(self, own: SpiffeId, manifest: Manifest, store: Store, *, clock: Clock) -> None:
        self._own = own
        self._manifest = manifest
        self._store = store
        self._clock = clock
        self._seen = SeenChecks()
        self._discreet = Discreet()

    def use_manifest(self, manifest: Manifest) -> None:
        """Judge all further questions by another manifest."""
        self._manifest = manifest

    def forget(self) -> None:
        """Forget all answers, where what they assert was not kept."""
        self._seen = SeenChecks()
        self._discreet = Discreet()

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
        if not self._manifest.agreed(party, self._manifest.party_by_id(self._own)):
            raise RefusedError("the opt-in table does not let these two be compared")
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
        if not proven:
            return
        found = self._decided(question, header, proven)
        confirmed = self._confirmed(header, found)
        answered = [one for one in found if one.hit.grade == wire.GRADE_STRONG or one.sides in confirmed]
        self._keep(header, found, answered=answered)
        positions = np.frombuffer(question.positions, dtype="<u4")
        own, header_hash = str(self._own), header.hash
        for one in answered:
            # Of whom nobody may know there is no answer, and nothing on any disk.
            if one.decision:
                hit, references, position = one.hit, (one.theirs, one.hit.reference), int(positions[one.at])
                mac = macs.answer_mac(hit.secret, header_hash, own, references, one.decision)
                namespace = NAMESPACE_NUMBERS[hit.namespace]
                check.answers[position] = Item(position, hit.reference, one.decision, mac, namespace)

    def _decided(
        self, question: wire.Question, header: SignedHeader, proven: list[tuple[int, Hit, bytes]]
    ) -> list[_Found]:
        """Decide every proven hit of a value that has live records, by the policies as they are now."""
        own = self._manifest.party_by_id(self._own)
        decider = Decider(header, question.audience_sets, own=own, manifest=self._manifest)
        holdings = self._store.holdings({hit.value_id for _, hit, _ in proven})
        items, width, found = question.items, REFERENCE_BYTES, list[_Found]()
        for at, hit, pad in proven:
            held = holdings.get(hit.value_id)
            if held is None:
                continue
            decision = decider.decide(held, items.audiences[at] if items.audiences else 0)
            hidden = items.group_tags[at * macs.TAG_BYTES : (at + 1) * macs.TAG_BYTES]
            tags = macs.masked_tags(hidden, pad) if hidden else b""
            found.append(_Found(at, hit, items.references[at * width : (at + 1) * width], decision, tags))
        return found

    def _confirmed(self, header: SignedHeader, found: list[_Found]) -> set[tuple[bytes, bytes]]:
        """Return the sides of the weak coincidences that a second one confirms."""
        rows = [_coincidence(one, header) for one in found if one.tags]
        asker, lines = header.fields.asker, {row.line_tag for row in rows if row.grade == wire.GRADE_WEAK}
        if not lines:
            return set()
        known = self._store.known_coincidences(asker, lines)
        known += self._discreet.of(asker, now=self._clock.now())
        places = self._store.places({row.own_reference for row in (*rows, *known) if row.line_tag in lines})
        return coincidence.confirmed(rows, known, places)

    def _keep(self, header: SignedHeader, found: list[_Found], *, answered: list[_Found]) -> None:
        """Keep the asks that this node is told of; one whose audience leaves it out leaves nothing on its disk."""
        asker, check_id = header.fields.asker, header.fields.check_id
        witnesses = [
            WitnessRow(one.hit.reference, asker, one.theirs, check_id)
            for one in answered
            if one.decision & macs.HOLDER_TOLD
        ]
        told = [one for one in found if one.tags and one.decision & macs.HOLDER_TOLD]
        discreet = [one for one in found if one.tags and not one.decision & macs.HOLDER_TOLD]
        if witnesses or told:
            self._store.witness(witnesses, [_coincidence(one, header) for one in told])
        self._discreet.add([_coincidence(one, header) for one in discreet], until=header.fields.expires_at_ms / MS)


class _Found(NamedTuple):
    """A proven hit, its place in the question, the asker's reference, the decision, and the asker's group tags."""

    at: int
    hit: Hit
    theirs: bytes
    decision: int
    tags: bytes

    @property
    def sides(self) -> tuple[bytes, bytes]:
        return self.hit.reference, self.theirs


def _coincidence(one: _Found, header: SignedHeader) -> CoincidenceRow:
    line, record = one.tags[: coincidence.LINE_TAG_BYTES], one.tags[coincidence.LINE_TAG_BYTES :]
    fields = header.fields
    return CoincidenceRow(one.hit.reference, fields.asker, one.theirs, fields.check_id, one.hit.grade, line, record)


def _chosen(packed: bytes, width: int, chosen: list[int]) -> bytes:
    if len(chosen) * width == len(packed):
        return packed
    return b"".join([packed[at * width : (at + 1) * width] for at in chosen])


def _proven(
    items: wire.CheckItems, header: SignedHeader, *, hits: list[Hit], fresh: list[int]
) -> list[tuple[int, Hit, bytes]]:
    """Return the hits whose ask MAC fits, with place in the question and pad of the tags; the others show nothing."""
    # A weak token that is presented as strong would otherwise tell somebody.
    # An exercise's own are matched with nothing but that exercise's, whatever token and header say.
    domain = header.fields.operation if header.fields.exercise else ""
    placed = [(fresh[hit.index], hit) for hit in hits if hit.kept and hit.domain == domain]
    placed = [(at, hit) for at, hit in placed if items.grades[at] == hit.grade]
    places = [at for at, _ in placed]
    expected, pads = macs.ask_proofs(
        b"".join([hit.secret for _, hit in placed]),
        header.hash,
        b"".join([items.tokens[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES] for at in places]),
        b"".join([items.references[at * REFERENCE_BYTES : (at + 1) * REFERENCE_BYTES] for at in places]),
        _chosen(items.audiences, 1, places) if items.audiences else b"",
    )
    width, rows = macs.MAC_BYTES, column(expected, macs.MAC_BYTES)
    return [
        (at, hit, pad)
        for (at, hit), mac, pad in zip(placed, rows, column(pads, macs.TAG_BYTES), strict=True)
        if macs.equal(mac, items.ask_macs[at * width : (at + 1) * width])
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
