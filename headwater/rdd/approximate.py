"""Answers that are bounded in time or in memory, with what is known about their error.

The estimates of a job that ran out of time take the partitions that are done as a random sample of all. Distinct
records are counted by HyperLogLog over 64 bits, with the estimator of O. Ertl ("New cardinality estimation algorithms
for HyperLogLog sketches", 2017), which needs no table of corrections.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from headwater.base.hashing import portable_hash
from headwater.errors import IllegalArgumentException
from headwater.statcounter import StatCounter

__all__ = ["BoundedFloat"]

_MASK = 2**64 - 1
# From this many records on, the quantiles of Student's t are those of the normal distribution to three digits.
_NORMAL_FROM = 100
# A relative error below it would need more registers than a 64-bit hash can fill.
_RELATIVE_SD_MIN = 0.000017


class BoundedFloat(float):
    """An estimate: a float with its bounds and how sure they are.

    >>> estimate = BoundedFloat(10.0, 0.95, 9.0, 11.0)
    >>> estimate + 1, estimate.low, estimate.high, estimate.confidence
    (11.0, 9.0, 11.0, 0.95)
    """

    confidence: float
    low: float
    high: float

    def __new__(cls, mean: float, confidence: float, low: float, high: float) -> BoundedFloat:
        self = float.__new__(cls, mean)
        self.confidence = confidence
        self.low = low
        self.high = high
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return BoundedFloat, (float(self), self.confidence, self.low, self.high)


def check_confidence(confidence: float) -> None:
    """Raises IllegalArgumentException unless it lies between 0 and 1."""
    if not 0 <= confidence <= 1:
        raise IllegalArgumentException(f"confidence must be between 0 and 1, got {confidence}")


# ------------------------------------------------------------------------------------------------ of a part of the data
def estimated_count(counts: Iterable[int], partitions: int, confidence: float) -> BoundedFloat:
    """The number of records, from the partitions that were counted in time."""
    known = list(counts)
    total, share = sum(known), len(known) / partitions if partitions else 1.0
    if share == 1.0:
        return BoundedFloat(total, 1.0, total, total)
    if not known:
        return BoundedFloat(0.0, 0.0, 0.0, math.inf)
    # What is missing is taken as a Poisson count of the same rate.
    mean = (total + 1 - share) / share
    deviation = math.sqrt((total + 1) * (1 - share)) / share
    reach = _quantile(confidence, math.inf) * deviation
    return BoundedFloat(mean, confidence, max(float(total), mean - reach), mean + reach)


def estimated_mean(stats: StatCounter, share: float, confidence: float) -> BoundedFloat:
    """The mean, from statistics of the `share` of the partitions that was done in time."""
    if share == 1.0 and stats.count():
        return BoundedFloat(stats.mean(), 1.0, stats.mean(), stats.mean())
    if stats.count() < 2:
        return BoundedFloat(stats.mean(), 0.0, -math.inf, math.inf)
    deviation = math.sqrt(stats.sampleVariance() / stats.count())
    return _around(stats.mean(), deviation, stats.count(), confidence)


def estimated_sum(stats: StatCounter, share: float, confidence: float) -> BoundedFloat:
    """The sum, from statistics of the `share` of the partitions that was done in time."""
    if share == 1.0:
        return BoundedFloat(stats.sum(), 1.0, stats.sum(), stats.sum())
    n = stats.count()
    if n < 2:
        return BoundedFloat(stats.sum() / share if share else 0.0, 0.0, -math.inf, math.inf)
    count, count_variance = n / share, n * (1 - share) / share**2
    mean, mean_variance = stats.mean(), stats.sampleVariance() / n
    variance = mean_variance * count_variance + mean_variance * count**2 + count_variance * mean**2
    return _around(mean * count, math.sqrt(variance), n, confidence)


def _around(mean: float, deviation: float, records: int, confidence: float) -> BoundedFloat:
    reach = _quantile(confidence, records - 1) * deviation
    return BoundedFloat(mean, confidence, mean - reach, mean + reach)


def _quantile(confidence: float, freedom: float) -> float:
    """How many deviations either side of the mean hold the share `confidence`; Student's t by its expansion at 1/n."""
    if confidence == 1.0:
        return math.inf
    from statistics import NormalDist  # here, since it's slow to load, and few programs ask for bounds

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if freedom >= _NORMAL_FROM:
        return z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


# ------------------------------------------------------------------------------------------------ distinct records
def sketch_bits(relative_sd: float) -> int:
    """log2 of the number of registers for a standard error of `relative_sd`."""
    if relative_sd < _RELATIVE_SD_MIN:
        raise IllegalArgumentException(f"relativeSD should be greater than {_RELATIVE_SD_MIN:f}, got {relative_sd}")
    return max(4, math.ceil(2 * math.log2(1.054 / relative_sd)))


def sketch(bits: int, _partition: int, records: Iterator[Any]) -> dict[int, int]:
    """The registers that the records set: register -> 1 + leading zeros. Registers left out are 0."""
    registers: dict[int, int] = {}
    rest = 64 - bits
    below = (1 << rest) - 1
    for record in records:
        # portable_hash is no good mix of bits (an int is its own hash): this is the finaliser of splitmix64.
        x = portable_hash(record) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
        register = x >> rest
        zeros = rest - (x & below).bit_length() + 1
        if registers.get(register, 0) < zeros:
            registers[register] = zeros
    return registers


def merge_sketches(sketches: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The registers of all records."""
    merged: dict[int, int] = {}
    for registers in sketches:
        for register, zeros in registers.items():
            if merged.get(register, 0) < zeros:
                merged[register] = zeros
    return merged


def distinct_estimate(bits: int, registers: Mapping[int, int]) -> float:
    """The number of distinct records that a sketch stands for."""
    m, longest = 1 << bits, 64 - bits
    histogram = Counter(registers.values())
    z = m * _tau(1 - histogram[longest + 1] / m)
    for zeros in range(longest, 0, -1):
        z = (z + histogram[zeros]) / 2
    z += m * _sigma(1 - len(registers) / m)
    return m * m / (2 * math.log(2) * z) if z != math.inf else 0.0


def _sigma(x: float) -> float:
    """x + x^2 + 2 x^4 + 4 x^8 ..."""
    if x == 1:
        return math.inf
    return _limit(x, 1.0, lambda x, weight, total: (x * x, weight * 2, total + x * x * weight))


def _tau(x: float) -> float:
    """(1 - x - (1 - x^(1/2))^2 / 2 - (1 - x^(1/4))^2 / 4 ...) / 3"""
    if x in (0, 1):
        return 0.0

    def step(x: float, weight: float, total: float) -> tuple[float, float, float]:
        root = math.sqrt(x)
        return root, weight / 2, total - (1 - root) ** 2 * weight / 2

    return _limit(x, 1.0, step, start=1 - x) / 3


def _limit(
    x: float,
    weight: float,
    step: Callable[[float, float, float], tuple[float, float, float]],
    start: float | None = None,
) -> float:
    """The sum once no step changes it any more."""
    before, total = math.nan, x if start is None else start
    while before != total:
        before = total
        x, weight, total = step(x, weight, total)
    return total
