"""The shared key: Shamir shares at the points 1 to n, and their combination with small integers.

Lagrange coefficients λ_i at zero are fractions. With Δ the least common multiple of their denominators over all
t-subsets (2 of 3: 2; 3 of 5: 24), Δλ_i are small integers for every subset. So the group key is *defined* as Δ·f(0):
its public key is Σ(Δλ_i)·pk_i, and combining evaluations takes a few additions and no multiplication. Who wants a
given key k shares k·Δ⁻¹.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from math import gcd, lcm
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import ConfigError, ProtocolError
from concordat.oprf import group
from concordat.oprf.engine import REFERENCE
from concordat.oprf.server import KeyShare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from concordat.oprf.engine import Column, Engine

MAX_CUSTODIANS: Final = 9  # every t-subset is checked, and the integers stay small


def _lagrange(indices: Sequence[int]) -> list[Fraction]:
    """Return the coefficients at zero of distinct points."""
    fractions = []
    for i in indices:
        value = Fraction(1)
        for j in indices:
            if j != i:
                value *= Fraction(j, j - i)
        fractions.append(value)
    return fractions


def check_size(t: int, n: int) -> None:
    """Refuse a threshold that is none.

    Raises:
        ConfigError: not 1 ≤ t ≤ n ≤ `MAX_CUSTODIANS`.
    """
    if not 1 <= t <= n <= MAX_CUSTODIANS:
        raise ConfigError(f"{t} of {n} is no threshold of at most {MAX_CUSTODIANS} custodians")


@lru_cache(maxsize=64)
def delta(t: int, n: int) -> int:
    """Return Δ: the least common multiple of the coefficients' denominators over all t-subsets of 1..n.

    Raises:
        ConfigError: t of n is no threshold.
    """
    check_size(t, n)
    return lcm(*(c.denominator for s in combinations(range(1, n + 1), t) for c in _lagrange(s)))


@lru_cache(maxsize=1024)
def coefficients(indices: tuple[int, ...], n: int) -> tuple[int, ...]:
    """Return Δλ_i for each index of a t-subset of 1..n, in the order given.

    Raises:
        ProtocolError: an index is given twice or is not in 1..n.
    """
    if len(set(indices)) != len(indices):
        raise ProtocolError("a custodian's index is there twice")
    if any(not 1 <= i <= n for i in indices):
        raise ProtocolError(f"a custodian's index is not in 1 to {n}")
    scale = delta(len(indices), n)
    return tuple(int(c * scale) for c in _lagrange(indices))


def combine(columns: Mapping[int, Column], n: int, *, engine: Engine = REFERENCE) -> tuple[bytes, int]:
    """Combine the columns of a t-subset, up to a small common factor that the caller still has to multiply in.

    Returns:
        n·32 bytes and an integer g: g times these elements is the evaluation under the group key. The client folds g
        into the multiplication by its inverse blinds.

    Raises:
        ProtocolError: an index is not in 1..n.
    """
    scaled = coefficients(tuple(columns), n)
    common = gcd(*scaled)
    return engine.small_combination([c // common for c in scaled], list(columns.values())), common


@dataclass(frozen=True)
class GroupKey:
    """The public side of a shared key; made only if every t-subset of the public shares gives the same key.

    Attributes:
        t: custodians needed.
        n: custodians there are.
        public_shares: index (1 to n) → the custodian's public share, 32 bytes.
        public_key: Δ·f(0) times generator.
    """

    t: int
    n: int
    public_shares: Mapping[int, bytes] = field(hash=False)
    public_key: bytes

    def __post_init__(self) -> None:
        check_size(self.t, self.n)
        shares = dict(sorted(self.public_shares.items()))
        if list(shares) != list(range(1, self.n + 1)):
            raise ConfigError(f"public shares must be there for each of 1 to {self.n}")
        object.__setattr__(self, "public_shares", MappingProxyType(shares))
        for i, share in shares.items():
            group.decode_element(share, f"public share {i}")
        group.decode_element(self.public_key, "public key")
        for subset in combinations(shares, self.t):
            if _public_key(shares, subset, self.n) != self.public_key:
                raise ConfigError(f"the public shares {subset} do not give the public key")

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy has no pickle; the public side may go to a worker process.
        return GroupKey, (self.t, self.n, dict(self.public_shares), self.public_key)

    @classmethod
    def from_shares(cls, t: int, public_shares: Mapping[int, bytes]) -> GroupKey:
        """Compute the public key from the public shares.

        Raises:
            ConfigError: t of n is no threshold, an index is missing, or the t-subsets give different keys.
            ProtocolError: a share does not decode strictly.
        """
        n = len(public_shares)
        check_size(t, n)
        first = tuple(sorted(public_shares))[:t]
        for i in first:
            group.decode_element(public_shares[i], f"public share {i}")
        return cls(t, n, public_shares, _public_key(public_shares, first, n))


def _public_key(shares: Mapping[int, bytes], subset: Sequence[int], n: int) -> bytes:
    return group.small_combination(coefficients(tuple(subset), n), [shares[i] for i in subset])


def polynomial_at(scalars: Sequence[bytes], point: int) -> bytes:
    """Evaluate a secret polynomial, constant term first, at a small public point; inside libsodium (Horner)."""
    x = group.scalar_from_int(point)
    value = group.ZERO
    for scalar in reversed(scalars):
        value = group.scalar_add(group.scalar_mul(value, x), scalar)
    return value


class UnsafeDealer:
    """Knows the whole key while it deals, so could reverse every token ever made: for tests and benches only."""

    def __init__(self, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random

    def deal(self, t: int, n: int, secret: bytes | None = None) -> tuple[GroupKey, tuple[KeyShare, ...]]:
        """Share a key, by default a random one; a key that is given is the group key itself (f(0) = key·Δ⁻¹).

        Raises:
            ConfigError: t of n is no threshold, or the key is zero.
        """
        check_size(t, n)
        if secret is None:
            secret = group.random_scalars(1, self._random)
        elif not group.is_scalar_column([secret]):
            raise ConfigError("the key is no non-zero scalar below the group order")
        constant = group.scalar_mul(secret, group.invert_scalars(group.scalar_from_int(delta(t, n))))
        scalars = [constant, *(group.random_scalars(1, self._random) for _ in range(t - 1))]
        shares = tuple(KeyShare.from_secret(i, polynomial_at(scalars, i)) for i in range(1, n + 1))
        return group_key_of(t, shares), shares


def unsafe_deal(
    t: int, n: int, *, secret: bytes | None = None, random: Callable[[int], bytes] = os.urandom
) -> tuple[GroupKey, tuple[KeyShare, ...]]:
    """Deal a key in one call; see `UnsafeDealer` for why this is not for use.

    Raises:
        ConfigError: t of n is no threshold, or the key is zero.
    """
    return UnsafeDealer(random=random).deal(t, n, secret)


def group_key_of(t: int, shares: Iterable[KeyShare]) -> GroupKey:
    """Return the public side of a complete set of shares.

    Raises:
        ConfigError: the shares are not 1 to n, or do not lie on one polynomial of degree t - 1.
    """
    return GroupKey.from_shares(t, {share.index: share.public for share in shares})
