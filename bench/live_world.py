"""The federation that the bench of live checks asks: gateway, custodians and holders as real processes over mTLS.

    with World(folder, LiveSize()) as world:
        world.holdings[3]        # tokens, match secrets and references of the fourth holder
        world.cpu()              # CPU seconds of each process so far

Tokens and match secrets are random columns in place of the OPRF's outputs, which has its own bench; they are written
into the holders' stores before the holders start. All the rest is what an installation runs.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from bench.processes import cpu_s, peak_mb
from concordat.clock import SystemClock
from concordat.errors import UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES
from demo.processes import Process, free_ports
from services.node.case import CaseProfile, parse_case, template
from services.node.record import FileFacts
from services.node.store import cases, meta, records
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.identity.home import Home
    from demo.processes import Event

HOLDERS: Final = tuple("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI".split())
ASKERS: Final = ("SK", "NO", "CH", "IS")
CUSTODIANS: Final = 3
HOSTS: Final = 2
EPOCH: Final = 1
STRONG: Final = 1
ATTACH_S: Final = 180.0
CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class Holding:
    """What one holder holds, packed, one entry a value."""

    party: str
    tokens: bytes = field(repr=False)
    secrets: bytes = field(repr=False)
    references: bytes = field(repr=False)

    @classmethod
    def draw(cls, party: str, number: int, *, seed: int) -> Holding:
        """Return random columns."""
        rng = np.random.default_rng(seed)
        return cls(
            party,
            rng.bytes(number * TOKEN_BYTES),
            rng.bytes(number * SECRET_BYTES),
            rng.bytes(number * REFERENCE_BYTES),
        )

    @property
    def number(self) -> int:
        """Return the number of values."""
        return len(self.tokens) // TOKEN_BYTES


def some_case() -> CaseProfile:
    """Return a case that is live."""
    today = datetime.now(UTC).date()
    return parse_case(template(today + timedelta(days=30)), today=today)


def fill(path: Path, holding: Holding, *, seed: int) -> None:
    """Write a store whose values are tokenised and numbered, and wait for nothing."""
    number, rng = holding.number, np.random.default_rng(seed)
    uids, labels = rng.bytes(number * 16), rng.bytes(number * 16)
    tokens, secrets, references = (
        (holding.tokens, TOKEN_BYTES),
        (holding.secrets, SECRET_BYTES),
        (holding.references, REFERENCE_BYTES),
    )

    def part(column: tuple[bytes, int], at: int) -> bytes:
        packed, width = column
        return packed[at * width : (at + 1) * width]

    with Store.open(path) as store, store.write() as db:
        case_id = cases.put_case(db, some_case(), CLOCK.now())
        facts = FileFacts(name="bench.csv", sha256="00" * 32, size_bytes=0, format="csv", encoding="utf-8")
        file_id = records.begin_file(db, facts, case_id=case_id, operation="", at=CLOCK.now()).id
        db.executemany(
            "INSERT INTO record (id, uid, file_id, item, line, typed, status, kind)"
            " VALUES (?, ?, ?, ?, ?, ?, 'accepted', 'email')",
            ((at + 1, part((uids, 16), at), file_id, at + 1, at + 1, f"v{at}@{seed}.example") for at in range(number)),
        )
        db.executemany(
            "INSERT INTO value (id, namespace, rules_version, canonical, grade, reference, kept)"
            " VALUES (?, 'email', 1, ?, 1, ?, 1)",
            ((at + 1, f"v{at}@{seed}.example", part(references, at)) for at in range(number)),
        )
        db.executemany("INSERT INTO record_value VALUES (?, ?)", ((at + 1, at + 1) for at in range(number)))
        db.executemany(
            "INSERT INTO token (epoch, value_id, label, secret, token, sequence) VALUES (?,?,?,?,?,1)",
            ((EPOCH, at + 1, part((labels, 16), at), part(secrets, at), part(tokens, at)) for at in range(number)),
        )
        records.complete_file(db, file_id)
        meta.put(db, meta.SEQUENCE, 1)


class World:
    """A federation whose holders hold something; a context manager that stops all it started."""

    def __init__(
        self, folder: Path, *, tokens: int, seed: int = 1, custodians: bool, on_event: Callable[[str, Event], None]
    ) -> None:
        """Make folders and stores; nothing runs yet.

        Args:
            folder: Where all of it goes.
            tokens: Values of each holder.
            seed: Of what the holders hold.
            custodians: Whether they run: only who makes tokens needs them.
            on_event: Told every event of every process, in some thread.
        """
        self.folder = folder
        self._on_event = on_event
        self._with_custodians = custodians
        self._attached: set[str] = set()
        self._changed = threading.Condition()
        ports = free_ports(CUSTODIANS + 1)
        plan = FederationPlan(
            name="bench.example",
            nodes=tuple(NodePlan.parse(name) for name in (*HOLDERS, *ASKERS)),
            custodians=CUSTODIANS,
            gateway_address=f"localhost:{ports[0]}",
            custodian_addresses=tuple(f"localhost:{port}" for port in ports[1:]),
        )
        self.manifest = init_federation(folder / "federation", plan)
        self.holdings = [
            Holding.draw(self.manifest.party(name).id, tokens, seed=seed * 1000 + at) for at, name in enumerate(HOLDERS)
        ]
        for at, name in enumerate(HOLDERS):
            fill(self.home(name) / FILE_NAME, self.holdings[at], seed=seed * 1000 + 500 + at)
        self.processes = self._made()

    def home(self, name: str, role: str = "node") -> Path:
        """Return a party's folder."""
        return self.folder / "federation" / role / name

    def load(self, name: str) -> Home:
        """Return what a node's process knows of itself."""
        return load_home(self.home(name), clock=CLOCK)

    def _made(self) -> dict[str, Process]:
        gateway = next((self.folder / "federation" / "gateway").iterdir())
        arguments = {"gateway": ["gateway", "run", "--home", str(gateway)]}
        for number in range(1, CUSTODIANS + 1) if self._with_custodians else ():
            arguments[f"c{number}"] = ["custodian", "run", "--home", str(self.home(f"c{number}", "custodian"))]
        for number in range(HOSTS):
            homes = [part for name in HOLDERS[number::HOSTS] for part in ("--home", str(self.home(name)))]
            arguments[f"nodes-{number + 1}"] = ["node", "run", *homes]
        return {
            name: Process(name, [*given, "--json"], log=self.folder / f"{name}.log", on_event=self._hear)
            for name, given in arguments.items()
        }

    def _hear(self, process: str, event: Event) -> None:
        node = event.get("node")
        if event.get("event") == "attached" and isinstance(node, str):
            with self._changed:
                self._attached.add(node)
                self._changed.notify_all()
        self._on_event(process, event)

    def __enter__(self) -> Self:
        for process in self.processes.values():
            process.start()
        try:
            for process in self.processes.values():
                process.wait_ready()
            self._wait_attached()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_attached(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._attached >= set(HOLDERS), ATTACH_S):
                raise UnavailableError(f"only {len(self._attached)} of {len(HOLDERS)} holders are attached")

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.stop()
        for process in reversed(self.processes.values()):
            process.join()

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each process so far, its own and the system's in its name."""
        return {name: cpu_s(one.pid) for name, one in self.processes.items() if one.pid is not None}

    def rss_mb(self, name: str) -> float:
        """Return the highest resident memory of a process."""
        pid = self.processes[name].pid
        return 0.0 if pid is None else peak_mb(pid)

    def told(self) -> int:
        """Return how many matches the holders' stores show."""
        total = 0
        for name in HOLDERS:
            with Store.open(self.home(name) / FILE_NAME) as store, store.read() as db:
                total += db.execute("SELECT count(*) FROM told WHERE state = 'shown'").fetchone()[0]
        return total

    def wait_told(self, number: Callable[[], int], *, within_s: float = 20.0) -> int:
        """Return the matches that the holders' stores show, once they are as many as wanted or the time is over."""
        deadline = time.monotonic() + within_s
        while (told := self.told()) != number() and time.monotonic() < deadline:
            time.sleep(0.1)
        return told
