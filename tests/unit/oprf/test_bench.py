"""The bench measures all it promises, catches every lie, and prints one JSON object or one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concordat.errors import InputError
from concordat.oprf.bench import run_bench
from concordat.oprf.cli import app
from concordat.oprf.engine import warm_up

if TYPE_CHECKING:
    from concordat.oprf.engine import Engine


def test_the_bench_catches_all_bad_proofs_and_refuses_no_good_one() -> None:
    steps: list[float] = []
    figures = run_bench(0.01, batch=8, progress=steps.append)
    assert figures["bad_proofs_sent"] == figures["bad_proofs_caught"] == 1
    assert figures["good_proofs_sent"] == 99
    assert figures["good_proofs_refused"] == 0
    assert all(
        figures[name] > 0
        for name in ("client_tokens_per_core_s", "custodian_tokens_per_core_s", "scalarmult_per_core_s")
    )
    assert figures["client_per_scalarmult"] > 0
    assert steps == sorted(steps)
    assert steps[-1] <= 1.0


def test_every_kind_of_lie_takes_its_turn() -> None:
    """Six bad proofs are six different lies."""
    figures = run_bench(3.0, batch=8, clock=iter(range(100_000)).__next__)
    assert figures["bad_proofs_sent"] == figures["bad_proofs_caught"] == 6


@pytest.mark.parametrize(("seconds", "batch"), [(0.0, 10), (-1.0, 10), (1.0, 0), (1.0, 4097), (float("nan"), 10)])
def test_a_bench_of_no_size_is_refused(seconds: float, batch: int) -> None:
    with pytest.raises(InputError):
        run_bench(seconds, batch=batch)


def test_another_engine_is_measured_beside_the_reference(fast: Engine) -> None:
    figures = run_bench(0.01, batch=64, engine=fast)
    names = ("client_tokens_per_core_s", "custodian_tokens_per_core_s", "client_per_scalarmult")
    assert all(figures[name] > 0 and figures[f"reference_{name}"] > 0 for name in names)
    assert figures["bad_proofs_sent"] == figures["bad_proofs_caught"] == 1
    assert not any(name.startswith("reference_") for name in run_bench(0.01, batch=8))


def test_compiled_code_makes_tokens_at_twice_the_rate_of_libsodium(fast: Engine) -> None:
    """About three times, in the same rounds and by CPU time; of three runs, as other programs disturb one."""
    runs = (run_bench(0.4, batch=1000, engine=fast) for _ in range(3))
    assert any(
        figures["client_per_scalarmult"] > 2 * figures["reference_client_per_scalarmult"]
        and figures["custodian_tokens_per_core_s"] > 1.5 * figures["reference_custodian_tokens_per_core_s"]
        for figures in runs
    )


@pytest.mark.parametrize(("chosen", "name"), [("reference", "libsodium"), ("fast", "numba")])
def test_the_engine_is_chosen_by_name_and_named(
    chosen: str, name: str, fast: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["bench", "--json", "--seconds", "0.01", "--batch", "16", "--engine", chosen]
    app(options, result_action="return_value")
    figures = json.loads(capsys.readouterr().out)
    assert name in figures["engine"]
    assert ("reference_client_per_scalarmult" in figures) == (chosen == "fast")


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    # That an engine has come may be logged at any time, and where to is of other tests.
    warm_up()
    capsys.readouterr()
    app(["bench", "--json", "--seconds", "0.01", "--batch", "8"], result_action="return_value")
    out, err = capsys.readouterr()
    assert json.loads(out)["bad_proofs_caught"] == 1
    assert err == ""


def test_without_json_a_table_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "--seconds", "0.01", "--batch", "8"], result_action="return_value")
    out, _ = capsys.readouterr()
    assert "what multiplies" in out
    assert "libsodium scalar multiplications" in out
    assert "bad proofs caught" in out
