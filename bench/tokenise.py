"""Tokens a core makes and evaluates, with libsodium alone and with the extra `fast`, in one run.

CPU time of one process (concordat.oprf.bench): blinding, two proofs verified, combining and finalising at the client;
evaluating and proving at one custodian. One in a hundred of many small proofs is a lie; `exact` says that all of those
were caught and no good one refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.rows import Row
from concordat.oprf.bench import run_bench
from concordat.oprf.engine import REFERENCE, warm_up

if TYPE_CHECKING:
    from bench.rows import Context

SECONDS: Final = 12.0


def rows(context: Context, seconds: float = SECONDS) -> list[Row]:
    """Measure both engines where there are two; `seconds` is CPU time for all."""
    engine = warm_up()
    if engine is REFERENCE:
        context.progress("tokenise: the fast engine left out: concordat[fast] is not installed, or its self-test fails")
    figures: dict[str, Any] = run_bench(seconds, engine=engine)
    prefix = "" if engine is REFERENCE else "reference_"
    slow = {name: figures[prefix + name] for name in _RATES}
    found = [_row("tokenise", REFERENCE.name, slow, figures)]
    if engine is not REFERENCE:
        fast = {name: figures[name] for name in _RATES}
        times = fast["custodian_tokens_per_core_s"] / slow["custodian_tokens_per_core_s"]
        found.append(_row("tokenise-fast", engine.name, fast | {"custodian_times_reference": round(times, 2)}, figures))
    return found


_RATES: Final = ("client_tokens_per_core_s", "custodian_tokens_per_core_s", "client_per_scalarmult")


def _row(name: str, engine: str, rates: dict[str, Any], figures: dict[str, Any]) -> Row:
    caught = figures["bad_proofs_caught"] == figures["bad_proofs_sent"] and not figures["good_proofs_refused"]
    return Row(
        name=name,
        exact=caught,
        # A thousand tokens at the client.
        seconds=round(1000 / rates["client_tokens_per_core_s"], 4),
        nodes_cpu_s=round(1000 / rates["client_tokens_per_core_s"], 4),
        details={
            **rates,
            "scalarmult_per_core_s": figures["scalarmult_per_core_s"],
            "engine": engine,
            "tokens": 1000,
            "bad_proofs_sent": figures["bad_proofs_sent"],
        },
    )
