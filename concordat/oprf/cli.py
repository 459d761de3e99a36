"""The command line `concordat oprf`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from concordat.errors import ConfigError
from concordat.oprf.bench import DEFAULT_BATCH, DEFAULT_SECONDS, run_bench
from concordat.oprf.engine import REFERENCE, Engine, warm_up

app = App(name="oprf", help="Blinded tokens: how fast this machine makes them.")

Chosen = Literal["reference", "fast"]

_ROWS = {
    "client_tokens_per_core_s": "client, tokens a core and second (2 of 3, both proofs verified)",
    "custodian_tokens_per_core_s": "custodian, tokens a core and second",
    "scalarmult_per_core_s": "libsodium scalar multiplications a core and second",
    "client_per_scalarmult": "client tokens for one scalar multiplication",
    "reference_client_tokens_per_core_s": "client with libsodium alone, tokens a core and second",
    "reference_custodian_tokens_per_core_s": "custodian with libsodium alone, tokens a core and second",
    "reference_client_per_scalarmult": "client tokens with libsodium alone for one scalar multiplication",
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
    engine: Chosen | None = None,
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
    engine
        libsodium alone (reference), or the extra `fast`, then with libsodium beside it; by default what is installed.
    """
    measured = _engine(engine)
    if as_json:
        print(json.dumps({"engine": measured.name, **run_bench(seconds, batch=batch, engine=measured)}))
        return
    # Without a refresh thread: its CPU time would be counted as the client's.
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("measuring", total=1.0)

        def show(done: float) -> None:
            bar.update(task, completed=done, refresh=True)

        figures = run_bench(seconds, batch=batch, engine=measured, progress=show)
    table = Table("what", "figure", box=None)
    table.add_row("what multiplies", measured.name)
    for name, label in _ROWS.items():
        if name in figures:
            table.add_row(label, f"{figures[name]:,}")
    Console().print(table)


def _engine(chosen: Chosen | None) -> Engine:
    """Return the engine that is asked for.

    Raises:
        ConfigError: the fast one is asked for and is not there or does not work.
    """
    found = REFERENCE if chosen == "reference" else warm_up()
    if chosen == "fast" and found is REFERENCE:
        raise ConfigError("the extra 'fast' is not installed or does not work here; see the log")
    found.wait()
    return found
