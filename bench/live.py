"""Live checks at the speed of a real installation: 26 holders, one gateway, gRPC with mTLS (DESIGN 5).

    python -m bench.live [--sizes 1,100,1000] [--concurrent 1,32,128] [--checks N] [--tokens N] [--json]

*The hub and the holders* (`live-SIZE`, `live-SIZExCONCURRENT`). Four askers send checks that were signed before the
clock starts. Of 100 values one is held by somebody, of 1000 in rows named `-few`, of checks of one value three in ten.
What a check costs follows its hits: each is written down durably in three places. A check with hits is over when
its asker has the last notice, durable in the ledger and sent; one without when the hub has routed it. Gateway, ledger,
verification of headers and ask MACs, witnesses and the holders' own stores are what an installation runs; the tick and
its window delay only certificates, which are awaited after the clock has stopped and must call every holder covered.
Times are taken by the asker, so that its own work and its gRPC are in them; askers, gateway and holders share the
cores.

*The work of one check* (`live-work`): what gateway and holder do for a check of one value, one after the other in one
process (`bench/live_check.py`).

*Typed until told* (`typed-told`). An identifier is submitted at one node while another holds it: canonical form, store,
OPRF at two of three custodians with proofs, publishing, question, answer, notice, until both nodes have stored it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench import live_check
from bench.live_load import Asker, Question, Writer, certified, drive, missed, not_covered, wrong_answers
from bench.live_world import ASKERS, CLOCK, World, some_case
from bench.rows import Context, Row, percentile, table
from concordat.canon import Kind
from concordat.errors import UnavailableError
from services.node.store.store import FILE_NAME, Store
from services.node.submit import Submitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.processes import Event

SIZES: Final = (1, 100, 1000)
CONCURRENT: Final = (1, 32, 128)
TOKENS: Final = 100_000
HIT_OF: Final = 100
"""Of so many values of a check one is held by somebody."""
FEW_HIT_OF: Final = 1000
"""In the rows of few hits."""
HITS_OF_ONE: Final = 0.3
"""Of checks of one value."""
TYPED: Final = 60
TYPIST, HOLDER = "NL", "DE"
TOLD_S: Final = 20.0
WARM: Final = 40
FEW_TIMES: Final = 3
"""So many more checks where there are few hits, which take less time."""
# So that a measurement takes some seconds: checks by size, alone and many at once.
_CHECKS: Final = {1: (600, 4000), 100: (300, 2500), 1000: (150, 900)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    sizes: tuple[int, ...] = SIZES
    concurrent: tuple[int, ...] = CONCURRENT
    checks: int = 0
    """Checks of each measurement; 0 for as many as usual."""
    tokens: int = TOKENS
    typed: int = TYPED


@dataclass(frozen=True, slots=True)
class Load:
    """So many checks of a size, so many of them at once."""

    size: int
    concurrent: int
    number: int
    hit_of: int = HIT_OF

    @property
    def name(self) -> str:
        """Return the name of its row."""
        at_once = f"x{self.concurrent}" if self.concurrent > 1 else ""
        return f"live-{self.size}{at_once}{'-few' if self.hit_of == FEW_HIT_OF else ''}"

    def hits(self, at: int) -> int:
        """Return how many values of the check of this number are held by somebody."""
        if self.size < self.hit_of:
            return int((at + 1) * HITS_OF_ONE * self.size) - int(at * HITS_OF_ONE * self.size)
        return self.size // self.hit_of


def _loads(size: int, concurrent: int, checks: int) -> list[Load]:
    number = checks or _CHECKS.get(size, (200, 1000))[concurrent > 1]
    # Few hits in many checks at once is what a whole index that is asked about looks like.
    few = [Load(size, concurrent, FEW_TIMES * number, FEW_HIT_OF)] if size >= FEW_HIT_OF and concurrent > 1 else []
    return [Load(size, concurrent, number), *few]


class Events:
    """What the nodes say, with the time at which this process heard it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._told: Counter[str] = Counter()

    def hear(self, _process: str, event: Event) -> None:
        """Take an event, in any thread."""
        if event.get("event") == "told":
            with self._changed:
                self._told[str(event.get("node"))] += 1
                self._changed.notify_all()

    def told(self, node: str) -> int:
        """Return how often a node has said that it stored a match."""
        return self._told[node]

    def wait(self, wanted: dict[str, int]) -> float:
        """Return the time at which each of these nodes had said it so often.

        Raises:
            UnavailableError: One has not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: all(self._told[one] >= n for one, n in wanted.items()), TOLD_S):
                raise UnavailableError("a match was not told in time")
            return time.perf_counter()


def rows(context: Context, plan: Plan = Plan()) -> list[Row]:
    """Measure all of it in one federation."""
    context.progress("live: the work of one check, without waiting")
    found = [live_check.work_row()]
    events = Events()
    with tempfile.TemporaryDirectory(dir=context.folder) as folder:
        context.progress(f"live: writing the stores of the holders, {plan.tokens} values each")
        world = World(Path(folder), tokens=plan.tokens, custodians=plan.typed > 0, on_event=events.hear)
        with world:
            found += uvloop.run(_checks(world, plan, context))
            if plan.typed:
                context.progress("live: typed until told")
                found.append(_typed(world, events, plan.typed))
    return found


async def _checks(world: World, plan: Plan, context: Context) -> list[Row]:
    homes = [world.load(name) for name in ASKERS]
    askers = [Asker(home) for home in homes]
    writer = Writer(homes, world.holdings, seed=7)
    found: list[Row] = []
    for asker in askers:
        await asker.start()
    try:
        for size in plan.sizes:
            # What a process does only the first time is not measured: sessions, statements, caches.
            await _asked(world, askers, writer, Load(size, 8, WARM))
            for concurrent in plan.concurrent:
                for load in _loads(size, concurrent, plan.checks):
                    context.progress(f"live: {load.name}")
                    try:
                        row = await _asked(world, askers, writer, load)
                    except UnavailableError as error:
                        # The hub was so late with everything that it took its askers for absent.
                        row = Row(name=load.name, exact=False, seconds=0, details={"failed": error.message})
                        await _attach_anew(askers)
                    context.progress(f"live: {row.name}: {_flat(row.details)}")
                    found.append(row)
    finally:
        for asker in askers:
            await asker.stop()
    return found


async def _attach_anew(askers: list[Asker]) -> None:
    for at, asker in enumerate(askers):
        await asker.stop()
        askers[at] = asker.again()
        await askers[at].start()


async def _asked(world: World, askers: Sequence[Asker], writer: Writer, load: Load) -> Row:
    """Measure so many checks of a size."""
    size, number = load.size, load.number
    hits = [load.hits(at) for at in range(number)]
    questions = []
    for at, one in enumerate(hits):
        questions.append(writer.question(at % len(askers), size=size, hits=one))
        # An asker that does not answer its barriers meanwhile is absent.
        await asyncio.sleep(0)
    told_before = await asyncio.to_thread(world.told)
    before, own = world.cpu(), time.process_time()
    seconds = await drive(askers, questions, concurrent=load.concurrent)
    after, own = world.cpu(), time.process_time() - own
    await certified(questions)
    told = await asyncio.to_thread(world.wait_told, lambda: told_before + sum(hits) - missed(questions))
    expected = told_before + sum(hits) - missed(questions)
    for asker in askers:
        asker.forget()
    wrong, uncovered = await asyncio.to_thread(wrong_answers, questions), not_covered(questions)
    hub = after["gateway"] - before["gateway"]
    nodes = sum(after[name] - before[name] for name in after if name.startswith("nodes"))
    return Row(
        name=load.name,
        exact=not (wrong or told != expected),
        seconds=_latency(questions)["p50_ms"] / 1000,
        hub_cpu_s=hub,
        nodes_cpu_s=nodes,
        hub_rss_mb=world.rss_mb("gateway") * 1.048576,
        details={
            "tokens_a_s": round(number * size / seconds),
            "checks_a_s": round(number / seconds, 1),
            **_latency(questions),
            "hub_ms_a_check": round(1000 * hub / number, 3),
            "nodes_ms_a_check": round(1000 * nodes / number, 3),
            "askers_ms_a_check": round(1000 * own / number, 3),
            "hits": sum(hits),
            "checks": number,
            "not_covered": uncovered,
            "hits_too_late": missed(questions),
            "what": "sent by the asker until it has the last notice; signed before the clock; 26 holders, mTLS",
        },
    )


def _latency(questions: Sequence[Question]) -> dict[str, float]:
    """Return percentiles of the checks that had hits."""
    times = sorted(1000 * (max(one.told_at) - one.sent_at) for one in questions if one.hits and one.told_at)
    return {f"p{part}_ms": round(percentile(times, part), 3) for part in (50, 95, 99)}


def _typed(world: World, events: Events, rounds: int) -> Row:
    """Submit what another node holds, again and again; both must have stored the match."""
    times: list[float] = []
    before = world.cpu()
    with Store.open(world.home(HOLDER) / FILE_NAME) as theirs, Store.open(world.home(TYPIST) / FILE_NAME) as ours:
        holder = Submitter(world.load(HOLDER), theirs, CLOCK, some_case())
        typist = Submitter(world.load(TYPIST), ours, CLOCK, some_case())
        for number in range(rounds + 3):
            typed = [f"person{number}@typed.example"]
            holder.submit_values(typed, Kind.EMAIL)
            _wait_published(theirs)
            wanted = {name: events.told(name) + 1 for name in (TYPIST, HOLDER)}
            begun = time.perf_counter()
            typist.submit_values(typed, Kind.EMAIL)
            times.append(1000 * (events.wait(wanted) - begun))
    after = world.cpu()
    ordered = sorted(times[3:])
    spent = {name: 1000 * (after[name] - before[name]) / (rounds + 3) for name in after}
    return Row(
        name="typed-told",
        exact=True,
        seconds=statistics.median(ordered) / 1000,
        hub_cpu_s=after["gateway"] - before["gateway"],
        nodes_cpu_s=sum(after[name] - before[name] for name in after if name.startswith("nodes")),
        hub_rss_mb=world.rss_mb("gateway") * 1.048576,
        details={
            **{f"p{part}_ms": round(percentile(ordered, part), 2) for part in (50, 95, 99)},
            "rounds": rounds,
            "cpu_ms_a_round": {name: round(one, 2) for name, one in spent.items()},
            "what": "submit at one node until it and the holder have stored the match; real custodians, mTLS",
        },
    )


def _wait_published(store: Store) -> None:
    deadline = time.monotonic() + TOLD_S
    while not (store.untokenised_count() == 0 and store.all_published()) or _waits(store):
        if time.monotonic() > deadline:
            raise UnavailableError("a value was not published in time")
        time.sleep(0.02)
    # Its own question has been asked, and its tick is over: a round begins in a quiet federation.
    time.sleep(0.3)


def _waits(store: Store) -> bool:
    with store.read() as db:
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM to_check)").fetchone()[0])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(",") if one)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    """Print one table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="tokens of a check")
    parser.add_argument("--concurrent", type=_numbers, default=CONCURRENT, help="checks at once")
    parser.add_argument("--checks", type=int, default=0, help="checks of each measurement")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="values of each holder")
    parser.add_argument("--typed", type=int, default=TYPED, help="identifiers that are typed; 0 for none")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    plan = Plan(given.sizes, given.concurrent, given.checks, given.tokens, given.typed)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Path(folder), large=False, progress=_say)
        found = rows(context, plan)
    if given.json:
        sys.stdout.write("".join(json.dumps(row.model_dump()) + "\n" for row in found))
        return
    sys.stdout.write(table(found) + "\n" + "".join(f"{row.name}: {_flat(row.details)}\n" for row in found))


def _flat(details: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items() if name != "what")


if __name__ == "__main__":
    main()
