"""The command line `concordat oprf`."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from concordat.oprf.bench import DEFAULT_BATCH, DEFAULT_SECONDS, run_bench

app = App(name="oprf", help="Blinded tokens: how fast this machine makes them.")

_ROWS = {
    "client_tokens_per_core_s": "client, tokens a core and second (2 of 3, both proofs verified)",
    "custodian_tokens_per_core_s": "custodian, tokens a core and second",
    "scalarmult_per_core_s": "libsodium scalar multiplications a core and second",
    "client_per_scalarmult": "client tokens for one scalar multiplication",
    "bad_proofs_sent": "bad proofs sent",
    "bad_proofs_caught": "bad proofs caught",
    "good_proofs_sent": "good proofs sent",
    "good_proofs_refused": "good proofs refused",
}


@app.command
def bench(
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    seconds: float = DEFAULT_SECONDS,
    batch: int = DEFAULT_BATCH,
) -> None:
    """Measure tokens a core and second, and whether lying custodians get caught.

    Parameters
    ----------
    as_json
        Print one JSON object and nothing else.
    seconds
        CPU time to spend, in seconds.
    batch
        Inputs a batch.
    """
    if as_json:
        print(json.dumps(run_bench(seconds, batch=batch)))
        return
    # Without a refresh thread: its CPU time would be counted as the client's.
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("measuring", total=1.0)

        def show(done: float) -> None:
            bar.update(task, completed=done, refresh=True)

        figures = run_bench(seconds, batch=batch, progress=show)
    table = Table("what", "figure", box=None)
    for name, label in _ROWS.items():
        table.add_row(label, f"{figures[name]:,}")
    Console().print(table)
