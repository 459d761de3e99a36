"""A gateway that says what a test wants: welcome, certificates, notices, each well signed unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.protocol.certificate import accept_refusal, sign_certificate
from concordat.protocol.check import parse_header
from concordat.wire.v1 import check_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from concordat.identity.keys import SigningKey
    from concordat.protocol.check import SignedHeader
    from tests.unit.exchange.parties import Federation, Party

State = check_pb2.HolderState.ValueType
COVERED = check_pb2.HOLDER_STATE_COVERED
TIMED_OUT = check_pb2.HOLDER_STATE_TIMED_OUT
OFFLINE = check_pb2.HOLDER_STATE_OFFLINE
OUTSIDE = check_pb2.HOLDER_STATE_OUTSIDE


@dataclass
class HubByHand:
    """One node's gateway."""

    party: Party
    present: tuple[str, ...] = ("DE", "FR")
    ledger_sequence: int = 0
    ledger_incarnation: bytes = b"L" * 16
    max_items: int = 4096
    cursor: int = 0
    notice_cursor: int = 0
    """Highest notice of the party's list when its session begins."""
    frames: list[session_pb2.NodeFrame] = field(default_factory=list)

    @property
    def federation(self) -> Federation:
        return self.party.federation

    def _ids(self, names: Iterable[str]) -> list[str]:
        return sorted(self.federation.id(name) for name in names)

    def give(self, **content: object) -> list[session_pb2.NodeFrame]:
        """Give the node one frame; return what it answers, its new work last."""
        frame = session_pb2.HubFrame(**content)  # type: ignore[arg-type]  # one of the oneof's fields
        answers = self.party.core.step([frame], work=False)
        self.frames += answers
        return answers

    def welcome(self) -> list[session_pb2.NodeFrame]:
        manifest = self.federation.manifest
        return self.give(
            welcome=session_pb2.Welcome(
                gateway=manifest.gateways[0].id,
                manifest_hash=manifest.hash,
                ledger_incarnation=self.ledger_incarnation,
                ledger_sequence=self.ledger_sequence,
                plane_log2_slots=manifest.plane_log2_slots,
                plane_hashes=manifest.plane_hashes,
                max_items=self.max_items,
                presence=session_pb2.Presence(attached=self._ids(self.present)),
                notice_cursor=self.notice_cursor,
            )
        )

    def attach(self) -> list[check_pb2.Check]:
        """Greet the node, install its plane, acknowledge its deltas; return the checks that it sends."""
        frames = self.welcome()
        while self.party.core.has_more:
            frames = frames + self.party.core.work()
        begin = next(frame.snapshot_begin for frame in frames if frame.HasField("snapshot_begin"))
        installed = session_pb2.SnapshotInstalled(sequence=begin.sequence)
        return self.checks(frames + self.give(snapshot_installed=installed))

    def checks(self, frames: list[session_pb2.NodeFrame]) -> list[check_pb2.Check]:
        """Acknowledge deltas among frames; return all checks that come of it."""
        found = [frame.check for frame in frames if frame.HasField("check")]
        for frame in frames:
            if frame.HasField("publish"):
                published = session_pb2.Published(sequence=frame.publish.sequence)
                found += self.checks(self.give(published=published))
        return found

    def work(self) -> list[check_pb2.Check]:
        return self.checks(self.party.core.work())

    def presence(self, *names: str) -> list[check_pb2.Check]:
        return self.checks(self.give(presence=session_pb2.Presence(attached=self._ids(names))))

    def certify(
        self,
        check: check_pb2.Check,
        states: Mapping[str, check_pb2.HolderState.ValueType],
        *,
        key: SigningKey | None = None,
    ) -> list[check_pb2.Check]:
        """Send a certificate with the states of holders by short name."""
        header = header_of(check)
        body = check_pb2.CertificateBody(
            federation=self.federation.manifest.federation,
            manifest_hash=self.federation.manifest.hash,
            gateway=self.federation.manifest.gateways[0].id,
            check_id=header.fields.check_id,
            header_hash=header.hash,
            epoch=header.fields.epoch,
            holders=[
                check_pb2.HolderCoverage(holder=self.federation.id(name), state=state) for name, state in states.items()
            ],
        )
        certificate = sign_certificate(body, key or self.federation.keys["gateway"])
        return self.checks(self.give(certificate=certificate))

    def tell(self, told: check_pb2.Told) -> list[session_pb2.NodeFrame]:
        self.cursor += 1
        return self.give(notice=check_pb2.Notice(cursor=self.cursor, told=told))

    def void(self, edge_id: bytes) -> list[session_pb2.NodeFrame]:
        self.cursor += 1
        return self.give(notice=check_pb2.Notice(cursor=self.cursor, voided=check_pb2.Voided(edge_id=edge_id)))

    def notify(self, **content: object) -> list[session_pb2.NodeFrame]:
        """Send the next notice, given as the field of its content."""
        self.cursor += 1
        return self.give(notice=check_pb2.Notice(cursor=self.cursor, **content))  # type: ignore[arg-type]  # as in give

    def refusals(self, frames: list[session_pb2.NodeFrame]) -> list[tuple[str, str]]:
        """Return (short name, reason) of the refusals among frames, with their signatures checked."""
        bodies = [
            accept_refusal(frame.refusal, signer=self.party.id, manifest=self.federation.manifest)
            for frame in frames
            if frame.HasField("refusal")
        ]
        return [(body.other.rpartition("/")[2], body.reason) for body in bodies]


def header_of(check: check_pb2.Check) -> SignedHeader:
    return parse_header(check.header, check.signature)


def acks(frames: list[session_pb2.NodeFrame]) -> list[int]:
    return [frame.notice_ack.cursor for frame in frames if frame.HasField("notice_ack")]
