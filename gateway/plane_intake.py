"""What nodes say of their planes: snapshots, deltas, and the shape in which the hub wants them (3.2 step 3, 3.3).

A party is told one shape only, which follows from what it declared and published itself: the tables are as large as the
largest plane, and nobody learns from its own session how much another party holds (I11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concordat.errors import ProtocolError
from concordat.wire.v1 import session_pb2
from gateway.effects import Note
from gateway.ledger import PublishedSequence
from gateway.plane_builder import PlaneBuilder
from gateway.roster import require_sequence

if TYPE_CHECKING:
    from gateway.roster import Roster, Session, Shared


@dataclass(slots=True)
class PlaneIntake:
    """Takes planes into the routing table."""

    shared: Shared
    roster: Roster
    _full: bool = False
    """It was said that the memory does not allow what is aimed at."""

    def begin_snapshot(self, session: Session, begin: session_pb2.SnapshotBegin) -> None:
        """Start to build a plane beside the live one.

        Raises:
            ProtocolError: A shape that was not named, or a snapshot that lacks what was published before it.
        """
        if begin.hashes != self.shared.table.hashes:
            raise ProtocolError("a snapshot sets another number of slots a token than the welcome said")
        _require_named(session, begin.log2_slots)
        require_sequence(begin.sequence)
        if begin.sequence < session.sequence:
            raise ProtocolError("a snapshot lacks what was published before it")
        session.builder = PlaneBuilder(
            begin.sequence,
            log2_slots=begin.log2_slots,
            hashes=begin.hashes,
            keep_deltas=self.shared.rules.merge_deltas_into_snapshot,
        )

    def take_chunk(self, session: Session, chunk: session_pb2.SnapshotChunk) -> None:
        """Add a chunk to the plane that is being built.

        Raises:
            ProtocolError: No snapshot was begun, or the chunk does not follow.
        """
        if session.builder is None or len(chunk.bits) > self.shared.limits.chunk_bytes:
            raise ProtocolError("a chunk belongs to no snapshot or is too large")
        session.builder.chunk(chunk.offset, chunk.bits)

    def end_snapshot(self, session: Session, end: session_pb2.SnapshotEnd) -> None:
        """Let the plane become live; the node is attached when all of it is, and its sequence is durable.

        Raises:
            ProtocolError: No snapshot was begun, bytes are missing, or the hash is another.
        """
        # Step 3.2 (3): whole, or not at all.
        if session.builder is None:
            raise ProtocolError("a snapshot ends that was not begun")
        builder, session.builder = session.builder, None
        bits = builder.finish(end.bitmap_hash)
        self.shared.table.install(session.party, bits, lambda: self._is_live(session, builder))

    def _is_live(self, session: Session, builder: PlaneBuilder) -> None:
        if self.roster.current(session.party) is not session:
            return
        sequence = builder.sequence
        session.sequence = max(session.sequence, sequence)

        def installed(*, durable: bool) -> None:
            if not self.roster.alive(session, durable=durable):
                return
            session.complete, session.plane_log2 = True, builder.log2_slots
            self.shared.table.touch(session.party)
            self.shared.out.send(session.number, snapshot_installed=session_pb2.SnapshotInstalled(sequence=sequence))
            self.roster.attach(session)
            self._sharpen(session)

        self.shared.out.write([PublishedSequence(session.party, sequence)], installed)

    def publish(self, session: Session, publish: session_pb2.Publish) -> None:
        """Merge a delta into the live plane, and into those that are to replace it.

        Raises:
            ProtocolError: Too many slots, one outside the plane, or a shape that was not named.
        """
        require_sequence(publish.sequence)
        # Step 3.3 (2): 'published' means in the plane and durable in the ledger.
        if len(publish.slots) > 4 * self.shared.limits.delta_slots:
            raise ProtocolError("a delta has too many slots", code="too_large")
        shape = publish.log2_slots or session.least_log2
        _require_named(session, shape)
        slots = self.shared.table.slots(publish.slots, shape)
        self.shared.table.merge_delta(session.party, slots, shape)
        if session.builder is not None:
            session.builder.delta(publish.sequence, slots, shape)
        session.sequence = max(session.sequence, publish.sequence)

        def published(*, durable: bool) -> None:
            if self.roster.alive(session, durable=durable):
                self.shared.out.send(session.number, published=session_pb2.Published(sequence=publish.sequence))

        self.shared.out.write([PublishedSequence(session.party, publish.sequence)], published)
        self._sharpen(session)

    def _sharpen(self, session: Session) -> None:
        """Name a larger shape to a party whose plane has filled up, once for each snapshot."""
        table = self.shared.table
        if session.plane_log2 != session.log2_slots or not table.crowded(session.party):
            return
        table.grow(session.log2_slots + 1)
        if table.target_log2 <= session.log2_slots:
            if not self._full:
                # Without a party: how much one holds is in no log.
                self.shared.out.put(Note("the planes have all their memory: more is asked in vain", ""))
                self._full = True
            return
        session.log2_slots += 1
        self.shared.out.send(session.number, plane_shape=session_pb2.PlaneShape(log2_slots=session.log2_slots))


def _require_named(session: Session, log2_slots: int) -> None:
    if not session.least_log2 <= log2_slots <= session.log2_slots:
        raise ProtocolError("a plane has another shape than the hub named in this session")
