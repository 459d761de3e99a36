"""The load of the bench of live checks: askers that are attached as nodes are, and send checks that were signed before.

Whatever an asker computes (signatures, MACs) is done before the clock starts: what is measured is the hub and the
holders. An asker acknowledges its notices and answers its barriers, as the hub would otherwise call it absent; it keeps
nothing and verifies the answers' MACs after the clock has stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc.aio
import numpy as np

from bench.live_world import EPOCH, STRONG
from concordat.canon import RULES_VERSIONS
from concordat.clock import MS
from concordat.errors import UnavailableError
from concordat.planes import bitmap, slots_of
from concordat.protocol import several
from concordat.protocol.check import EVERYONE, SignedHeader, audience_hash, sign_header
from concordat.protocol.macs import answer_mac, ask_proofs, equal
from concordat.rpc.client import channel, translate
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES
from concordat.wire.v1 import check_pb2 as wire
from concordat.wire.v1 import session_pb2
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.live_world import Holding
    from concordat.identity.home import Home

CHUNK_BYTES: Final = 256 << 10
WAIT_S: Final = 60.0


@dataclass(slots=True)
class Question:
    """A check that is ready to leave, what comes of it, and when."""

    check: wire.Check
    header: SignedHeader
    asker: int
    hits: dict[bytes, tuple[bytes, str]]
    """Own reference of each value that somebody holds -> match secret, and who holds it."""
    sent_at: float = 0.0
    received_at: float = 0.0
    told_at: list[float] = field(default_factory=list)
    told: list[wire.Told] = field(default_factory=list)
    covered: set[str] | None = None
    """By its certificate."""
    holders: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> bool:
        """Tell whether all that is to be waited for has come; without a hit, that the hub has routed it."""
        return bool(self.received_at) and len(self.told_at) >= len(self.hits)


class Writer:
    """Makes checks of which some values are held by somebody, each value once."""

    def __init__(self, homes: Sequence[Home], holdings: Sequence[Holding], *, seed: int) -> None:
        self._homes = homes
        self._holdings = holdings
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(holdings) * holdings[0].number)
        self._next = 0

    def _hits(self, number: int) -> list[tuple[bytes, bytes, str]]:
        """Return token, match secret and holder of values that were never asked about."""
        some = self._order[self._next : self._next + number].tolist()
        self._next += number
        if len(some) < number:
            raise UnavailableError("the holders hold too little for so many checks")
        found = []
        for one in some:
            holding, at = self._holdings[one % len(self._holdings)], one // len(self._holdings)
            token = holding.tokens[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES]
            found.append((token, holding.secrets[at * SECRET_BYTES : (at + 1) * SECRET_BYTES], holding.party))
        return found

    def question(self, asker: int, *, size: int, hits: int) -> Question:
        """Return a signed check of `size` values, of which `hits` are held by somebody each."""
        home, found, rest = self._homes[asker], self._hits(hits), size - hits
        tokens = b"".join([one[0] for one in found]) + self._rng.bytes(rest * TOKEN_BYTES)
        proofs = b"".join([one[1] for one in found]) + self._rng.bytes(rest * SECRET_BYTES)
        references = self._rng.bytes(size * REFERENCE_BYTES)
        salt, manifest, now_ms = secrets.token_bytes(16), home.manifest, int(time.time() * MS)
        header = sign_header(
            wire.CheckHeader(
                federation=manifest.federation,
                manifest_hash=manifest.hash,
                asker=str(home.identity),
                check_id=secrets.token_bytes(16),
                purpose="investigation",
                justification_hash=hashlib.sha256(b"bench").digest(),
                count=size,
                issued_at_ms=now_ms,
                expires_at_ms=now_ms + manifest.max_header_age_s * MS,
                epoch=EPOCH,
                audience_hash=audience_hash(salt, EVERYONE),
            ),
            home.signing_key,
        )
        macs, _ = ask_proofs(proofs, header.hash, tokens, references)
        items = wire.CheckItems(tokens=tokens, references=references, ask_macs=macs, grades=bytes([STRONG]) * size)
        check = wire.Check(
            header=header.raw, signature=header.signature, items=items, audience_salt=salt, audience_sets=EVERYONE
        )
        known = {references[at * 16 : at * 16 + 16]: one[1:] for at, one in enumerate(found)}
        return Question(check, header, asker, known)


class Asker:
    """One attached party that asks."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._outgoing: asyncio.Queue[session_pb2.NodeFrame] = asyncio.Queue()
        self._attached = asyncio.Event()
        self._asked: dict[bytes, Question] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.refused: list[str] = []
        self.told = 0

    def ask(self, question: Question) -> None:
        """Send a check; its clock starts here."""
        self._asked[question.header.fields.check_id] = question
        question.sent_at = time.perf_counter()
        self._outgoing.put_nowait(session_pb2.NodeFrame(check=question.check))

    def forget(self) -> None:
        """Drop what was asked so far."""
        self._asked.clear()

    def again(self) -> Asker:
        """Return one of the same party that has not attached yet."""
        return Asker(self._home)

    async def start(self) -> None:
        """Attach, with an empty plane."""
        gateway, manifest = self._home.manifest.gateways[0], self._home.manifest
        self._channel = channel(gateway.address, home=self._home, server=gateway.spiffe)
        self._call = SessionServiceStub(self._channel).Attach()
        hello = session_pb2.Hello(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            incarnation=secrets.token_bytes(16),
            rules_versions={one.value: v for one, v in RULES_VERSIONS.items() if one.value in manifest.rules_versions},
            epochs=manifest.live_epochs,
            takes_several=True,
        )
        self._outgoing.put_nowait(session_pb2.NodeFrame(hello=hello))
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]
        async with asyncio.timeout(WAIT_S):
            await self._attached.wait()

    async def stop(self) -> None:
        """End the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._call.cancel()
        await self._channel.close()

    async def _write(self) -> None:
        while True:
            frames, room = [await self._outgoing.get()], several.MAX_BYTES
            while not self._outgoing.empty() and (room := room - frames[-1].ByteSize()) > 0:
                frames.append(self._outgoing.get_nowait())
            await self._call.write(several.node_message(frames))

    async def _read(self) -> None:
        try:
            async for message in self._call:
                for frame in several.frames_of(message):
                    self._take(frame)
        except grpc.aio.AioRpcError as error:
            self._fail(translate(error, "the gateway").code)
        except Exception as error:
            self._fail(str(error))
            raise
        self._fail("ended")

    def _fail(self, code: str) -> None:
        """End what waits: the session is over."""
        self.refused.append(code)
        for question in self._asked.values():
            question.over.set()

    def _take(self, frame: session_pb2.HubFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "notice":
            self._notice(frame.notice)
        elif kind == "check_received":
            question = self._asked[frame.check_received.check_id]
            question.received_at = time.perf_counter()
            self._settle(question)
        elif kind == "certificate":
            body = wire.CertificateBody.FromString(frame.certificate.body)
            question = self._asked[body.check_id]
            question.covered = {one.holder for one in body.holders if one.state == wire.HOLDER_STATE_COVERED}
            question.holders = len(body.holders)
            # Whatever has not come by now never comes: its holder is called timed out, and would be asked again.
            question.over.set()
        elif kind == "barrier":
            reply = session_pb2.BarrierReply(tick=frame.barrier.tick, index_sequence=0, all_published=True)
            self._outgoing.put_nowait(session_pb2.NodeFrame(barrier_reply=reply))
        elif kind == "welcome":
            self._snapshot(frame.welcome)
        elif kind == "snapshot_installed":
            self._attached.set()
        elif kind == "check_refused":
            self.refused.append(frame.check_refused.code)
            self._asked[frame.check_refused.check_id].over.set()
        elif kind == "question":
            # A slot that is set by chance alone: this plane is empty, so it cannot come.
            raise UnavailableError("an asker without values was asked")

    def _notice(self, notice: wire.Notice) -> None:
        question = self._asked.get(notice.told.check_id)
        if question is not None:
            question.told_at.append(time.perf_counter())
            question.told.append(notice.told)
            self._settle(question)
        self.told += 1
        ack = wire.NoticeAck(cursor=notice.cursor)
        if self._outgoing.empty() or notice.cursor % 64 == 0:
            self._outgoing.put_nowait(session_pb2.NodeFrame(notice_ack=ack))

    @staticmethod
    def _settle(question: Question) -> None:
        if question.done:
            question.over.set()

    def _snapshot(self, welcome: session_pb2.Welcome) -> None:
        log2, hashes = welcome.plane_log2_slots, welcome.plane_hashes
        bits = bitmap(slots_of(b"", log2, hashes), log2)
        begin = session_pb2.SnapshotBegin(sequence=0, log2_slots=log2, hashes=hashes)
        self._outgoing.put_nowait(session_pb2.NodeFrame(snapshot_begin=begin))
        for at in range(0, len(bits), CHUNK_BYTES):
            chunk = session_pb2.SnapshotChunk(offset=at, bits=bits[at : at + CHUNK_BYTES])
            self._outgoing.put_nowait(session_pb2.NodeFrame(snapshot_chunk=chunk))
        end = session_pb2.SnapshotEnd(bitmap_hash=hashlib.sha256(bits).digest())
        self._outgoing.put_nowait(session_pb2.NodeFrame(snapshot_end=end))


async def drive(askers: Sequence[Asker], questions: Sequence[Question], *, concurrent: int) -> float:
    """Ask, so many at once; return the seconds until the last is done.

    A check with hits is done when its asker has been told of all of them, one without when the hub has routed it: what
    comes after that, its certificate, waits for the tick and its window.
    """
    waiting = iter(questions)

    async def slot() -> None:
        for question in waiting:
            askers[question.asker].ask(question)
            async with asyncio.timeout(WAIT_S):
                await question.over.wait()
            if refused := [code for asker in askers for code in asker.refused]:
                raise UnavailableError(f"the hub takes no more checks [{refused[0]}]")

    begun = time.perf_counter()
    await asyncio.gather(*(slot() for _ in range(concurrent)))
    return time.perf_counter() - begun


async def certified(questions: Sequence[Question]) -> None:
    """Wait until every check has its certificate.

    Raises:
        UnavailableError: One has none.
    """
    deadline = time.monotonic() + WAIT_S
    while any(question.covered is None for question in questions):
        if time.monotonic() > deadline:
            raise UnavailableError("a check has no certificate")
        await asyncio.sleep(0.05)


def wrong_answers(questions: Sequence[Question]) -> int:
    """Count answers that nobody expected or that came twice, are owed by a covered holder, or have a wrong MAC."""
    wrong = 0
    for question in questions:
        told = {one.own_reference: one for one in question.told}
        owed = {reference for reference, (_, holder) in question.hits.items() if holder in (question.covered or ())}
        wrong += len(question.told) - len(told) + len(owed - told.keys())
        for reference, one in told.items():
            secret, holder = question.hits.get(reference, (b"\0" * SECRET_BYTES, ""))
            references = (reference, one.other_reference)
            expected = answer_mac(secret, question.header.hash, holder, references, one.decision)
            wrong += one.other != holder or not equal(expected, one.answer_mac)
    return wrong


def not_covered(questions: Sequence[Question]) -> int:
    """Count the holders that a certificate does not call covered, over all checks."""
    return sum(question.holders - len(question.covered or ()) for question in questions)


def missed(questions: Sequence[Question]) -> int:
    """Count the hits that came too late for their certificate, so that their holders would be asked again."""
    return sum(len(question.hits.keys() - {one.own_reference for one in question.told}) for question in questions)
