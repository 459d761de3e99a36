"""Two parties by private set intersection, where the peers are installed, beside what tokens of the same values cost.

    make bench-psi

CPU of both sides and bytes are the figures; wall time is of this machine. What 26 parties would take pairwise is
arithmetic from the row of two, and is called so. The peers are semi-honest as they are run here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.central import ROOT
from bench.rows import Row
from concordat.oprf.bench import run_bench
from concordat.oprf.engine import REFERENCE, warm_up

if TYPE_CHECKING:
    from bench.rows import Context

SIZES: Final = (10_000, 100_000)
PARTIES: Final = 26
PAIRS: Final = PARTIES * (PARTIES - 1) // 2
TIMEOUT_S: Final = 900
SECONDS: Final = 6.0
THRESHOLD: Final = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """A program, and what it is run with beside the size."""

    name: str
    venv: str
    program: str
    arguments: tuple[str, ...] = ()
    alone: bool = False
    """Whether its bytes are those of the whole loopback, so that it needs one of its own."""


PEERS: Final = (
    Peer("openmined", ".venv-bench-openmined", "openmined_psi"),
    Peer("spu-ecdh", ".venv-bench-spu", "spu_psi", ("ECDH",), alone=True),
    Peer("spu-rr22", ".venv-bench-spu", "spu_psi", ("RR22",), alone=True),
)


def rows(context: Context) -> list[Row]:
    """Measure every peer that is installed, and tokens."""
    found = []
    for peer in PEERS:
        if not (ROOT / peer.venv / "bin" / "python").exists():
            context.progress(f"psi: {peer.name} left out: there is no {peer.venv} (make bench-psi makes it)")
            continue
        for size in SIZES:
            context.progress(f"psi: {peer.name}, {size} values each")
            found.append(_row(peer, size, _run(peer, size)))
    return [*found, *_tokens(SIZES[-1])]


def _row(peer: Peer, size: int, seen: dict[str, Any] | None) -> Row:
    name = f"psi-{peer.name}-{size // 1000}k"
    if seen is None:
        return Row(name=name, exact=False, seconds=0, details={"failed": True})
    return Row(
        name=name,
        exact=seen["exact"],
        seconds=seen["seconds"],
        nodes_cpu_s=seen["cpu_s"],
        details={
            "cpu_us_a_value": round(seen["cpu_s"] / size * 1e6, 1),
            "bytes": seen["bytes"],
            "arithmetic_26_pairwise_cpu_s": round(seen["cpu_s"] * PAIRS, 1),
            "arithmetic_26_pairwise_bytes": None if seen["bytes"] is None else seen["bytes"] * PAIRS,
        },
    )


def _tokens(size: int) -> list[Row]:
    """What tokens cost once: the client's part, and that of as many custodians as the threshold says."""
    engine = warm_up()
    figures: dict[str, Any] = run_bench(SECONDS, engine=engine)
    rates = {"tokens": "" if engine is REFERENCE else "reference_"}
    if engine is not REFERENCE:
        rates["tokens-fast"] = ""
    found = []
    for name, prefix in rates.items():
        client = 1 / figures[f"{prefix}client_tokens_per_core_s"]
        custodian = 1 / figures[f"{prefix}custodian_tokens_per_core_s"]
        cpu_s = (client + THRESHOLD * custodian) * size
        details = {
            "cpu_us_a_value": round(cpu_s / size * 1e6, 1),
            "client_us": round(client * 1e6, 1),
            "custodians_us": round(THRESHOLD * custodian * 1e6, 1),
            "arithmetic_26_once_cpu_s": round(cpu_s * PARTIES, 1),
        }
        caught = figures["bad_proofs_caught"] == figures["bad_proofs_sent"]
        row_name = f"psi-{name}-{size // 1000}k"
        found.append(Row(name=row_name, exact=caught, seconds=cpu_s, nodes_cpu_s=cpu_s, details=details))
    return found


def _run(peer: Peer, size: int) -> dict[str, Any] | None:
    python = str(ROOT / peer.venv / "bin" / "python")
    command = [python, "-m", f"bench.peers.{peer.program}", str(size), *peer.arguments]
    apart = peer.alone and os.getuid() == 0 and shutil.which("unshare") is not None
    if apart:
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    with tempfile.TemporaryDirectory(prefix="concordat-bench-psi-") as folder:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"exact"')]
    if done.returncode or not lines:
        return None
    seen: dict[str, Any] = json.loads(lines[-1])
    if peer.alone and not apart:
        # Others use the loopback too.
        seen["bytes"] = None
    return seen
