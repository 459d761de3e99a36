"""One run of a small federation in which every party's secrets are known, and all that it left is collected.

Real processes, four file formats, refused rows and files, a custodian that is killed, requests that are refused, a live
match, a sweep with its report, the command line, a partner at the HTTPS API; and a relay in front of the gateway's
gRPC and of each custodian.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from concordat.client import Client, Item
from concordat.clock import SystemClock
from concordat.errors import ConcordatError
from concordat.identity.home import load_home
from concordat.rpc.client import call, channel
from concordat.tokens import MaskKey
from concordat.wire.v1 import custodian_pb2, operations_pb2
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub
from demo.action import OPERATION, ActionDay
from demo.federation import LocalFederation
from demo.files import write_files
from demo.processes import free_ports
from demo.scenario import Line, Party, Scenario
from demo.stores import Stores
from tests.e2e import watched_process
from tests.e2e.canaries import Canary, Scanner
from tests.e2e.tap import Tapping
from tests.unit.client.fake_hub import CASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from concordat.api.model import QueryRequest
    from concordat.identity.manifest import Manifest
    from demo.processes import Event
    from services.node.store.store import Store

PARTIES: Final = ("NL", "DE", "RO", "PL")
FILE_CANARY: Final = "canary-in-a-broken-file@kanarie-eight.example"
CHECKED_CANARY: Final = "vogelkooi-77@kanarie-nine.example"
SHORTEST_CANONICAL: Final = 8
# On a busy machine nodes may pause; gRPC can keep the unread messages of a session that the hub then ends.
PATIENCE: Final = "[limits]\nabsent_after_barriers = 10000\nabsent_after_s = 120\n"
KEPT_IN_AN_OBJECT: Final = b"kept on purpose!"
# Memory that is given back is overwritten: the allocator's test setting, for Python's small objects too, and without
# the cache of chunks that skips it. What is then found is still in somebody's hands.
WIPING: Final = ("PYTHONMALLOC=malloc", "GLIBC_TUNABLES=glibc.malloc.perturb=165:glibc.malloc.tcache_count=0")
NAMED_BY_HASH: Final = ("mask key", "operation key")
# Values that all parties hold, the domain of a host among them; each of 6 pairs tells both sides.
SHARED_VALUES: Final = 10
TOLD_SIDES: Final = 12
PARTNER: Final = "IJM"
# What the partner asks for and two hold is told to both.
TOLD: Final = SHARED_VALUES * TOLD_SIDES + 2
ANSWERING: Final = ("NL", "DE")
PARTNER_TYPED: Final = (
    ("phone", "+44 7700 900723"),
    ("email", "Kanarie.Partner+q@kanarie-eleven.example"),
    ("domain", "kanarie-zwoelf.example"),
)
NOTICES_S: Final = 15
WORK_S: Final = 90
SETTLE_S: Final = 1.5
_PAGE_BYTES: Final = 1 << 22

# kind, what is typed, fields of the line; `{}` takes the party's own letters.
_SHARED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("phone", "+44 7700 900723", {}),
    ("fax", "07700 900 724", {"region": "GB"}),
    ("email", "Kanarie.Gelb+x1@kanarie-one.example", {}),
    ("facebook", "https://www.facebook.com/kanarienvogel.gelb83", {}),
    ("username", "kanarek_zolty_83", {"platform": "vk"}),
    ("username", "einsamer_kanari_97", {}),
    ("domain", "kanarie-two.example", {}),
    ("url", "https://forum.kanarie-three.example/Thread/4711?q=Käfig", {"assessment": "suspected"}),
    ("telegram", "@kanarie_vier_4711", {"origin": ("RO",)}),
)
_OWN: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("phone", "+44 7700 9008{}", {}),
    ("email", "own-{}@kanarie-five.example", {}),
    ("domain", "own-{}.kanarie-six.example", {"csa": "confirmed"}),
    # Refused, each in its own way; what could not be read is as secret as the rest.
    ("email", "no-address-{}-kanarie-seven", {}),
    ("pigeon", "unknown-kind-{}-kanarie", {}),
    ("phone", "kein-telefon-{}-kanarie", {}),
    ("url", "https://[kaputt-{}-kanarie", {}),
)


def canary_scenario() -> Scenario:
    """Return a few things that all hold, and for each party some that only it holds or that cannot be read."""
    lines: list[Line] = []
    for number, party in enumerate(PARTIES):
        for place, (kind, typed, fields) in enumerate(_SHARED):
            lines.append(Line(id=f"{party}-s{place}", party=party, kind=kind, typed=typed, **fields))
        for place, (kind, typed, fields) in enumerate(_OWN):
            own = typed.format(f"{number}1" if kind == "phone" and typed[0] == "+" else party)
            lines.append(Line(id=f"{party}-o{place}", party=party, kind=kind, typed=own, **fields))
    match = tuple(tuple(f"{party}-s{place}" for party in PARTIES) for place in range(len(_SHARED)))
    return Scenario(
        name="canaries",
        parties={name: Party(answers_partners=name in ANSWERING) for name in PARTIES},
        lines=tuple(lines),
        match=match,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Distinct tokens seen in a process's memory, and whether the bytes planted there were seen."""

    tokens: int
    planted: bool


@dataclass(slots=True, repr=False)
class Evidence:
    """What a run left, and what must not be in it. Places are named, contents are bytes."""

    canaries: list[Canary] = field(default_factory=list)
    tokens: dict[str, list[bytes]] = field(default_factory=dict)
    """Tokens of each party that were published and asked."""
    sweep_tokens: list[bytes] = field(default_factory=list)
    wire: list[tuple[str, bytes]] = field(default_factory=list)
    wire_errors: list[str] = field(default_factory=list)
    gateway_disk: list[tuple[str, bytes]] = field(default_factory=list)
    custodian_disks: list[tuple[str, bytes]] = field(default_factory=list)
    node_disks: list[tuple[str, bytes]] = field(default_factory=list)
    """Files of nodes that are neither store nor key."""
    logs: list[tuple[str, bytes]] = field(default_factory=list)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    spans: list[tuple[str, bytes]] = field(default_factory=list)
    errors: list[tuple[str, bytes]] = field(default_factory=list)
    """What commands wrote on stderr, and refusals as the caller saw them."""
    memory: Memory | None = None
    """What was in the gateway's memory in the end; None where it may not be read."""
    objects: watched_process.Answer | None = None
    """What the gateway said about the live objects of its interpreter."""
    partner_results: list[str] = field(default_factory=list)
    partner_refusals: list[str] = field(default_factory=list)
    """Code of each body that the API refused."""
    told: int = 0
    refused_rows: int = 0
    report: dict[str, Any] | None = None
    planted_wire: list[tuple[str, bytes]] = field(default_factory=list)
    after_plant: list[tuple[str, bytes]] = field(default_factory=list)
    """Logs and disks of the servers after a party had put an identifier where none belongs."""

    def all_tokens(self) -> list[bytes]:
        """Return all tokens and sweep tokens of all parties, each once."""
        return sorted({token for own in self.tokens.values() for token in own} | set(self.sweep_tokens))


class CanaryRun:
    """The run; `evidence` holds what it found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch = folder / "watch" / "gateway"
        self.scenario = canary_scenario()
        self.evidence = Evidence()
        self._events: list[bytes] = []
        self.federation = LocalFederation(
            folder, self.scenario.parties, partners=(PARTNER,), hosts=1, on_event=self._hear
        )

    def _hear(self, process: str, event: Event) -> None:
        self._events.append(f"{process} {json.dumps(event, ensure_ascii=False)}\n".encode())

    def go(self) -> Evidence:
        """Run all of it; the processes are stopped when it returns."""
        files = write_files(self.scenario, self.folder / "files")
        manifest = self.federation.prepare(tick_ms=100, window_ms=500)
        with Tapping() as tapping:
            self._put_taps(tapping, manifest)
            self._watch()
            with self.federation, Stores({name: self.federation.home(name) for name in PARTIES}) as stores:
                self.federation.start()
                day = ActionDay(self.federation, self.scenario, stores)
                asyncio.run(day.sign_charter())
                self.federation.custodians["c2"].kill()
                reports = day.submit(files, lambda _done: None)
                self.evidence.refused_rows = sum(one.counts.refused for own in reports.values() for one in own)
                self._use_command_line()
                self.federation.custodians["c2"].start()
                stores.wait_done(WORK_S)
                self.evidence.report = asyncio.run(day.sweep())
                asyncio.run(self._be_refused())
                self._learn_secrets(stores)
                asyncio.run(self._ask_as_partner())
                self._wait_told(stores)
                time.sleep(SETTLE_S)
                self._ask_objects()
                self._read_disks("while running")
                self.evidence.wire = tapping.wire.places()
                asyncio.run(self._plant_on_the_wire())
                self.evidence.planted_wire = tapping.wire.places()
                self._look_into_memory()
            self.evidence.wire_errors = tapping.wire.errors
        self._read_disks("stopped")
        self._read_logs(self.evidence.logs)
        self.evidence.spans = [(str(path), path.read_bytes()) for path in sorted(self.watch.parent.glob("*/spans"))]
        self.evidence.events = [("events on stdout", b"".join(self._events))]
        return self.evidence

    def _wait_told(self, stores: Stores) -> None:
        """Wait for the last notices; what is missing then stays missing."""
        deadline = time.monotonic() + NOTICES_S
        while (told := len(stores.told())) < TOLD and time.monotonic() < deadline:
            time.sleep(0.1)
        self.evidence.told = told

    def _put_taps(self, tapping: Tapping, manifest: Manifest) -> None:
        """Let the servers listen elsewhere, and relays at the addresses that the manifest names."""
        servers = [
            ("gateway", "g1", manifest.gateways[0].address),
            *(("custodian", one.spiffe.name, one.address) for one in manifest.custodians),
        ]
        taken = {int(address.rpartition(":")[2]) for _, _, address in servers}
        ports = [port for port in free_ports(4 * len(servers)) if port not in taken]
        homes = {manifest.party(name).id: self.federation.home(name) for name in PARTIES}
        # It carries the partner's requests to the custodians.
        homes[manifest.gateways[0].id] = self.federation.home("g1", "gateway")
        for (role, name, address), port in zip(servers, ports, strict=False):
            home = self.federation.home(name, role)
            patience = PATIENCE if role == "gateway" else ""
            (home / f"{role}.toml").write_text(f'address = "localhost:{port}"\n{patience}')
            tapping.add(home, listen=address, dial=f"localhost:{port}", clients=homes)

    def _watch(self) -> None:
        """Let every process show its spans and tell of its objects."""
        for process in self.federation.processes:
            folder = self.folder / "watch" / process.name
            folder.mkdir(parents=True)
            python, _, _, *arguments = process._arguments
            wiping = ["env", *WIPING] if process is self.federation.gateway else []
            process._arguments = [*wiping, python, "-m", "tests.e2e.watched_process", str(folder), *arguments]

    def _use_command_line(self) -> None:
        home, case = self.federation.home("NL"), self.folder / "case.toml"
        profile = ActionDay(self.federation, self.scenario, Stores({})).case("NL")
        rows = profile.model_dump(mode="json", exclude={"defaults"}, exclude_none=True)
        case.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items()))
        broken = self.folder / "broken.json"
        broken.write_text(json.dumps({"Event": {"Attribute": [{"value": FILE_CANARY}]}})[:-3])
        at_home = ["--home", str(home), "--json"]
        running = [
            self._node_command(arguments)
            for arguments in (
                ["submit", str(broken), "--case", str(case), *at_home],
                ["check", CHECKED_CANARY, "--kind", "email", "--case", str(case), *at_home],
                ["check", CHECKED_CANARY, "--kind", FILE_CANARY, "--case", str(case), *at_home],
                ["matches", *at_home],
                ["records", *at_home],
                ["status", *at_home],
            )
        ]
        for name, process in running:
            out, err = process.communicate(timeout=60)
            # On stdout a party reads its own values; an error's text is for logs and tickets too.
            self.evidence.errors.append((f"node {name}, exit {process.returncode}", err))
            if process.returncode:
                self.evidence.errors.append((f"node {name}, exit {process.returncode}, stdout", out))

    def _node_command(self, arguments: list[str]) -> tuple[str, subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "concordat", "node", *arguments]
        return arguments[0], subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    async def _be_refused(self) -> None:
        """Ask custodian and gateway for what they refuse, so that their error paths are in the evidence."""
        home = load_home(self.federation.home("RO"), clock=SystemClock())
        custodian, gateway = home.manifest.custodians[0], home.manifest.gateways[0]
        for body in (b"no body", custodian_pb2.EvaluateBody(requester=str(home.identity)).SerializeToString()):
            request = custodian_pb2.EvaluateRequest(body=body, signature=bytes(64), elements=bytes(32))
            async with channel(custodian.address, home=home, server=custodian.spiffe) as link:
                await self._refused(CustodianServiceStub(link).Evaluate, request)
        async with channel(gateway.address, home=home, server=gateway.spiffe) as link:
            await self._refused(OperationServiceStub(link).GetReport, operations_pb2.GetReportRequest(operation="no"))

    async def _plant_on_the_wire(self) -> None:
        """Put identifiers where none belong: a field, and a field that straddles frames."""
        home = load_home(self.federation.home("RO"), clock=SystemClock())
        gateway = home.manifest.gateways[0]
        typed = next(one.value for one in self.evidence.canaries if one.what.startswith("typed"))
        assert isinstance(typed, str)
        async with channel(gateway.address, home=home, server=gateway.spiffe) as link:
            stub = OperationServiceStub(link)
            await self._refused(stub.GetReport, operations_pb2.GetReportRequest(operation=typed))
            # HTTP/2 frames have 16 KiB at most here, so that this one lies across a border.
            long = "x" * (16384 - 5 - 4 - len(typed) // 2) + typed + "x" * 8000
            await self._refused(stub.GetOperation, operations_pb2.GetOperationRequest(operation=long))
            with_header = [("x-planted", CHECKED_CANARY)]
            request = operations_pb2.ListOperationsRequest()
            await stub.ListOperations(request, metadata=with_header, timeout=10)
        self._read_logs(self.evidence.after_plant)

    async def _refused(self, method: Callable[..., Any], request: object) -> None:
        try:
            await call(method, request, party="server", timeout_s=10)
        except ConcordatError as error:
            self.evidence.errors.append(("a refusal", f"{error!r} {error}".encode()))
        else:
            raise AssertionError("the request should have been refused")

    async def _ask_as_partner(self) -> None:
        """Ask at the HTTPS API, and send the same tokens in bodies that it refuses, early and late."""
        async with Client.open(self.federation.home(PARTNER, "partner")) as client:
            outcome = await client.check([Item(text, kind=kind) for kind, text in PARTNER_TYPED], CASE)
            self.evidence.partner_results = [one.result.value for one in outcome]
            known = list(client._kept.values())
            question = client._questions.question(known, CASE, epoch=1)
            body = question.body.model_dump_json()
            for refused in (body.replace('"namespace"', '"namespaces"', 1), body[:-1], _unsigned(question.body)):
                try:
                    await client._session._ask("POST", "/v1/queries", refused.encode())
                except ConcordatError as error:
                    self.evidence.partner_refusals.append(error.code)
                    self.evidence.errors.append(("a refusal of the API", f"{error!r} {error}".encode()))
            secrets: list[tuple[str, str | bytes]] = [("typed by the partner", text) for _, text in PARTNER_TYPED]
            secrets += [("canonical of the partner", one.canonical) for one in client._kept]
            secrets += [("label of the partner", one.label) for one in known]
            secrets += [("secret of the partner", one.secret) for one in known]
        self.evidence.tokens[PARTNER] = [one.token for one in known]
        held = {one.value for one in self.evidence.canaries}
        self.evidence.canaries += [
            Canary(number, what, value)
            for number, (what, value) in enumerate(secrets, len(self.evidence.canaries) + 1)
            if value not in held
        ]

    def _learn_secrets(self, stores: Stores) -> None:
        secrets: dict[tuple[str, str | bytes], None] = {}
        for line in self.scenario.lines:
            secrets["typed", line.typed] = None
        secrets["typed in a file that was refused", FILE_CANARY] = None
        secrets["typed at the prompt", CHECKED_CANARY] = None
        operation_key = MaskKey((self.federation.home("NL") / "operations" / f"{OPERATION}.key").read_bytes())
        labels: set[bytes] = set()
        for party in PARTIES:
            values, rows = _values(stores[party]), _token_rows(stores[party])
            secrets |= {("canonical", text): None for text in values if len(text) >= SHORTEST_CANONICAL}
            secrets |= {("label", label): None for label, _, _ in rows}
            secrets |= {("match secret", secret): None for _, secret, _ in rows}
            labels |= {label for label, _, _ in rows}
            self.evidence.tokens[party] = [token for _, _, token in rows]
        secrets |= dict.fromkeys(self._keys())
        self.evidence.sweep_tokens = [operation_key.apply(label) for label in sorted(labels)]
        self.evidence.canaries = [
            Canary(number, what, value, named_by_hash=what in NAMED_BY_HASH)
            for number, (what, value) in enumerate(secrets, 1)
        ]

    def _keys(self) -> Iterator[tuple[str, str | bytes]]:
        home = self.federation.home
        yield "mask key", (home("NL") / "masks" / "1.key").read_bytes()
        yield "operation key", (home("NL") / "operations" / f"{OPERATION}.key").read_bytes()
        for name in self.federation.custodians:
            for path in sorted((home(name, "custodian") / "shares").glob("*.json")):
                yield "key share", bytes.fromhex(json.loads(path.read_bytes())["secret"])
        own = [home(name) for name in PARTIES] + [home(name, "custodian") for name in self.federation.custodians]
        for folder in own:
            for name in ("sign.key", "seal.key"):
                _, _, encoded = (folder / name).read_text().strip().partition(":")
                yield name, base64.b64decode(encoded)

    def _read_disks(self, moment: str) -> None:
        home, evidence = self.federation.home, self.evidence
        evidence.gateway_disk += _files(home("g1", "gateway"), moment)
        for name in self.federation.custodians:
            evidence.custodian_disks += _files(home(name, "custodian"), moment)
        for name in PARTIES:
            evidence.node_disks += [one for one in _files(home(name), moment) if "store.sqlite" not in one[0]]

    def _read_logs(self, into: list[tuple[str, bytes]]) -> None:
        into += [(path.name, path.read_bytes()) for path in sorted(self.folder.glob("*.log"))]

    def _ask_objects(self) -> None:
        """Ask the gateway once for all tokens and for bytes that it was made to keep."""
        watched_process.plant(self.watch, b"around " + KEPT_IN_AN_OBJECT + b" it")
        self.evidence.objects = watched_process.ask(self.watch, self.evidence.all_tokens(), [KEPT_IN_AN_OBJECT])

    def _look_into_memory(self) -> None:
        """Search the gateway's memory once no node has a connection any more, whose buffers keep the last bytes."""
        assert self.federation.gateway is not None
        assert self.federation.gateway.pid is not None
        for host in self.federation.hosts:
            host.stop()
        for host in self.federation.hosts:
            host.join()
        time.sleep(SETTLE_S)
        looked_for = enumerate([KEPT_IN_AN_OBJECT, *self.evidence.all_tokens()])
        scanner = Scanner(Canary(number, "token", token) for number, token in looked_for)
        try:
            found = {one.canary for one in scanner.find_all(memory_of(self.federation.gateway.pid))}
        except PermissionError:
            return
        self.evidence.memory = Memory(tokens=len(found - {0}), planted=0 in found)


def memory_of(pid: int) -> Iterator[tuple[str, bytes]]:
    """Return what a process has written into its memory, map by map.

    Raises:
        PermissionError: The machine does not allow it.
    """
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            borders, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(border, 16) for border in borders.split("-"))
            try:
                content = os.pread(memory.fileno(), end - begin, begin)
            except OSError:
                # Kernel pages, and maps that went away meanwhile.
                continue
            yield f"memory at {begin:x}", content


def _unsigned(body: QueryRequest) -> str:
    return body.model_copy(update={"signature": bytes(64)}).model_dump_json()


def _files(folder: Path, moment: str) -> list[tuple[str, bytes]]:
    """Return all files of a party's folder but its own secret keys."""
    keys = [path for path in folder.rglob("*") if path.suffix == ".key" or path.parent.name == "shares"]
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in keys]
    kept += [path for path in keys if path.suffix == ".transcript"]
    return [(f"{path.relative_to(folder.parent)}, {moment}", path.read_bytes()) for path in kept]


def _values(store: Store) -> list[str]:
    with store.read() as db:
        return [text for (text,) in db.execute("SELECT canonical FROM value")]


def _token_rows(store: Store) -> list[tuple[bytes, bytes, bytes]]:
    with store.read() as db:
        return list(db.execute("SELECT label, secret, token FROM token"))
