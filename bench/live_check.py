"""The work of a live check: from the asker's question to both sides told, and the certificate (DESIGN 5).

    python -m bench.live_check [--rounds N] [--json]

Real cores and stores of two nodes, the real exchange and a real SQLite ledger, all in this process; frames are handed
over as they are and the clock is moved by hand, so that neither the network nor the tick's window is in the figures.
CPU time by part, the publishing of the asked values among it: the asker, the holder, the gateway with its ledger. One
of a hundred values is a hit, and the only one of a check of one value. Tokens are hashes here; the OPRF has its own
bench.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.rows import Row, percentile
from concordat.canon import Kind
from concordat.clock import ManualClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.tokens import MaskKey
from gateway.database import open_engine
from gateway.effects import ReadNotices, ReadSequences, Send, Write
from gateway.exchange import Exchange, Signer
from gateway.ledger import Ledger
from services.node.case import parse_case, template
from services.node.exchange.core import NodeCore
from services.node.exchange.identity import Identity
from services.node.store.store import Store
from services.node.submit import Submitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concordat.wire.v1.session_pb2 import NodeFrame
    from gateway.effects import Effect

SIZES: Final = (1, 1000)
HIT_OF: Final = 100
EPOCH: Final = 1
ASKER, HOLDER = "NL", "DE"
WORK_ROUNDS: Final = 300
WARM_ROUNDS: Final = 10
PARTS_OF_100: Final = (50, 95, 99)
PARTS: Final = ("asker", "holder", "gateway", "certificate")


class Work:
    """CPU milliseconds by part."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what the block takes."""
        before = time.process_time()
        yield
        self.spent[part] += time.process_time() - before


class Bench:
    """Two nodes and a hub whose frames are handed over by hand."""

    def __init__(self, folder: Path) -> None:
        nodes = tuple(NodePlan.parse(name) for name in (ASKER, HOLDER, "FR"))
        init_federation(folder, FederationPlan(name="bench.example", nodes=nodes), unsafe_dealer=True)
        self.clock = ManualClock(datetime.now(UTC).timestamp())
        hub = load_home(next((folder / "gateway").iterdir()), clock=self.clock)
        self.manifest = hub.manifest
        self.ledger = Ledger(
            open_engine(folder / "ledger.db"),
            now_ms=lambda: int(self.clock.now() * 1000),
            random_bytes=secrets.token_bytes,
        )
        self.exchange = Exchange(
            self.manifest,
            signer=Signer(str(hub.identity), hub.signing_key),
            ledger_incarnation=self.ledger.incarnation,
            clock=self.clock,
        )
        self.work = Work()
        self.told: Counter[str] = Counter()
        self.cores: dict[str, NodeCore] = {}
        self.stores: dict[str, Store] = {}
        self.sessions: dict[int, str] = {}
        self._held: list[Write] = []
        self._begun: tuple[float, float] | None = None
        self.answered_in: list[tuple[float, float]] = []
        """Wall and CPU milliseconds of gateway and holder from each check to the first notice of it."""
        self.homes = {name: load_home(folder / "node" / name, clock=self.clock) for name in (ASKER, HOLDER)}
        for name in self.homes:
            self._attach(name)

    def _attach(self, name: str) -> None:
        home = self.homes[name]
        store = self.stores[name] = Store.open(home.path / "store.sqlite", clock=self.clock)
        self.cores[name] = NodeCore(
            Identity.from_home(home),
            store,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
            rng=random.SystemRandom(),
            emit=lambda _event: None,
        )
        session = self.exchange.open(str(home.identity))
        self.sessions[session] = name
        self.exchange.frame(session, self.cores[name].hello())
        self.carry()
        for _ in range(20):
            self.poke(name)

    def carry(self) -> None:
        """Do what the exchange wants until it wants nothing more."""
        while True:
            with self.work.of("gateway"):
                effects = self.exchange.effects()
            if not effects:
                return
            for effect in effects:
                self._do(effect)

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            name = self.sessions[effect.session]
            if effect.frame.HasField("notice") and self._begun is not None:
                now = time.perf_counter(), time.process_time()
                self.answered_in.append((1000 * (now[0] - self._begun[0]), 1000 * (now[1] - self._begun[1])))
                self._begun = None
            self.told[name] += effect.frame.HasField("notice")
            with self.work.of("asker" if name == ASKER else "holder"):
                frames = self.cores[name].step([effect.frame], work=False)
            self._hand_over(effect.session, frames)
        elif isinstance(effect, Write):
            # As the hub's writer does: what is not urgent shares the next transaction.
            self._held.append(effect)
            if effect.urgent:
                self._commit()
        elif isinstance(effect, ReadSequences):
            with self.work.of("gateway"):
                self.exchange.sequences_read(effect.tick, self.ledger.sequences())
        elif isinstance(effect, ReadNotices):
            notices = self.ledger.notices_above(effect.party, effect.above, limit=effect.limit)
            sequence = self.ledger.sequence_of(effect.party)
            self.exchange.notices_read(effect.session, sequence=sequence, notices=notices)

    def _commit(self) -> None:
        held, self._held = self._held, []
        if held:
            with self.work.of("gateway"):
                committed = self.ledger.write([write for effect in held for write in effect.writes])
                self.exchange.committed([effect.number for effect in held], committed)

    def poke(self, name: str) -> None:
        """Let a node look for work."""
        session = next(number for number, one in self.sessions.items() if one == name)
        with self.work.of("asker" if name == ASKER else "holder"):
            frames = self.cores[name].step([], work=True)
        self._hand_over(session, frames)
        self.carry()

    def _hand_over(self, session: int, frames: Sequence[NodeFrame]) -> None:
        if any(frame.HasField("check") for frame in frames):
            self._begun = time.perf_counter(), time.process_time()
        with self.work.of("gateway"):
            for frame in frames:
                self.exchange.frame(session, frame)

    def hold(self, name: str, typed: list[str]) -> None:
        """Store values with tokens, as submit and the tokeniser do."""
        home, store = self.homes[name], self.stores[name]
        today = datetime.fromtimestamp(self.clock.now(), UTC).date()
        case = parse_case(template(today + timedelta(days=30)), today=today)
        Submitter(home, store, self.clock, case).submit_values(typed, Kind.EMAIL)
        mask = MaskKey(home.mask_key(EPOCH))
        for key_class in ("strong", "weak"):
            while (batch := store.untokenised(EPOCH, key_class, 4096)) is not None:
                outputs = [hashlib.sha512(row.canonical.encode()).digest() for row in batch.rows]
                tokens = mask.apply(b"".join([one[:16] for one in outputs]))
                store.store_tokens(
                    batch,
                    [
                        (row.value_id, one[:16], one[16:48], tokens[at * 16 : (at + 1) * 16])
                        for at, (row, one) in enumerate(zip(batch.rows, outputs, strict=True))
                    ],
                )

    def tick(self) -> None:
        """Let the tick and its window pass."""
        self._commit()
        self.carry()
        self._begun = None
        self.clock.advance(self.manifest.tick_ms / 1000)
        with self.work.of("gateway"):
            self.exchange.timer()
        self.carry()
        self.clock.advance(self.manifest.window_ms / 1000)
        with self.work.of("gateway"):
            self.exchange.timer()
        self.carry()

    def round(self, number: int, size: int) -> dict[str, float]:
        """Ask about `size` new values, of which the other side holds some; return CPU milliseconds by part."""
        typed = [f"person{number}x{size}x{at}@mail.example" for at in range(size)]
        hits = typed[::HIT_OF]
        self.hold(HOLDER, hits)
        for _ in range(3):
            self.poke(HOLDER)
        self.tick()
        self.hold(ASKER, typed)
        # One batch a turn is published; the last acknowledgement lets the check leave at once.
        before, told = dict(self.work.spent), self.told[ASKER]
        self.work.spent.clear()
        while self.told[ASKER] < told + len(hits):
            self.poke(ASKER)
        spent = {part: seconds * 1000 for part, seconds in self.work.spent.items()}
        self.work.spent.clear()
        self.tick()
        spent["certificate"] = sum(self.work.spent.values()) * 1000
        self.work.spent.update(before)
        return spent


def measure(size: int, rounds: int) -> dict[str, Any]:
    """Return medians over rounds, CPU milliseconds a check."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "federation")
        found = [bench.round(number, size) for number in range(rounds + 3)][3:]
    parts: dict[str, float] = {f"{part}_ms": statistics.median(one.get(part, 0.0) for one in found) for part in PARTS}
    return {"tokens": size, "rounds": rounds, "cpu_ms": statistics.median(sum(one.values()) for one in found), **parts}


def work_row(rounds: int = WORK_ROUNDS) -> Row:
    """Return what a check of one value takes from its frame at the gateway to the first notice out, durable.

    All of it is done one after the other in this process, so that nothing waits for a turn on a core and nothing is
    carried over a network: verifying, routing, the holder's look-up, witness and answer, and the ledger's transaction.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "federation")
        for number in range(rounds + WARM_ROUNDS):
            bench.round(number, 1)
        found = bench.answered_in[WARM_ROUNDS:]
    wall, cpu = (sorted(one[at] for one in found) for at in (0, 1))
    return Row(
        name="live-work",
        exact=len(found) == rounds,
        seconds=statistics.median(wall) / 1000,
        details={
            **{f"p{part}_ms": round(percentile(wall, part), 3) for part in PARTS_OF_100},
            **{f"cpu_p{part}_ms": round(percentile(cpu, part), 3) for part in PARTS_OF_100},
            "rounds": rounds,
            "what": "work of gateway and holder for a check of one value: its frame in until its first notice is out,"
            " durable at both; in one process, without gRPC and without waiting",
        },
    )


def main() -> None:
    """Print one table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, help="checks of each size; 200 and 30 by default")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    rows = [measure(size, given.rounds or (200 if size == 1 else 30)) for size in SIZES]
    if given.json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    sys.stdout.write("  tokens" + "".join(f"{title:>13}" for title in ("CPU ms", *PARTS)) + "\n")
    for row in rows:
        cells = (row["cpu_ms"], *(row[f"{part}_ms"] for part in PARTS))
        sys.stdout.write(f"{row['tokens']:>8}" + "".join(f"{one:>13.2f}" for one in cells) + "\n")


if __name__ == "__main__":
    main()
