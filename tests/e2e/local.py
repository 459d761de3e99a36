"""A federation of real processes that tests may kill, and what its stores and its ledger hold in the end."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Self

from concordat import cli
from concordat.clock import SystemClock
from concordat.identity.home import load_home
from demo.federation import LocalFederation
from demo.scenario import Party
from demo.stores import Stores
from services.node.case import load_case, template
from services.node.store.store import FILE_NAME, Store
from services.node.submit import Submitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from demo.processes import Event, Process
    from services.node.submit import SubmitReport

WAIT_S: Final = 60
POLL_S: Final = 0.05
# A notice that comes twice would come within these: some ticks after the last one that was expected.
SETTLE_S: Final = 0.6


def until(what: str, condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Wait until a condition holds; `what` names it where it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(POLL_S)


def concordat(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start a command of `concordat`."""
    command = [sys.executable, "-m", "concordat", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_json(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a command with --json in this process, which is sooner there, and return the one object that it prints."""
    with redirect_stdout(StringIO()) as out:
        found_code = cli.run([*map(str, arguments), "--json"])
    assert found_code == code, (found_code, out.getvalue())
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


class KillableFederation(LocalFederation):
    """A federation with one process a node, whose events are kept."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        console: bool = False,
        sabotage: Mapping[str, str] | None = None,
        otlp: str | None = None,
    ) -> None:
        self.names = tuple(names)
        self._heard: list[tuple[str, Event]] = []
        self._news = threading.Condition()
        parties = {name: Party() for name in names}
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, parties, console=console, hosts=len(names), sabotage=sabotage, on_event=self._keep)
        self.otlp = otlp

    def _keep(self, process: str, event: Event) -> None:
        with self._news:
            self._heard.append((process, event))
            self._news.notify_all()

    def mark(self) -> int:
        """Return a place in the stream of events, to wait for later ones only."""
        return len(self._heard)

    def wait_event(self, wanted: Callable[[Event], bool], *, since: int = 0, timeout_s: float = WAIT_S) -> Event:
        """Wait for an event and return it."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                for _, event in self._heard[since:]:
                    if wanted(event):
                        return event
                since = len(self._heard)
                assert self._news.wait(deadline - time.monotonic()), f"no such event within {timeout_s:.0f} s"

    def __enter__(self) -> Self:
        return self

    @property
    def hub(self) -> Process:
        """Return the gateway's process."""
        assert self.gateway is not None
        return self.gateway

    def kill(self, *processes: Process) -> None:
        """End processes as a power cut would; their nodes count as not attached until they say so again."""
        for process in processes:
            process.kill()
        with self._changed:
            self._attached -= {
                name for name in self.names if self.host_of(name) in processes or self.gateway in processes
            }

    def revive(self, *processes: Process) -> None:
        """Start processes again and wait until they serve."""
        for process in processes:
            process.start()
        for process in processes:
            process.wait_ready()

    def add_node(self, name: str) -> Process:
        """Return the process of one more node, whose folder is there; it is stopped with the others."""
        host = self._process(name, ["node", "run", "--home", str(self.home(name))])
        self.hosts.append(host)
        self._spread.append([name])
        return host

    def remove(self, host: Process) -> None:
        """Kill the process of an added node and forget it."""
        host.kill()
        place = self.hosts.index(host)
        del self.hosts[place], self._spread[place]

    def whole(self) -> None:
        """Start whatever does not run, and wait until all nodes are attached."""
        self.revive(*(process for process in self.processes if process.pid is None))
        self.wait_attached(self.names)

    def stores(self, *names: str) -> Stores:
        """Return the stores of these nodes, or of all."""
        return Stores({name: self.home(name) for name in names or self.names})

    def case(self) -> Path:
        """Return a case profile that every node may use."""
        path = self.folder / "case.toml"
        if not path.exists():
            path.write_text(template((datetime.now(UTC) + timedelta(days=30)).date()), encoding="utf-8")
        return path

    def submit(self, name: str, file: Path) -> SubmitReport:
        """Submit a file as `node submit --no-wait` does, sooner by the start of a process."""
        clock = SystemClock()
        case = load_case(self.case(), today=datetime.now(UTC).date())
        with Store.open(self.home(name) / FILE_NAME) as store:
            return Submitter(load_home(self.home(name), clock=clock), store, clock, case).submit(file)

    def status(self, name: str) -> dict[str, Any]:
        """Return what `node status` says."""
        return run_json("node", "status", "--home", self.home(name))


class FreshStores:
    """Puts gateway and nodes of a federation back to before their first start; keys and custodians stay."""

    def __init__(self, federation: KillableFederation) -> None:
        self._live = federation.folder / "federation"
        self._pristine = federation.folder / "pristine"
        for role in ("gateway", "node"):
            shutil.copytree(self._live / role, self._pristine / role)

    def put_back(self) -> None:
        """Forget everything that was stored; no process may run on it."""
        for role in ("gateway", "node"):
            shutil.rmtree(self._live / role)
            shutil.copytree(self._pristine / role, self._live / role)


def mails(path: Path, numbers: Iterable[int]) -> Path:
    """Write a file of e-mail addresses, one for each number."""
    path.write_text("kind,identifier\n" + "".join(f"email,person{n}@mail.example\n" for n in numbers), encoding="utf-8")
    return path


def mail(number: int) -> str:
    """Return the canonical form of the address that `mails` writes for a number."""
    return f"person{number}@mail.example"


@dataclass(frozen=True, slots=True)
class EndState:
    """What is there when all work is done, by canonical values and parties and not by references, which are random."""

    records: Counter[tuple[str, ...]]
    """Party, file, item, line, typed, status, kind."""
    values: Counter[tuple[str, ...]]
    """Party, namespace, rules version, canonical, grade, kept, epoch, label, token: one row a token."""
    left: Mapping[str, int]
    """Party -> tokens to make, values to check, holders that are pending, values to publish."""
    told: Counter[tuple[str, str, str, str]]
    """Party, its value, other party, that one's value: one for each notice that is shown."""
    edges: Counter[frozenset[tuple[str, str]]]
    """The live edges of the ledger: {(party, value), (party, value)}."""
    ledger_told: Counter[tuple[str, str, str]]
    """Recipient, its value, other: the keys of the ledger."""
    notices: Mapping[str, int]
    """Recipient -> notices of the ledger."""


def end_state(federation: KillableFederation) -> EndState:
    """Read all stores and the ledger."""
    with federation.stores() as stores:
        canonical = {(name, ref): text for name in federation.names for ref, text in _references(stores[name])}
        told = Counter(
            (edge.party, canonical[edge.party, edge.reference], edge.other, canonical[edge.other, edge.other_reference])
            for edge in stores.told()
        )
        records = Counter(row for name in federation.names for row in _rows(name, stores[name], _RECORDS))
        values = Counter(row for name in federation.names for row in _rows(name, stores[name], _VALUES))
        left = {name: _left(stores[name]) for name in federation.names}
    with closing(sqlite3.connect(federation.home("g1", "gateway") / "ledger.db")) as ledger:
        edges = Counter(
            frozenset({(_short(a), canonical[_short(a), ref_a]), (_short(b), canonical[_short(b), ref_b])})
            for a, ref_a, b, ref_b in ledger.execute(
                "SELECT party_a, reference_a, party_b, reference_b FROM edge WHERE state = 'live'"
            )
        )
        keys = Counter(
            (_short(recipient), canonical[_short(recipient), reference], _short(other))
            for recipient, reference, other in ledger.execute("SELECT recipient, reference, other FROM told")
        )
        notices = {
            _short(recipient): number
            for recipient, number in ledger.execute("SELECT recipient, count(*) FROM notice GROUP BY recipient")
        }
    return EndState(records, values, left, told, edges, keys, notices)


_RECORDS: Final = (
    "SELECT file.name, record.item, record.line, record.typed, record.status, record.kind"
    " FROM record JOIN file ON file.id = record.file_id"
)
_VALUES: Final = (
    "SELECT namespace, rules_version, canonical, grade, kept, epoch, hex(label), hex(token)"
    # The key of the table begins with the epoch; without it this would look at every token for every value.
    " FROM value LEFT JOIN token ON token.epoch = 1 AND token.value_id = value.id"
)


def _references(store: Store) -> Iterator[tuple[bytes, str]]:
    with store.read() as db:
        yield from db.execute("SELECT reference, canonical FROM value").fetchall()


def _rows(name: str, store: Store, query: str) -> list[tuple[str, ...]]:
    with store.read() as db:
        return [(name, *map(str, row)) for row in db.execute(query)]


def _left(store: Store) -> int:
    queries = ("SELECT count(*) FROM to_tokenise", "SELECT count(*) FROM to_check", "SELECT count(*) FROM pending")
    with store.read() as db:
        waiting = sum(int(db.execute(query).fetchone()[0]) for query in queries)
    return waiting + (0 if store.all_published() else 1)


def _shown(store: Store) -> int:
    with store.read() as db:
        return int(db.execute("SELECT count(*) FROM told WHERE state = 'shown'").fetchone()[0])


def _short(spiffe: str) -> str:
    return spiffe.rpartition("/")[2]


def count(home: Path, query: str) -> int:
    """Return a number from a node's store while the node writes it; 0 where there is no store yet."""
    path = home / FILE_NAME
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=5)) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        # The store is being made.
        return 0


def settled(federation: KillableFederation, *, told: int) -> EndState:
    """Wait until nothing is left to do and as many notices are shown as expected, and some ticks more."""
    with federation.stores() as stores:
        stores.wait_done(WAIT_S)
        until(f"{told} notices are shown", lambda: sum(_shown(stores[name]) for name in federation.names) >= told)
        time.sleep(SETTLE_S)
    return end_state(federation)


def waiting(node: str, *, waits: bool) -> Callable[[Event], bool]:
    """Return what an event must be that says that a node's work waits, or that it goes on."""

    def wanted(event: Event) -> bool:
        return event.get("event") == "waiting" and event["node"] == node and bool(event["reason"]) == waits

    return wanted


def words_of(text: str) -> set[str]:
    """Return the words of a sentence, to look for names in it."""
    return set(re.findall(r"\w+", text))
