"""A whole federation on loopback: folders, keys, custodians, gateway and nodes as real processes with real mTLS."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from concordat.errors import UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.manifest import PartyClass
from concordat.identity.plan import ASKING_CLASSES, CONSOLE_NAME, FederationPlan, NodePlan, PartnerPlan
from demo.processes import Process, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from concordat.identity.manifest import Manifest
    from demo.processes import Event
    from demo.scenario import Party

FEDERATION: Final = "demo.concordat.example"
CUSTODIANS: Final = 3
ATTACH_S: Final = 60


def _nothing(_name: str, _event: Event) -> None:
    return


class LocalFederation:
    """The processes of one federation; a context manager that stops all it started."""

    def __init__(
        self,
        folder: Path,
        parties: Mapping[str, Party],
        *,
        partners: Sequence[str] = (),
        console: bool = False,
        hosts: int = 2,
        sabotage: Mapping[str, str] | None = None,
        on_event: Callable[[str, Event], None] = _nothing,
    ) -> None:
        """Lay out a federation that is not yet there.

        Args:
            folder: Where its folders and logs go.
            parties: Nodes by name.
            partners: Organisations that only ask.
            console: Run the hub operator's console too.
            hosts: Processes among which the nodes are spread.
            sabotage: Process ("gateway", "c1") -> fault that it shall have, to show that the fault is found.
            on_event: Told every event of every process.
        """
        self.folder = folder
        self._names = sorted(parties)
        self._parties = parties
        self._partners = tuple(partners)
        self._with_console = console
        self._on_event = on_event
        self._sabotage = dict(sabotage or {})
        self.otlp: str | None = None
        """OpenTelemetry collector of every process, such as http://localhost:4317; set it before `prepare`."""
        self._changed = threading.Condition()
        self._attached: set[str] = set()
        self.manifest: Manifest | None = None
        self.custodians: dict[str, Process] = {}
        self.gateway: Process | None = None
        self.console: Process | None = None
        self.console_link: str | None = None
        """One-time login link of the console, once it runs."""
        self.hosts: list[Process] = []
        self._spread = [self._names[i::hosts] for i in range(min(hosts, len(self._names)))]

    def prepare(
        self,
        *,
        tick_ms: int = 250,
        window_ms: int = 500,
        opt_in: Mapping[str, tuple[PartyClass, ...]] | None = None,
    ) -> Manifest:
        """Make keys, certificates, folders and manifest.

        Args:
            tick_ms: Between two barriers.
            window_ms: In which a barrier is to be answered.
            opt_in: Whom the nodes answer; the scenario says it by default.
        """
        ports = free_ports(CUSTODIANS + 3)
        plan = FederationPlan(
            name=FEDERATION,
            nodes=tuple(
                NodePlan(name=name, party_class=PartyClass(party.party_class), region=party.region or _region(name))
                for name, party in self._parties.items()
            ),
            custodians=CUSTODIANS,
            partners=tuple(PartnerPlan.parse(name) for name in self._partners),
            gateway_address=f"localhost:{ports[0]}",
            api_address=f"localhost:{ports[1]}",
            custodian_addresses=tuple(f"localhost:{port}" for port in ports[3:]),
            opt_in=self._answering() if opt_in is None else opt_in,
            tick_ms=tick_ms,
            window_ms=window_ms,
        )
        self.manifest = init_federation(self.folder / "federation", plan)
        # Plain HTTP on loopback: a browser would warn of the certificate of an authority that lives for one demo.
        settings = f'address = "localhost:{ports[2]}"\ntls = false\n'
        (self.home(CONSOLE_NAME, "console") / "console.toml").write_text(settings)
        self._make_processes()
        return self.manifest

    def _answering(self) -> dict[str, tuple[PartyClass, ...]]:
        return {name: ASKING_CLASSES for name, party in self._parties.items() if party.answers_partners}

    def home(self, name: str, role: str = "node") -> Path:
        """Return a party's folder."""
        return self.folder / "federation" / role / name

    def _make_processes(self) -> None:
        for number in range(1, CUSTODIANS + 1):
            name = f"c{number}"
            # Small demos need no compiler; in large ones it is loaded after the first batches.
            (self.home(name, "custodian") / "custodian.toml").write_text("warm_up = false\n")
            self.custodians[name] = self._process(
                name, ["custodian", "run", "--home", str(self.home(name, "custodian"))]
            )
        self.gateway = self._process("gateway", ["gateway", "run", "--home", str(self.home("g1", "gateway"))])
        if self._with_console:
            home = self.home(CONSOLE_NAME, "console")
            self.console = self._process("console", ["console", "run", "--home", str(home)])
        for number, names in enumerate(self._spread, 1):
            homes = [argument for name in names for argument in ("--home", str(self.home(name)))]
            self.hosts.append(self._process(f"nodes-{number}", ["node", "run", *homes]))

    def _process(self, name: str, arguments: list[str]) -> Process:
        sabotage = ["--sabotage", self._sabotage[name]] if name in self._sabotage else []
        otlp = ["--otlp", self.otlp] if self.otlp is not None else []
        return Process(
            name, [*arguments, "--json", *otlp, *sabotage], log=self.folder / f"{name}.log", on_event=self._hear
        )

    def _hear(self, process: str, event: Event) -> None:
        if process == "console" and isinstance(event.get("link"), str):
            self.console_link = event["link"]
        kind, node = event.get("event"), event.get("node")
        if kind in ("attached", "detached") and isinstance(node, str):
            with self._changed:
                (self._attached.add if kind == "attached" else self._attached.discard)(node)
                self._changed.notify_all()
        self._on_event(process, event)

    def host_of(self, name: str) -> Process:
        """Return the process that runs a node."""
        return next(host for host, names in zip(self.hosts, self._spread, strict=True) if name in names)

    @property
    def processes(self) -> list[Process]:
        """Return all processes, servers first."""
        hub = [one for one in (self.gateway, self.console) if one is not None]
        return [*self.custodians.values(), *hub, *self.hosts]

    def start(self) -> None:
        """Start everything at once and wait until all serve and every node is attached."""
        for process in self.processes:
            process.start()
        for process in self.processes:
            process.wait_ready()
        self.wait_attached(self._names)

    def wait_attached(self, names: Iterable[str], timeout_s: float = ATTACH_S) -> None:
        """Wait until these nodes have a session and a complete plane.

        Raises:
            UnavailableError: Some have not, in time; they are named.
        """
        wanted, deadline = set(names), time.monotonic() + timeout_s
        with self._changed:
            while missing := wanted - self._attached:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise UnavailableError(f"not attached in {timeout_s:.0f} s: {', '.join(sorted(missing))}")

    def stop(self) -> None:
        """Stop all processes, nodes first."""
        for process in reversed(self.processes):
            process.stop()
        for process in reversed(self.processes):
            process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _region(name: str) -> str | None:
    return name if len(name) == 2 else None
