"""Whether a story holds together: signatures, order, coverage, and what was told how often (docs/story.md).

    findings = verify(story, manifest)      # empty: it holds
    claims = judge(story, manifest)         # each claim with what was seen

Everything is checked offline, from what the parties show; nobody's secret is needed. What a party left out of its part
cannot be seen, but its list of notices has no gaps, and what one party was told shows at the other.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.message import DecodeError

from concordat.errors import ConcordatError
from concordat.identity.names import short
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import parse_header
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD
from concordat.protocol.withdrawal import accept_receipt
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from concordat.identity.manifest import Manifest
    from concordat.story.model import Claim, PartyPart, Story

_STATE: Final = "HOLDER_STATE_"
_ASKED_OF: Final = frozenset({"covered", "timed_out"})


class Finding(NamedTuple):
    """What does not hold: the number of the rule, the party, and in words."""

    rule: int
    party: str
    text: str


RULES: Final = {
    1: "every header is the party's own, and every certificate is signed by a gateway of the manifest for its header",
    2: "a party's list of notices has no gaps and its times do not go back",
    3: "nobody is told twice of the same other party under one reference, unless the first was taken back",
    4: "what one side was told by a decision for both, the other side was told as well, with the same references",
    5: "nobody is told of a party that was not asked in that check",
    6: "nobody is told of a reference after its withdrawal",
    7: "every receipt is signed by a party that was told of the edge, and names its withdrawal",
}


@dataclass(slots=True)
class _Side:
    """One party's part, read."""

    name: str
    headers: dict[bytes, wire.CheckHeader] = field(default_factory=dict)
    certificates: list[wire.CertificateBody] = field(default_factory=list)
    notices: list[wire.Notice] = field(default_factory=list)

    def told(self) -> Iterator[wire.Told]:
        return (one.told for one in self.notices if one.HasField("told"))


def verify(story: Story, manifest: Manifest) -> list[Finding]:
    """Return everything that does not hold, by rule."""
    findings: list[Finding] = []
    sides = {part.party: _read(part, manifest, findings) for part in story.parties}
    for side in sides.values():
        findings += _in_order(side)
        findings += _once(side)
        findings += _asked(side)
        findings += _no_dead(side)
        findings += _receipts(side, sides, manifest)
        for told in side.told():
            findings += _mirrored(side, told, sides)
    return sorted(findings)


def _read(part: PartyPart, manifest: Manifest, findings: list[Finding]) -> _Side:
    side = _Side(part.party)
    for number, check in enumerate(part.checks, 1):
        try:
            header = parse_header(base64.b64decode(check.header), b"")
            if short(header.fields.asker) != part.party or header.fields.federation != manifest.federation:
                findings.append(Finding(1, part.party, f"check {number} is another party's"))
            side.headers[header.fields.check_id] = header.fields
            if check.certificate is not None:
                signed = wire.Certificate.FromString(base64.b64decode(check.certificate))
                side.certificates.append(accept_certificate(signed, header=header, manifest=manifest))
        except (ConcordatError, DecodeError) as error:
            findings.append(Finding(1, part.party, f"check {number}: {_why(error)}"))
    for number, raw in enumerate(part.notices, 1):
        try:
            side.notices.append(wire.Notice.FromString(base64.b64decode(raw)))
        except DecodeError:
            findings.append(Finding(2, part.party, f"notice {number} cannot be read"))
    return side


def _why(error: Exception) -> str:
    return error.message if isinstance(error, ConcordatError) else "cannot be read"


def _at_ms(notice: wire.Notice) -> int:
    match notice.WhichOneof("content"):
        case "told":
            return notice.told.told_at_ms
        case "voided":
            return notice.voided.voided_at_ms
        case "withdrawn":
            return notice.withdrawn.withdrawn_at_ms
        case _:
            return 0


def _in_order(side: _Side) -> Iterator[Finding]:
    cursors = [one.cursor for one in side.notices]
    if cursors != list(range(1, len(cursors) + 1)):
        yield Finding(2, side.name, "the list of notices has a gap")
    times = [at for one in side.notices if (at := _at_ms(one))]
    if times != sorted(times):
        yield Finding(2, side.name, "the times of notices go back")


def _once(side: _Side) -> Iterator[Finding]:
    live: dict[tuple[bytes, str], bytes] = {}
    for notice in side.notices:
        match notice.WhichOneof("content"):
            case "told":
                told = notice.told
                key = told.own_reference, told.other
                if key in live:
                    yield Finding(3, side.name, f"told twice of {short(told.other)} (notice {notice.cursor})")
                live[key] = told.edge_id
            case "voided" | "withdrawn":
                edge_id = notice.voided.edge_id if notice.HasField("voided") else notice.withdrawn.edge_id
                live = {key: edge for key, edge in live.items() if edge != edge_id}


def _asked(side: _Side) -> Iterator[Finding]:
    states = {body.check_id: _states(body) for body in side.certificates}
    for told in side.told():
        if not told.asked or told.sweep_id:
            continue
        if told.check_id not in side.headers:
            yield Finding(5, side.name, f"told of {short(told.other)} by a check that it did not ask")
        elif states.get(told.check_id, {}).get(short(told.other), "covered") not in _ASKED_OF:
            yield Finding(5, side.name, f"told of {short(told.other)}, which that check did not reach")


def _states(body: wire.CertificateBody) -> dict[str, str]:
    return {short(one.holder): _word(one.state) for one in body.holders}


def _word(state: wire.HolderState.ValueType) -> str:
    return wire.HolderState.Name(state).removeprefix(_STATE).lower()


def _no_dead(side: _Side) -> Iterator[Finding]:
    dead: set[tuple[str, bytes]] = set()
    for notice in side.notices:
        if notice.HasField("withdrawn"):
            dead.add((short(notice.withdrawn.party), notice.withdrawn.reference))
        elif notice.HasField("told"):
            told = notice.told
            if {(short(told.other), told.other_reference), (side.name, told.own_reference)} & dead:
                yield Finding(
                    6, side.name, f"told of {short(told.other)} after the withdrawal (notice {notice.cursor})"
                )


def _receipts(side: _Side, sides: dict[str, _Side], manifest: Manifest) -> Iterator[Finding]:
    own = {one.withdrawn.reference for one in side.notices if one.HasField("withdrawn") and not one.withdrawn.edge_id}
    for notice in side.notices:
        if not notice.HasField("receipt"):
            continue
        try:
            raw = wire.ReceiptBody.FromString(notice.receipt.receipt.body)
            body = accept_receipt(notice.receipt.receipt, signer=raw.signer, manifest=manifest)
        except (ConcordatError, DecodeError) as error:
            yield Finding(7, side.name, f"receipt in notice {notice.cursor}: {_why(error)}")
            continue
        if body.reference not in own:
            yield Finding(7, side.name, f"the receipt of {short(body.signer)} is for no withdrawal of this party")
        signer = sides.get(short(body.signer))
        if signer is not None and body.edge_id not in {told.edge_id for told in signer.told()}:
            yield Finding(7, side.name, f"the receipt of {short(body.signer)} is for an edge of which it was not told")


def _mirrored(side: _Side, told: wire.Told, sides: dict[str, _Side]) -> Iterator[Finding]:
    other = sides.get(short(told.other))
    both = ASKER_TOLD | HOLDER_TOLD
    if other is None or told.sweep_id or told.decision & both != both:
        return
    # A key that was told before is not told again: then the other side has an earlier notice of this party.
    seen = any(
        one.other_reference == told.own_reference and short(one.other) == side.name and one.own_reference
        for one in other.told()
    )
    if not seen:
        yield Finding(4, side.name, f"told of {short(told.other)}, which was not told of {side.name}")


class Judged(NamedTuple):
    """A claim, and what was seen."""

    claim: Claim
    holds: bool
    seen: str


def judge(story: Story, manifest: Manifest) -> list[Judged]:
    """Return every claim with what the parts show of it."""
    sides = {part.party: _read(part, manifest, []) for part in story.parties}
    ends = [act.at_ms for act in story.acts[1:]]
    spans = [(act.at_ms, end) for act, end in zip(story.acts, [*ends, 1 << 62], strict=True)]
    judged: list[Judged] = []
    for claim in story.claims:
        side = sides.get(claim.party)
        if side is None or claim.act > len(spans):
            judged.append(Judged(claim, holds=False, seen="no such party or act in the story"))
            continue
        judged.append(_judge(claim, side, spans[claim.act - 1]))
    return judged


def _judge(claim: Claim, side: _Side, span: tuple[int, int]) -> Judged:
    if claim.kind == "state":
        state = _last_state(side.certificates, claim.other, span)
        return Judged(claim, holds=state == claim.state, seen=state or "no certificate")
    heard = [one for notice in side.notices if (one := _heard(notice)) is not None]
    number = sum(
        1 for kind, other, at in heard if (kind, other) == (claim.kind, claim.other) and span[0] <= at < span[1]
    )
    return Judged(claim, holds=number == claim.times, seen=times_in_words(number))


def times_in_words(number: int) -> str:
    """Return never, once, or how many times."""
    return {0: "never", 1: "once"}.get(number, f"{number} times")


def _heard(notice: wire.Notice) -> tuple[str, str, int] | None:
    """Return what a notice says in a claim's words: its kind, the other party, and when."""
    match notice.WhichOneof("content"):
        case "told":
            return "told", short(notice.told.other), notice.told.told_at_ms
        case "withdrawn" if notice.withdrawn.edge_id:
            return "withdrawn", short(notice.withdrawn.party), notice.withdrawn.withdrawn_at_ms
        case "receipt":
            body = wire.ReceiptBody.FromString(notice.receipt.receipt.body)
            return "receipt", short(body.signer), body.taken_at_ms
        case _:
            return None


def _last_state(certificates: Iterable[wire.CertificateBody], holder: str, span: tuple[int, int]) -> str:
    state = ""
    for body in sorted(certificates, key=lambda one: one.issued_at_ms):
        if span[0] <= body.issued_at_ms < span[1]:
            state = _states(body).get(holder, state)
    return state
