"""One intersection by SPU (SecretFlow), two processes over the loopback: ... SIZE PROTOCOL.

Bytes are those of this network namespace's loopback, so that the namespace should be this program's own. The time
begins where both parties are connected; a party takes two seconds and 220 MB to start, which is not counted.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers.phones import SHARED_OF, two_sets

CURVES = {"ECDH": "CURVE_25519"}


def main() -> None:
    """Run both parties."""
    size, protocol = int(sys.argv[1]), sys.argv[2]
    context = multiprocessing.get_context("spawn")
    ports = _free_ports()
    with tempfile.TemporaryDirectory() as folder:
        for rank, numbers in enumerate(two_sets(size)):
            (Path(folder) / f"in{rank}.csv").write_text("\n".join(["id", *numbers]) + "\n", encoding="ascii")
        told: Any = context.Queue()
        parties = [context.Process(target=_party, args=(rank, ports, protocol, folder, told)) for rank in (0, 1)]
        for one in parties:
            one.start()
        found = [told.get(timeout=600) for _ in parties]
        for one in parties:
            one.join(60)
    receiver = next(one for one in found if one["rank"] == 0)
    result = {
        "exact": receiver["count"] == size // SHARED_OF,
        "seconds": max(one["seconds"] for one in found),
        "cpu_s": sum(one["cpu_s"] for one in found),
        "bytes": receiver["bytes"],
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _party(rank: int, ports: list[int], protocol: str, folder: str, told: Any) -> None:
    psi: Any = importlib.import_module("spu.psi")
    link: Any = importlib.import_module("spu.libspu.link")
    desc = link.Desc()
    desc.recv_timeout_ms, desc.connect_retry_times = 300_000, 60
    for at, port in enumerate(ports):
        desc.add_party(f"p{at}", f"127.0.0.1:{port}")
    context = link.create_brpc(desc, rank)
    how = psi.PsiProtocolConfig()
    how.protocol = getattr(psi.PsiProtocol, f"PROTOCOL_{protocol}")
    how.receiver_rank, how.broadcast_result = 0, False
    if protocol in CURVES:
        how.ecdh_params = psi.EcdhParams(getattr(psi.EllipticCurveType, CURVES[protocol]))
    csv = psi.SourceType.SOURCE_TYPE_FILE_CSV
    config = psi.PsiExecuteConfig(
        how,
        psi.InputParams(csv, f"{folder}/in{rank}.csv", ["id"], True),
        psi.OutputParams(csv, f"{folder}/out{rank}.csv", True),
    )
    before, wall, cpu = _received(), time.perf_counter(), time.process_time()
    report = psi.psi_execute(config, context)
    spent = {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "bytes": _received() - before}
    told.put({"rank": rank, "count": report.intersection_count, **spent})
    context.stop_link()


def _received() -> int:
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.partition(":")[2].split()[0]) for line in lines if line.strip().startswith("lo:"))


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


if __name__ == "__main__":
    main()
