"""Column operations agree with plain arithmetic on exponents, and refuse columns that do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError, ProtocolError
from concordat.oprf import group
from concordat.oprf.suite import VOPRF, Suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

scalars = st.integers(1, group.ORDER - 1)
small = st.integers(-400, 400).filter(bool)


def power(exponent: int) -> bytes:
    """Return exponent times generator; zero gives the identity."""
    reduced = exponent % group.ORDER
    return group.mult_base(group.scalar_from_int(reduced)) if reduced else group.IDENTITY


def column(exponents: list[int]) -> bytes:
    return b"".join(map(power, exponents))


def packed(values: list[int]) -> bytes:
    return b"".join(map(group.scalar_from_int, values))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(scalars, scalars), min_size=1, max_size=5), scalars)
def test_products_and_sums_are_those_of_the_exponents(rows: list[tuple[int, int]], k: int) -> None:
    weights, exponents = [w for w, _ in rows], [e for _, e in rows]
    elements = column(exponents)
    assert column([k * e for e in exponents]) == group.mult(group.scalar_from_int(k), elements)
    assert column([w * e for w, e in rows]) == group.mult_each(packed(weights), elements)
    assert power(sum(w * e for w, e in rows)) == group.weighted_sum(packed(weights), elements)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(small, st.integers(-3, 3)), min_size=1, max_size=5))
def test_small_combinations_are_those_of_the_exponents_through_the_identity_too(rows: list[tuple[int, int]]) -> None:
    """Small exponents make partial sums cancel, double and vanish."""
    columns = [column([e, e + 1]) for _, e in rows]
    expected = column([sum(c * e for c, e in rows), sum(c * (e + 1) for c, e in rows)])
    assert expected == group.small_combination([c for c, _ in rows], columns)


@settings(max_examples=30, deadline=None)
@given(st.lists(scalars, min_size=1, max_size=6), st.integers(1, 50))
def test_inverses_times_scalars_are_the_factor(values: list[int], factor: int) -> None:
    inverses = group.split(group.invert_scalars(packed(values), factor))
    for inverse, value in zip(inverses, values, strict=True):
        assert group.scalar_from_int(factor) == group.scalar_mul(inverse, group.scalar_from_int(value))


def test_scalar_arithmetic_is_modulo_the_order() -> None:
    top, one, two = group.scalar_from_int(-1), group.scalar_from_int(1), group.scalar_from_int(2)
    assert group.scalar_add(top, one) == group.ZERO
    assert top == group.scalar_sub(one, two)
    assert one == group.scalar_mul(top, top)
    assert group.reduce_scalars((group.ORDER + 7).to_bytes(64, "little")) == group.scalar_from_int(7)


def test_columns_that_do_not_fit_are_refused_before_any_pointer_is_taken() -> None:
    element, scalar = power(1), group.scalar_from_int(1)
    calls: tuple[Callable[[], bytes], ...] = (
        lambda: group.mult(scalar, element[:31]),
        lambda: group.mult(scalar[:31], element),
        lambda: group.mult_each(scalar, element * 2),
        lambda: group.weighted_sum(scalar, element * 2),
        lambda: group.weighted_sum(b"", b""),
        lambda: group.add(element, element[:31]),
        lambda: group.mult_base(scalar + b"\x00"),
        lambda: group.scalar_mul(scalar, scalar[:5]),
        lambda: group.small_combination([1, 2], [element]),
        lambda: group.small_combination([1, 2], [element, element * 2]),
        lambda: group.from_hash(bytes(63)),
        lambda: group.reduce_scalars(bytes(65)),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"bytes|column"):
            call()


def test_products_with_zero_with_the_identity_or_of_no_element_are_refused() -> None:
    element, one = power(1), group.scalar_from_int(1)
    junk = b"\xff" * 32
    calls: tuple[Callable[[], bytes], ...] = (
        lambda: group.mult(group.ZERO, element),
        lambda: group.mult(one, group.IDENTITY),
        lambda: group.mult_each(one, junk),
        lambda: group.weighted_sum(one + group.ZERO, element * 2),
        lambda: group.mult_base(group.ZERO),
        lambda: group.add(element, junk),
        lambda: group.small_combination([1, 1], [element, junk]),
    )
    for call in calls:
        with pytest.raises(ProtocolError):
            call()


def test_a_random_source_that_gives_too_little_or_zero_is_refused() -> None:
    for source in (lambda n: bytes(n - 1), bytes, lambda n: (os.urandom(64) + bytes(n))[:n]):
        with pytest.raises(ConfigError, match="random source"):
            group.random_scalars(2, source)


def test_each_mode_hashes_into_a_domain_of_its_own() -> None:
    assert Suite(0x00).hash_to_group([b"x"]) != VOPRF.hash_to_group([b"x"])
    assert VOPRF.hash_to_group([b"x", b"y"]) == VOPRF.hash_to_group([b"x"]) + VOPRF.hash_to_group([b"y"])


@pytest.mark.parametrize(
    ("seed", "info"), [(bytes(31), b""), (bytes(33), b""), (bytes(32), bytes(2**16))], ids=["short", "long", "info"]
)
def test_a_seed_of_another_length_derives_no_key(seed: bytes, info: bytes) -> None:
    with pytest.raises(ConfigError):
        VOPRF.derive_key_pair(seed, info)


@pytest.mark.parametrize(
    "module",
    [
        "raise ValueError('Unable to find libsodium')",
        "import ctypes\nsodium = ctypes.CDLL(None)",
        "raise OSError('cannot open shared object file')",
    ],
    ids=["not found", "without ristretto255", "not loadable"],
)
def test_without_libsodium_one_line_says_what_to_install(module: str, tmp_path: Path) -> None:
    (tmp_path / "pysodium.py").write_text(module)
    script = (
        "from concordat.errors import ConfigError\n"
        "try:\n    import concordat.oprf.group\n"
        "except ConfigError as e:\n    print(e)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True
    )
    (line,) = done.stdout.decode().splitlines()
    assert "install libsodium23" in line
