"""Is there a difference in time, how large could it be, and would one of 5 ms have been seen (I11).

Two samples of milliseconds in, one `Finding` out. A rank test (Mann-Whitney, in its normal approximation) says whether
they differ, since a machine's hiccups make long tails that would blind a test of means. The difference of trimmed means
with its confidence interval says by how much; Cohen's d sets that against the spread. The power is the probability with
which the same rank test finds a shift of 5 ms in samples like these, counted over resampled ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Sample = npt.NDArray[np.float64]

ALPHA: Final = 0.001
"""A run without a leak says otherwise once in a thousand."""
SHIFT_MS: Final = 5.0
TRIM: Final = 0.05
POWER_ROUNDS: Final = 200
_Z: Final = NormalDist()


@dataclass(frozen=True)
class Finding:
    """What a comparison brings.

    Attributes:
        n: Sizes of both samples, without and with a silent holder.
        p: Of the rank test, two-sided.
        difference_ms: Of the trimmed means, with minus without.
        interval_ms: 99 % confidence interval of it.
        d: Cohen's, of the trimmed samples.
        power: Of finding a shift of `SHIFT_MS` in samples like these.
    """

    n: tuple[int, int]
    p: float
    difference_ms: float
    interval_ms: tuple[float, float]
    d: float
    power: float

    @property
    def significant(self) -> bool:
        """Tell whether the two differ."""
        return self.p < ALPHA

    def __str__(self) -> str:
        low, high = self.interval_ms
        return (
            f"n = {self.n[0]} + {self.n[1]}, difference {self.difference_ms:+.3f} ms (99 % {low:+.3f} to {high:+.3f}),"
            f" d = {self.d:+.3f}, p = {self.p:.2g}, power for {SHIFT_MS:g} ms = {self.power:.3f}"
        )


def compare(without: Sample, with_: Sample, *, seed: int = 0, power_rounds: int = POWER_ROUNDS) -> Finding:
    """Compare two samples of milliseconds.

    Args:
        without: Times to the certificate where nobody holds the value.
        with_: Times where somebody holds it silently.
        seed: Of the resampling for the power.
        power_rounds: How many samples are drawn for it; 0 leaves it out.
    """
    a, b = trimmed(without), trimmed(with_)
    error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    difference = float(b.mean() - a.mean())
    reach = _Z.inv_cdf(0.995) * error
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    return Finding(
        n=(len(without), len(with_)),
        p=rank_p(without, with_),
        difference_ms=difference,
        interval_ms=(difference - reach, difference + reach),
        d=difference / spread if spread else 0.0,
        power=_power(without, with_, np.random.default_rng(seed), power_rounds),
    )


def rank_p(a: Sample, b: Sample) -> float:
    """Return the two-sided p of the Mann-Whitney test, with mid-ranks for ties."""
    values = np.concatenate([a, b])
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n, m = len(a), len(b)
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    return 2 * (1 - _Z.cdf(abs(u - n * m / 2) / float(np.sqrt(variance))))


def trimmed(sample: Sample) -> Sample:
    """Return a sample without its lowest and highest twentieth."""
    cut = int(len(sample) * TRIM)
    return np.sort(sample)[cut : len(sample) - cut]


def found_in(without: Sample, with_: Sample, *, size: int, times: int, seed: int) -> int:
    """Return in how many experiments of `size` checks each, drawn from what was measured, a difference is found."""
    rng = np.random.default_rng(seed)
    half = size // 2
    return sum(
        rank_p(rng.choice(without, half, replace=False), rng.choice(with_, half, replace=False)) < ALPHA
        for _ in range(times)
    )


def _power(without: Sample, with_: Sample, rng: np.random.Generator, rounds: int) -> float:
    if not rounds:
        return float("nan")
    # Both come from what nobody holds, so that a leak that is there does not count as power.
    seen = sum(
        rank_p(rng.choice(without, len(without)), rng.choice(without, len(with_)) + SHIFT_MS) < ALPHA
        for _ in range(rounds)
    )
    return seen / rounds
