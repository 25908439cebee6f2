"""Statistics of RDDs of numbers, and actions that give an estimate in bounded time or memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from math import isinf
from typing import Any, TypeVar

from headwater.errors import TaskError
from headwater.rdd import approximate, functions
from headwater.rdd.approximate import BoundedFloat
from headwater.rdd.checks import check_not_negative
from headwater.rdd.keyed import Keyed
from headwater.statcounter import StatCounter

T = TypeVar("T")


class Numeric(Keyed[T]):
    """The statistics of an `RDD`."""

    # -------------------------------------------------------------------------------------------- exact
    def stats(self) -> StatCounter:
        """Count, mean, variance, least and greatest of the numbers (or arrays of numpy's), in one pass.

        >>> sc.parallelize([1, 2, 3, 4]).stats()
        (count: 4, mean: 2.5, stdev: 1.118033988749895, max: 4.0, min: 1.0)
        """
        return reduce(StatCounter.mergeStats, self._run(_stats), StatCounter())

    def mean(self) -> float:
        """The mean; nan if there are no numbers."""
        return self.stats().mean()

    def variance(self) -> float:
        """The mean squared distance from the mean."""
        return self.stats().variance()

    def stdev(self) -> float:
        """The square root of `variance`."""
        return self.stats().stdev()

    def sampleVariance(self) -> float:
        """The unbiased estimate of the variance of all that the numbers are a sample of: it divides by n - 1."""
        return self.stats().sampleVariance()

    def sampleStdev(self) -> float:
        """The square root of `sampleVariance`."""
        return self.stats().sampleStdev()

    def histogram(self, buckets: int | Sequence[Any]) -> tuple[list[Any], list[int]]:
        """How many records fall into each bucket. None and nan are left out.

        Args:
            buckets: how many, evenly between least and greatest; or the sorted bounds. A bucket includes its lower
                bound; the last one also its upper.

        Returns:
            The bounds, and the counts (one fewer).

        Raises:
            ValueError: there are less than one bucket or two bounds, bounds are not sorted or occur twice, or there is
                no record to find the bounds by.
            TypeError: `buckets` is neither an int nor a list or tuple, or the records are not numbers.

        >>> sc.parallelize(range(51)).histogram(2)
        ([0, 25, 50], [25, 26])
        >>> sc.parallelize(["ab", "ac", "b", "bd", "ef"]).histogram(("a", "b", "c"))
        (('a', 'b', 'c'), [2, 2])
        """
        width: Any = None
        bounds: Any = buckets
        if isinstance(buckets, int) and not isinstance(buckets, bool):
            bounds, width = self._even_bounds(buckets)
        elif isinstance(buckets, (list, tuple)):
            _check_bounds(buckets)
        else:
            raise TypeError(f"buckets should be a list or tuple or number(int or long), got {buckets!r}")
        counts = [sum(column) for column in zip(*self._run(partial(_bucket_counts, bounds, width)), strict=True)]
        return bounds, counts or [0] * (len(bounds) - 1)

    def _even_bounds(self, buckets: int) -> tuple[list[Any], Any]:
        """The bounds of that many buckets, and their width; one bucket of no width if all records are equal."""
        if buckets < 1:
            raise ValueError("number of buckets must be >= 1")
        ranges = [ends for ends in self._run(_least_and_greatest) if ends]
        if not ranges:
            raise ValueError("can not generate buckets from empty RDD")
        low, high = min(ends[0] for ends in ranges), max(ends[1] for ends in ranges)
        if low == high or buckets == 1:
            return [low, high], None
        try:
            width = (high - low) / buckets
        except TypeError as error:
            raise TypeError("Can not generate buckets with non-number in RDD") from error
        if isinf(width):
            raise ValueError("Can not generate buckets with infinite value")
        if int(width) * buckets == high - low:
            width = int(width)  # bounds of integers are integers where they can be
        return [*(low + i * width for i in range(buckets)), high], width

    # -------------------------------------------------------------------------------------------- approximate
    def countApprox(self, timeout: int, confidence: float = 0.95) -> int:
        """The number of records, as far as it is known after a time; what isn't counted by then is estimated.

        Args:
            timeout: milliseconds. The job is cancelled then.
            confidence: how sure the bounds of the estimate are to be, from 0 to 1.
        """
        counts, partitions = self._in_time(functions.count_records, timeout, confidence)
        return round(approximate.estimated_count(counts, partitions, confidence))

    def sumApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The sum, estimated from the partitions that are done after `timeout` milliseconds; see `countApprox`."""
        stats, share = self._stats_in_time(timeout, confidence)
        return approximate.estimated_sum(stats, share, confidence)

    def meanApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The mean, estimated from the partitions that are done after `timeout` milliseconds; see `countApprox`."""
        stats, share = self._stats_in_time(timeout, confidence)
        return approximate.estimated_mean(stats, share, confidence)

    def countApproxDistinct(self, relativeSD: float = 0.05) -> int:
        """About how many distinct records there are, in memory that doesn't grow with their number.

        Args:
            relativeSD: the standard error to be expected, relative to the result; at least 0.000017. Half the error
                takes four times the memory.

        >>> 900 < sc.parallelize(range(1000)).map(lambda x: x % 1000).countApproxDistinct() < 1100
        True
        """
        bits = approximate.sketch_bits(relativeSD)
        registers = approximate.merge_sketches(self._run(partial(approximate.sketch, bits)))
        return round(approximate.distinct_estimate(bits, registers))

    def _stats_in_time(self, timeout: int, confidence: float) -> tuple[StatCounter, float]:
        done, partitions = self._in_time(_stats, timeout, confidence)
        return reduce(StatCounter.mergeStats, done, StatCounter()), len(done) / partitions if partitions else 1.0

    def _in_time(
        self, function: Callable[[int, Iterator[Any]], Any], timeout: int, confidence: float
    ) -> tuple[list[Any], int]:
        """The results of the partitions that are done in time, and how many partitions there are."""
        check_not_negative("timeout", timeout)
        approximate.check_confidence(confidence)
        if not self.num_partitions:
            return [], 0
        done: dict[int, Any] = {}
        job = self.ctx.submit_job(self, function, range(self.num_partitions), on_result=done.__setitem__)
        try:
            return job.result(timeout / 1000), self.num_partitions
        except TimeoutError as error:
            if isinstance(error.__cause__, TaskError):
                raise  # a task's own
            job.cancel("its time was up: an approximate action takes what is done")
            return list(done.copy().values()), self.num_partitions


def _stats(_partition: int, records: Iterator[Any]) -> StatCounter:
    return StatCounter(records)


def _is_value(record: Any) -> bool:
    return record is not None and record == record  # nan isn't equal to itself


def _least_and_greatest(_partition: int, records: Iterator[Any]) -> tuple[Any, Any] | None:
    values = filter(_is_value, records)
    for low in values:
        high = low
        for value in values:
            if value < low:
                low = value
            elif value > high:
                high = value
        return low, high
    return None


def _check_bounds(bounds: Sequence[Any]) -> None:
    if len(bounds) < 2:
        raise ValueError("buckets should have more than one value")
    if not all(map(_is_value, bounds)):
        raise ValueError("can not have None or NaN in buckets")
    if sorted(bounds) != list(bounds):
        raise ValueError("buckets should be sorted")
    if len(set(bounds)) != len(bounds):
        raise ValueError("buckets should not contain duplicated values")


def _bucket_counts(bounds: Sequence[Any], width: Any, _partition: int, records: Iterator[Any]) -> list[int]:
    """The counts of one partition; `width` is that of even buckets, which need no search."""
    low, high = bounds[0], bounds[-1]
    counts = [0] * len(bounds)  # the last one counts what equals the upper bound
    for record in filter(_is_value, records):
        if low <= record <= high:
            counts[int((record - low) / width) if width else bisect_right(bounds, record) - 1] += 1
    last = counts.pop()
    counts[-1] += last
    return counts
