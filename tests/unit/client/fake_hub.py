"""A hub with real custodians and made-up holders behind `FakeApi`: what a partner's client meets, and lies it may meet.

It is the interface of `concordat.api` and not the gateway: that one is met in tests/e2e/test_partner.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final

from concordat.api import model
from concordat.clock import SystemClock
from concordat.custodians import CustodianPool
from concordat.errors import ConcordatError, UnavailableError
from concordat.identity.manifest import KeyClass
from concordat.justification import Justification
from concordat.protocol.certificate import sign_certificate
from concordat.protocol.check import EVERYONE, accept_audience, accept_header, parse_header
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac, ask_macs
from concordat.protocol.report import REPORT_DOMAIN, TOTALS, encode_report
from concordat.tokens import MaskKey, column, split_outputs, token_input
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory
from concordat.wire.v1 import check_pb2 as wire
from concordat.wire.v1 import custodian_pb2
from services.custodian.service import open_custodian
from tests.unit.client.conftest import home
from tests.unit.client.fake_api import FakeApi, Reply, Request, problem, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from concordat.identity.manifest import Custodian, Party
    from services.custodian.core import Custodian as CustodianCore

CASE: Final = Justification(
    reference="THB-2026-0007",
    authority="Example Mission",
    officer="analyst-3",
    purpose=Purpose.INVESTIGATION,
    offence=Offence.TRAFFICKING_IN_HUMAN_BEINGS,
    subject_category=SubjectCategory.SUSPECT_OR_CONVICTED,
    aim=Aim.IDENTIFY,
    valid_until=date(2199, 12, 31),
)
COVERED, TIMED_OUT = wire.HOLDER_STATE_COVERED, wire.HOLDER_STATE_TIMED_OUT
OFFLINE, OUTSIDE = wire.HOLDER_STATE_OFFLINE, wire.HOLDER_STATE_OUTSIDE
_STATES: Final = {
    COVERED: model.State.COVERED,
    TIMED_OUT: model.State.TIMED_OUT,
    OFFLINE: model.State.OFFLINE,
    OUTSIDE: model.State.OUTSIDE,
}
_STATUS: Final = {"quota_exhausted": 429, "unavailable": 503, "busy": 503}
MINUTE: Final = 29_400_000


class InProcess:
    """A transport to custodians of this process."""

    def __init__(self, cores: Mapping[int, CustodianCore]) -> None:
        self._cores = cores

    async def evaluate(
        self, custodian: Custodian, request: custodian_pb2.EvaluateRequest, *, timeout_s: float
    ) -> custodian_pb2.EvaluateResponse:
        core = self._cores.get(custodian.index)
        if core is None:
            raise UnavailableError("is not there")
        done = await asyncio.to_thread(core.evaluate, request)
        return custodian_pb2.EvaluateResponse(
            elements=done.evaluation.elements,
            proof=done.evaluation.proof,
            manifest_hash=core.manifest.hash,
            quota_left=done.quota_left,
        )

    async def close(self) -> None:
        pass


@dataclass
class Held:
    """A value of a holder."""

    namespace: str
    secret: bytes
    reference: bytes = field(default_factory=lambda: secrets.token_bytes(16))


class FakeHub(FakeApi):
    """Answers evaluations and queries; `states` and the hooks decide what it says."""

    def __init__(self, federation: Path, cores: dict[int, CustodianCore]) -> None:
        super().__init__(home(federation, "gateway/g1"))
        self.federation = federation
        self.cores = cores
        self.states = {"NL": COVERED, "DE": COVERED, "FR": OUTSIDE}
        self.held: dict[str, dict[bytes, Held]] = {"NL": {}, "DE": {}, "FR": {}}
        self.evaluated = 0
        self.asked: list[tuple[str, ...]] = []
        self.decision = ASKER_TOLD | HOLDER_TOLD
        self.answering = (COVERED, TIMED_OUT)
        self.wrong_answer: dict[str, Callable[[model.Hit], model.Hit]] = {}
        self.body_hook: Callable[[wire.CertificateBody], None] = lambda _: None
        self.answer_hook: Callable[[model.QueryResponse], model.QueryResponse] = lambda answer: answer
        self.fail_queries_after: int | None = None
        self.routes["POST", "/v1/evaluations"] = self._evaluations
        self.routes["POST", "/v1/queries"] = self._queries

    async def hold(self, name: str, namespace: str, *values: str) -> None:
        """Let a node hold values."""
        node = home(self.federation, f"node/{name}")
        manifest = node.manifest
        inputs = [token_input(manifest.domain, namespace, 1, 1, value) for value in values]
        async with CustodianPool(node, clock=SystemClock(), transport=InProcess(self.cores)) as pool:
            outputs = await pool.evaluate(inputs, key_class=KeyClass.STRONG, epoch=1, case=CASE)
        labels, match_secrets = split_outputs(outputs)
        tokens = column(MaskKey(node.mask_key(1)).apply(labels), 16)
        for token, secret in zip(tokens, column(match_secrets, 32), strict=True):
            self.held[name][token] = Held(namespace, secret)

    def show_report(self, path: str, *, operation: str, signed: bytes | None = None) -> bytes:
        """Serve a report at a path, and return it; `signed` is what the gateway signed in its place."""
        raw = encode_report(
            {
                "operation": operation,
                "title": "Action day",
                "federation": self.gateway.manifest.federation,
                "gateway": str(self.gateway.identity),
                "frozen_at": 1_764_000_000,
                "totals": dict.fromkeys(TOTALS, 7),
                "per_namespace": {"iban": 2},
                "uncounted": ["iban"],
                "matches": 3,
                "participants": [
                    {"party": str(self.gateway.manifest.nodes[0].id), "size": 9, "state": "included"},
                    {"party": str(self.gateway.manifest.nodes[1].id), "size": None, "state": "absent"},
                ],
            }
        )
        signature = self.gateway.signing_key.sign(REPORT_DOMAIN, raw if signed is None else signed)
        answer = model.ReportResponse(report=raw, signature=signature)
        self.route("GET", path, Reply(body=answer.model_dump_json().encode()))
        return raw

    async def _evaluations(self, request: Request) -> Reply:
        body = model.EvaluationRequest.model_validate_json(request.body)
        wired = custodian_pb2.EvaluateRequest(body=body.body, signature=body.signature, elements=body.elements)
        assert custodian_pb2.EvaluateBody.FromString(body.body).requester == request.client
        try:
            custodian = self.gateway.manifest.custodian(body.custodian)
            done = await InProcess(self.cores).evaluate(custodian, wired, timeout_s=5)
        except ConcordatError as error:
            return problem(_STATUS.get(error.code, 403), error.code)
        self.evaluated += len(body.elements) // 32
        answer = model.EvaluationResponse(
            elements=done.elements,
            proof=done.proof,
            manifest_hash=done.manifest_hash.hex(),
            quota_left=done.quota_left,
        )
        return Reply(body=answer.model_dump_json().encode())

    async def _queries(self, request: Request) -> Reply:
        if self.fail_queries_after is not None and len(self.asked) >= self.fail_queries_after:
            return problem(503, "busy")
        body = model.QueryRequest.model_validate_json(request.body)
        header = parse_header(body.header, body.signature)
        accept_header(header, manifest=self.gateway.manifest, asker=request.client, now=SystemClock().now())
        accept_audience(header, body.audience_salt, list(EVERYONE), bytes(len(body.items)))
        assert header.fields.look_once
        assert header.fields.count == len(body.items)
        self.asked.append(tuple(one.namespace for one in body.items))
        coverage = self._coverage()
        results = tuple(self._result(header.hash, item) for item in body.items)
        certificate = wire.CertificateBody(
            federation=self.gateway.manifest.federation,
            manifest_hash=self.gateway.manifest.hash,
            gateway=str(self.gateway.identity),
            check_id=header.fields.check_id,
            header_hash=header.hash,
            tick=1,
            epoch=header.fields.epoch,
            issued_at_ms=int(SystemClock().now() * 1000),
            holders=coverage,
        )
        self.body_hook(certificate)
        signed = sign_certificate(certificate, self.gateway.signing_key)
        answer = model.QueryResponse(
            request=header.fields.check_id.hex(),
            results=results,
            coverage=tuple(
                model.Coverage(party=one.holder, state=_STATES[one.state], data_minute=one.data_minute)
                for one in coverage
            ),
            certificate=model.SignedCertificate(body=signed.body, signature=signed.signature),
        )
        return Reply(body=self.answer_hook(answer).model_dump_json().encode())

    def _coverage(self) -> list[wire.HolderCoverage]:
        return [
            wire.HolderCoverage(holder=node.id, state=self.states[node.name], data_minute=MINUTE)
            for node in self.gateway.manifest.nodes
        ]

    def _result(self, header_hash: bytes, item: model.QueryItem) -> model.ItemResult:
        answers = (self._answer(node, header_hash, item) for node in self.gateway.manifest.nodes)
        hits = tuple(hit for hit in answers if hit is not None)
        nobody = COVERED not in self.states.values()
        result = model.Result.HIT if hits else model.Result.NOT_COVERED if nobody else model.Result.NO_HIT
        return model.ItemResult(result=result, hits=hits)

    def _answer(self, node: Party, header_hash: bytes, item: model.QueryItem) -> model.Hit | None:
        held = self.held[node.name].get(item.token)
        if held is None or self.states[node.name] not in self.answering or held.namespace != item.namespace:
            return None
        assert ask_macs(held.secret, header_hash, item.token, item.reference) == item.ask_mac
        mac = answer_mac(held.secret, header_hash, node.id, (item.reference, held.reference), self.decision)
        handle = "M-" + hashlib.sha256(item.reference).hexdigest()[:8].upper()
        hit = model.Hit(party=node.id, reference=held.reference, decision=self.decision, answer_mac=mac, handle=handle)
        lie = self.wrong_answer.get(node.name)
        return hit if lie is None else lie(hit)


@asynccontextmanager
async def hub(federation: Path, *, custodians: int = 3) -> AsyncIterator[FakeHub]:
    """Serve a hub with its custodians."""
    with ExitStack() as stack:
        cores = {
            index: stack.enter_context(open_custodian(home(federation, f"custodian/c{index}"), clock=SystemClock()))
            for index in range(1, custodians + 1)
        }
        fake = FakeHub(federation, cores)
        async with serving(fake, fake.gateway):
            yield fake
