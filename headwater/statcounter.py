"""Count, mean, variance and bounds of numbers in one pass, mergeable across partitions.

Welford's update for a value, Chan's for two counters: no sum of squares is kept, so large means cost no precision.
Arrays of numpy's, all of one shape, are counted element by element; then each statistic but the count is an array.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

__all__ = ["StatCounter"]


class StatCounter:
    """Statistics of a set of numbers, or of numpy's arrays, element by element.

    Args:
        values: numbers or arrays to begin with; none if left out.

    >>> stats = StatCounter([1.0, 2.0, 3.0, 4.0])
    >>> stats
    (count: 4, mean: 2.5, stdev: 1.118033988749895, max: 4.0, min: 1.0)
    >>> stats.mergeStats(StatCounter([10.0])).mean()
    4.0
    """

    __slots__ = ("m2", "maxValue", "minValue", "mu", "n", "total")

    def __init__(self, values: Iterable[float] | None = None) -> None:
        self.n = 0
        self.mu = 0.0  # mean of the n values, 0 while there are none
        self.m2 = 0.0  # sum of squared distances from the mean, never negative
        self.total = 0.0  # n * mu, but exact where float addition is
        self.maxValue = -math.inf
        self.minValue = math.inf
        for value in () if values is None else values:
            self.merge(value)

    def merge(self, value: float) -> StatCounter:
        """Add one number, or one array; returns this counter."""
        if type(value) is not float or type(self.mu) is not float:
            if getattr(value, "ndim", 0) or getattr(self.mu, "ndim", 0):
                return self.mergeStats(_of_array(value))
            value = float(value)
        self.n += 1
        delta = value - self.mu
        self.mu += delta / self.n
        self.m2 += delta * (value - self.mu)
        self.total += value
        # A nan spreads, as it does through the mean.
        if value > self.maxValue or value != value:
            self.maxValue = value
        if value < self.minValue or value != value:
            self.minValue = value
        return self

    def mergeStats(self, other: StatCounter) -> StatCounter:
        """Add what another counter has counted; returns this counter, `other` stays as it is.

        Raises:
            TypeError: `other` is no StatCounter.
        """
        if not isinstance(other, StatCounter):
            raise TypeError(f"Can only merge StatCounters, not {type(other).__name__}. For a number use merge(value).")
        if other.n == 0:
            return self
        n = self.n + other.n
        delta = other.mu - self.mu
        # Not in place: an array may be another counter's, too.
        self.mu = self.mu + delta * (other.n / n)
        self.m2 = self.m2 + (other.m2 + delta * delta * (self.n * other.n / n))
        self.total = self.total + other.total
        self.maxValue = _greater(self.maxValue, other.maxValue)
        self.minValue = -_greater(-self.minValue, -other.minValue)
        self.n = n
        return self

    def copy(self) -> StatCounter:
        """A counter of its own with the same statistics."""
        return copy.copy(self)

    def count(self) -> int:
        """How many numbers were added."""
        return self.n

    def mean(self) -> float:
        """The mean; 0.0 of nothing."""
        return self.mu

    def sum(self) -> float:
        """The sum; 0.0 of nothing."""
        return self.total

    def min(self) -> float:
        """The least number; inf of nothing."""
        return self.minValue

    def max(self) -> float:
        """The greatest number; -inf of nothing."""
        return self.maxValue

    def variance(self) -> float:
        """The population variance (divides by n); nan of nothing."""
        return self.m2 / self.n if self.n else math.nan

    def sampleVariance(self) -> float:
        """The sample variance (divides by n - 1); nan of fewer than two numbers."""
        return self.m2 / (self.n - 1) if self.n > 1 else math.nan

    def stdev(self) -> float:
        """The population standard deviation; nan of nothing."""
        return _root(self.variance())

    def sampleStdev(self) -> float:
        """The sample standard deviation; nan of fewer than two numbers."""
        return _root(self.sampleVariance())

    def asDict(self, sample: bool = False) -> dict[str, float]:
        """All statistics by name; `sample` chooses the sample variance and deviation.

        >>> StatCounter([1, 3]).asDict(sample=True)["variance"]
        2.0
        """
        return {
            "count": self.count(),
            "mean": self.mean(),
            "sum": self.sum(),
            "min": self.min(),
            "max": self.max(),
            "stdev": self.sampleStdev() if sample else self.stdev(),
            "variance": self.sampleVariance() if sample else self.variance(),
        }

    def __repr__(self) -> str:
        return (
            f"(count: {self.count()}, mean: {self.mean()}, stdev: {self.stdev()}, max: {self.max()}, min: {self.min()})"
        )


def _of_array(value: Any) -> StatCounter:
    """The counter of one array."""
    counter = StatCounter()
    counter.n = 1
    counter.mu = counter.total = counter.maxValue = counter.minValue = value * 1.0
    counter.m2 = counter.mu * 0.0
    return counter


def _root(value: float) -> float:
    root: float = value**0.5 if getattr(value, "ndim", 0) else math.sqrt(value)
    return root


def _greater(a: Any, b: Any) -> Any:
    """The greater of two numbers, nan if one is."""
    if getattr(a, "ndim", 0) or getattr(b, "ndim", 0):
        from numpy import maximum

        return maximum(a, b)
    return a if a > b or a != a else b
