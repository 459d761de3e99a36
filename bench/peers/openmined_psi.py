"""One intersection by openmined-psi (ECDH on P-256), both parties in this process: ... SIZE.

Messages are serialised and parsed as if they travelled, and their bytes are counted.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

from bench.peers.phones import SHARED_OF, two_sets

FALSE_POSITIVES = 1e-9


def main() -> None:
    """Intersect two sets of so many numbers."""
    psi: Any = importlib.import_module("private_set_intersection.python")
    size = int(sys.argv[1])
    ours, theirs = two_sets(size)
    wall, cpu = time.perf_counter(), time.process_time()
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(FALSE_POSITIVES, size, theirs, psi.DataStructure.GCS).SerializeToString()
    request = client.CreateRequest(ours).SerializeToString()
    asked = psi.Request()
    asked.ParseFromString(request)
    response = server.ProcessRequest(asked).SerializeToString()
    known, answered = psi.ServerSetup(), psi.Response()
    known.ParseFromString(setup)
    answered.ParseFromString(response)
    found = client.GetIntersection(known, answered)
    result = {
        "exact": len(found) == size // SHARED_OF,
        "seconds": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "bytes": sum(map(len, (setup, request, response))),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
