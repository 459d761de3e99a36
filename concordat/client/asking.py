"""A partner's query: what is signed and sent, and what of an answer is believed (3.9). No network here.

    question = Questions(home, clock=clock).question(values, case, epoch=1)
    body = question.body                              # POST /v1/queries
    verified = question.verify(response)              # the certificate and every hit, or ProtocolError

Nothing that the gateway says is taken over: coverage is the certificate's, a result follows from it and from the hits
that are verified, and a hit counts only with the MAC of somebody who knows the value.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.api.model import SALT_BYTES, Coverage, QueryItem, QueryRequest, Result, State
from concordat.client.results import Cover, FoundHit, PartyCover, Verdict
from concordat.clock import MS
from concordat.errors import ProtocolError
from concordat.identity.manifest import PartyClass
from concordat.justification import Step, justification_salt
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import CHECK_ID_BYTES, EVERYONE, audience_hash, sign_header
from concordat.protocol.macs import ASKER_TOLD, MAC_BYTES, answer_mac, ask_macs, equal
from concordat.tokens import REFERENCE_BYTES, column, length_prefixed
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concordat.api.model import Hit, ItemResult, QueryResponse
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Manifest
    from concordat.justification import Justification
    from concordat.protocol.check import SignedHeader

REFERENCE_DOMAIN: Final = "partner-reference"
# A query is answered in its moment. Hub and holders count it against the partner's limit for as long as it lives, which
# beyond what clocks may differ serves nobody.
LIFE_S: Final = 60
_HANDLE: Final = re.compile(r"[A-Za-z0-9-]{1,32}", re.ASCII)
_COVER: Final = {
    wire.HOLDER_STATE_COVERED: (State.COVERED, Cover.COVERED),
    wire.HOLDER_STATE_TIMED_OUT: (State.TIMED_OUT, Cover.TIMED_OUT),
    wire.HOLDER_STATE_OFFLINE: (State.OFFLINE, Cover.OFFLINE),
    wire.HOLDER_STATE_OUTSIDE: (State.OUTSIDE, Cover.OUTSIDE),
}


@dataclass(frozen=True, slots=True)
class Tokenised:
    """One value as it can be asked about; only token and namespace go out as they are."""

    namespace: str
    token: bytes
    label: bytes = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of one value."""

    result: Verdict
    hits: tuple[FoundHit, ...]
    coverage: tuple[PartyCover, ...]


class Questions:
    """Makes the queries of one partner."""

    def __init__(self, home: Home, *, clock: Clock, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._home = home
        self._clock = clock
        self._random_bytes = random_bytes
        self._reference_key = home.signing_key.sign(REFERENCE_DOMAIN, b"")

    def question(self, values: Sequence[Tokenised], case: Justification, *, epoch: int) -> Question:
        """Return a signed query.

        Args:
            values: Distinct, at most `MAX_QUERY_ITEMS`.
            case: Why; only its salted hash goes out (I5).
            epoch: Of the tokens.
        """
        salt = self._random_bytes(SALT_BYTES)
        header = self._header(len(values), case, salt, epoch)
        references = b"".join(map(self._reference, values))
        packed = (b"".join(one.secret for one in values), header.hash, b"".join(one.token for one in values))
        macs = column(ask_macs(*packed, references), MAC_BYTES)
        items = tuple(
            QueryItem(token=value.token, reference=reference, ask_mac=mac, namespace=value.namespace)
            for value, reference, mac in zip(values, column(references, REFERENCE_BYTES), macs, strict=True)
        )
        body = QueryRequest(header=header.raw, signature=header.signature, audience_salt=salt, items=items)
        return Question(self._home.manifest, header, tuple(values), body)

    def _header(self, count: int, case: Justification, salt: bytes, epoch: int) -> SignedHeader:
        manifest, key = self._home.manifest, self._home.signing_key
        check_id = self._random_bytes(CHECK_ID_BYTES)
        now_ms = int(self._clock.now() * MS)
        fields = wire.CheckHeader(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            asker=str(self._home.identity),
            check_id=check_id,
            purpose=case.purpose.value,
            # From the check id, which is in the hub's log: with it the partner can open the hash in an audit.
            justification_hash=case.justification_hash(justification_salt(key, Step.QUERY, check_id)),
            count=count,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + min(manifest.max_header_age_s, manifest.max_skew_s + LIFE_S) * MS,
            epoch=epoch,
            audience_hash=audience_hash(salt, EVERYONE),
            look_once=True,
        )
        return sign_header(fields, key)

    def _reference(self, value: Tokenised) -> bytes:
        """Return the value's reference, the same in every query though nothing is stored.

        Of the label and not of the canonical form: whoever had the ledger and, one day, this key could else guess
        what was asked without asking any custodian.
        """
        message = length_prefixed(value.namespace.encode(), value.label)
        return hmac.digest(self._reference_key, message, "sha256")[:REFERENCE_BYTES]


@dataclass(frozen=True, slots=True)
class Question:
    """One query, and what is needed to believe its answer."""

    manifest: Manifest
    header: SignedHeader
    values: tuple[Tokenised, ...] = field(repr=False)
    body: QueryRequest = field(repr=False)

    @property
    def request(self) -> str:
        """Return the request number."""
        return self.header.fields.check_id.hex()

    def verify(self, response: QueryResponse) -> tuple[Verified, ...]:
        """Return what is known of each value, in their order.

        Raises:
            ProtocolError: The answer is about another request, contradicts itself or the agreement, or has no
                certificate though somebody was asked.
            IdentityError: The certificate is not a gateway's.
        """
        if response.request != self.request or len(response.results) != len(self.values):
            raise ProtocolError("the answer is about another request")
        coverage = self._coverage(response)
        return tuple(self._verified(index, found, coverage) for index, found in enumerate(response.results))

    def _coverage(self, response: QueryResponse) -> tuple[PartyCover, ...]:
        """Return the certificate's coverage, after all checks of it."""
        signed = response.certificate
        if signed is None:
            if response.coverage or any(one.result is not Result.NOT_ALLOWED for one in response.results):
                raise ProtocolError("the answer has no certificate, so it says nothing of coverage")
            return ()
        certificate = wire.Certificate(body=signed.body, signature=signed.signature)
        body = accept_certificate(certificate, header=self.header, manifest=self.manifest)
        named = [one.holder for one in body.holders]
        if body.partial or sorted(named) != sorted(party.id for party in self.manifest.nodes):
            raise ProtocolError("the certificate does not name every holder once")
        said = {one.party: one for one in response.coverage}
        if len(said) != len(response.coverage) or len(said) != len(named):
            raise ProtocolError("the coverage is not the certificate's")
        return tuple(self._cover(one, said.get(one.holder)) for one in body.holders)

    def _cover(self, certified: wire.HolderCoverage, said: Coverage | None) -> PartyCover:
        state, cover = _COVER.get(certified.state, (None, Cover.OUTSIDE))
        if said is None or state is not said.state or said.data_minute != certified.data_minute:
            raise ProtocolError("the coverage is not the certificate's")
        party = self.manifest.party_by_id(certified.holder)
        if cover is not Cover.OUTSIDE and not self.manifest.may_ask(PartyClass.PARTNER, party.name):
            raise ProtocolError("the certificate speaks of a party that does not answer partners")
        return PartyCover(party.name, cover, certified.data_minute)

    def _verified(self, index: int, found: ItemResult, coverage: tuple[PartyCover, ...]) -> Verified:
        if (found.result is Result.HIT) != bool(found.hits):
            raise ProtocolError("a result is a hit without one, or has one without being a hit")
        if found.result is Result.NOT_ALLOWED:
            return Verified(Verdict.NOT_ALLOWED, (), ())
        states = {one.party: one for one in coverage}
        hits: dict[str, FoundHit] = {}
        for hit in found.hits:
            party = self.manifest.party_by_id(hit.party)
            state = states.get(party.name)
            if state is None or party.name in hits:
                raise ProtocolError("a hit names a party that is no holder, or one party twice")
            if state.cover is not Cover.OUTSIDE and self._proves(index, hit):
                hits[party.name] = FoundHit(party.name, party.party_class.value, _handle(hit.handle))
            else:
                states[party.name] = PartyCover(party.name, Cover.UNVERIFIED, state.data_minute)
        covered = tuple(states.values())
        if hits:
            return Verified(Verdict.HIT, tuple(hits.values()), covered)
        nobody = all(one.cover is not Cover.COVERED for one in covered)
        return Verified(Verdict.NOT_COVERED if nobody else Verdict.NO_HIT, (), covered)

    def _proves(self, index: int, hit: Hit) -> bool:
        """Tell whether a hit comes from somebody who knows the value and lets the asker know."""
        own = self.body.items[index].reference
        expected = answer_mac(
            self.values[index].secret, self.header.hash, hit.party, (own, hit.reference), hit.decision
        )
        return bool(hit.decision & ASKER_TOLD) and equal(expected, hit.answer_mac)


def _handle(text: str) -> str:
    if not _HANDLE.fullmatch(text):
        raise ProtocolError("the handle of a match is none")
    return text
