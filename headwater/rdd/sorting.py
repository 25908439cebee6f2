"""Sorting: a range partitioner from a sample of the keys, then each partition on its own, on disk where needed."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from headwater.base.hashing import portable_hash
from headwater.engine import task as tasks
from headwater.engine.external import external_sort
from headwater.engine.lineage import PerPartition
from headwater.rdd import functions
from headwater.rdd.checks import check_function, check_function_or_none, check_int
from headwater.rdd.partitioner import Partitioner
from headwater.rdd.sampling import Sampling

T = TypeVar("T")

# Sampled keys per partition of the result: the largest partition is then hardly more than 1.5 times the mean.
_SAMPLES = 60
_SAMPLE_SEED = 1


@dataclass(frozen=True)
class KeyRange:
    """A partition function by sorted bounds: below the first one is partition 0, and so on; reversed if descending."""

    bounds: tuple[Any, ...]
    sort_key: Callable[[Any], Any]
    ascending: bool

    def __call__(self, key: Any) -> int:
        below = bisect_left(self.bounds, self.sort_key(key))
        return below if self.ascending else len(self.bounds) - below


class Sorting(Sampling[T]):
    """The sorted views of an `RDD`."""

    def sortByKey(
        self,
        ascending: bool | None = True,
        numPartitions: int | None = None,
        keyfunc: Callable[[Any], Any] = functions.as_is,
    ) -> Any:
        """The pairs, sorted by key: within each partition, and from partition to partition.

        Runs a job that samples the keys, unless there is one partition only. The order of pairs
        with equal keys is not defined.

        Args:
            keyfunc: key -> what to compare.

        >>> sc.parallelize([("b", 1), ("a", 2), ("1", 3)]).sortByKey(numPartitions=2).keys().collect()
        ['1', 'a', 'b']
        """
        check_function("keyfunc", keyfunc)
        partitioner = self._partitioner(numPartitions, portable_hash)  # for the check and the number
        key = functions.first if keyfunc is functions.as_is else partial(_sort_key, keyfunc)
        sort = PerPartition(partial(sorted_partition, key, not ascending))
        if partitioner.numPartitions <= 1 or self.num_partitions == 0:
            whole: Any = self.coalesce(1) if self.num_partitions > 1 else self
            return whole._narrow(sort, True)
        bounds = self._range_bounds(keyfunc, partitioner.numPartitions)
        # Fewer distinct keys than partitions leave the last ones empty.
        ranges = Partitioner(partitioner.numPartitions, KeyRange(bounds, keyfunc, bool(ascending)))
        return self._shuffled(ranges)._narrow(sort, True)

    def _range_bounds(self, keyfunc: Callable[[Any], Any], partitions: int) -> tuple[Any, ...]:
        """Keys that divide the pairs into about equal parts, by a sample of each partition."""
        size = math.ceil(3 * _SAMPLES * partitions / self.num_partitions)
        weighted: list[tuple[Any, float]] = []
        for count, keys in self._run(partial(_sampled_keys, size)):
            weighted += ((keyfunc(key), count / len(keys)) for key in keys)
        weighted.sort(key=functions.first)
        step = sum(weight for _, weight in weighted) / partitions
        bounds: list[Any] = []
        passed = 0.0
        for key, weight in weighted:
            passed += weight
            if passed >= step * (len(bounds) + 1) and len(bounds) < partitions - 1 and (not bounds or bounds[-1] < key):
                bounds.append(key)
        return tuple(bounds)

    def sortBy(
        self, keyfunc: Callable[[T], Any], ascending: bool | None = True, numPartitions: int | None = None
    ) -> Any:
        """The records, sorted by `keyfunc(record)`.

        >>> sc.parallelize([("a", 2), ("c", 1), ("b", 3)]).sortBy(lambda pair: pair[1]).collect()
        [('c', 1), ('a', 2), ('b', 3)]
        """
        check_function("keyfunc", keyfunc)
        keyed: Any = self.keyBy(keyfunc)
        return keyed.sortByKey(ascending, numPartitions).values()

    def repartitionAndSortWithinPartitions(
        self,
        numPartitions: int | None = None,
        partitionFunc: Callable[[Any], int] = portable_hash,
        ascending: bool | None = True,
        keyfunc: Callable[[Any], Any] = functions.as_is,
    ) -> Any:
        """The pairs, partitioned by `partitionFunc(key)`, and sorted by key within each partition.

        >>> pairs = sc.parallelize([(0, 5), (3, 8), (2, 6), (0, 8), (3, 8), (1, 3)])
        >>> pairs.repartitionAndSortWithinPartitions(2, lambda key: key % 2).glom().collect()
        [[(0, 5), (0, 8), (2, 6)], [(1, 3), (3, 8), (3, 8)]]
        """
        check_function("keyfunc", keyfunc)
        key = functions.first if keyfunc is functions.as_is else partial(_sort_key, keyfunc)
        partitioned: Any = self.partitionBy(numPartitions, partitionFunc)
        return partitioned._narrow(PerPartition(partial(sorted_partition, key, not ascending)), True)

    def top(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The `num` greatest records, greatest first.

        >>> sc.parallelize([10, 4, 2, 12, 3], 2).top(2)
        [12, 10]
        """
        check_int("num", num)
        check_function_or_none("key", key)
        some = self._run(partial(functions.largest, num, key))
        return functions.largest(num, key, 0, chain.from_iterable(some))

    def takeOrdered(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The `num` least records, least first.

        >>> sc.parallelize([10, 1, 2, 9, 3], 2).takeOrdered(2)
        [1, 2]
        """
        check_int("num", num)
        check_function_or_none("key", key)
        some = self._run(partial(functions.smallest, num, key))
        return functions.smallest(num, key, 0, chain.from_iterable(some))


def _sort_key(keyfunc: Callable[[Any], Any], pair: tuple[Any, Any]) -> Any:
    return keyfunc(pair[0])


def sorted_partition(
    key: Callable[[Any], Any], reverse: bool, _partition: int, records: Iterator[Any]
) -> Iterator[Any]:
    """The records in order; runs in tasks."""
    task = tasks.current()
    assert task is not None, "runs in tasks only"
    return external_sort(records, key, reverse, task.budget, task.spill)


def _sampled_keys(size: int, partition: int, pairs: Iterator[tuple[Any, Any]]) -> tuple[int, list[Any]]:
    """How many pairs there are, and up to `size` keys, each as likely to be among them as any other.

    Reservoir sampling by K.-H. Li's algorithm L, which draws the number of records to skip, not one for each record.
    """
    sample = [key for key, _ in islice(pairs, size)]
    count = len(sample)
    if count < size:
        return count, sample
    rng = random.Random(f"{_SAMPLE_SEED}/{partition}")
    weight = 1.0
    while True:
        weight *= math.exp(math.log(1 - rng.random()) / size)
        skipped = math.floor(math.log(1 - rng.random()) / math.log1p(-weight)) if weight < 1 else 0
        passed = functions.count_records(partition, islice(pairs, skipped))
        count += passed
        following = next(pairs, None) if passed == skipped else None
        if following is None:
            return count, sample
        sample[rng.randrange(size)] = following[0]
        count += 1
