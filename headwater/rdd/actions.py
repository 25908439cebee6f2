"""Actions on records of any kind: they run a job and bring its result to the driver."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import chain
from math import ceil
from operator import add
from typing import Any, TypeVar, cast

from headwater.engine.lineage import Combiner, PerPartition
from headwater.rdd import functions
from headwater.rdd.checks import check_function, check_function_or_none, check_int
from headwater.rdd.core import BaseRDD
from headwater.rdd.partitioner import Partitioner

T = TypeVar("T")
U = TypeVar("U")
# `take` looks at one partition first, then each time at this many times as many as it has seen.
_TAKE_GROWTH = 4


class Actions(BaseRDD[T]):
    """The actions of an `RDD`."""

    # -------------------------------------------------------------------------------------------- records
    def collect(self) -> list[T]:
        """All records, in the order of the partitions."""
        return list(chain.from_iterable(self._run(functions.as_list)))

    def collectWithJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> list[T]:
        """`collect`, as a job of the group given instead of this thread's."""
        with self.ctx.job_properties_restored():
            self.ctx.setJobGroup(groupId, description, interruptOnCancel)
            return self.collect()

    def toLocalIterator(self, prefetchPartitions: bool = False) -> Iterator[T]:
        """All records, with one partition at a time in the driver.

        Args:
            prefetchPartitions: have the next partition computed while this one is being read.
        """
        self.ctx.check_running()
        return chain.from_iterable(self._partition_by_partition(prefetchPartitions))

    def _partition_by_partition(self, prefetch: bool) -> Iterator[list[T]]:
        if not prefetch:
            for partition in range(self.num_partitions):
                yield self._run(functions.as_list, [partition])[0]
            return
        coming = None
        for partition in range(self.num_partitions):
            ready = coming or self.ctx.submit_job(self, functions.as_list, [partition])
            coming = None
            if partition + 1 < self.num_partitions:
                coming = self.ctx.submit_job(self, functions.as_list, [partition + 1])
            yield ready.result(None)[0]

    def take(self, num: int) -> list[T]:
        """The first `num` records, or all if there are fewer. Looks at as few partitions as it can.

        >>> sc.parallelize(range(100), 10).take(3)
        [0, 1, 2]
        """
        check_int("num", num)
        taken: list[T] = []
        scanned = 0
        while len(taken) < num and scanned < self.num_partitions:
            upto = min(self.num_partitions, scanned + max(1, scanned * _TAKE_GROWTH))
            for some in self._run(partial(functions.first_records, num - len(taken)), range(scanned, upto)):
                taken += some[: num - len(taken)]
            scanned = upto
        return taken

    def first(self) -> T:
        """The first record.

        Raises:
            ValueError: there is none.
        """
        for record in self.take(1):
            return record
        raise ValueError("RDD is empty")

    def isEmpty(self) -> bool:
        """Whether there is no record at all. An RDD with partitions may be empty."""
        return self.num_partitions == 0 or not self.take(1)

    def count(self) -> int:
        """The number of records.

        >>> sc.parallelize([2, 3, 4]).count()
        3
        """
        return sum(self._run(functions.count_records))

    def countByValue(self) -> dict[T, int]:
        """How often each record occurs; a `defaultdict(int)`.

        >>> sorted(sc.parallelize([1, 2, 1, 2, 2], 2).countByValue().items())
        [(1, 2), (2, 3)]
        """
        counts: dict[T, int] = defaultdict(int)
        for some in self._run(functions.count_values):
            for record, n in some.items():
                counts[record] += n
        return counts

    # -------------------------------------------------------------------------------------------- one value of all
    def reduce(self, f: Callable[[T, T], T]) -> T:
        """All records reduced to one by `f`, which is commutative and associative.

        Raises:
            ValueError: there is no record.

        >>> sc.parallelize([1, 2, 3, 4, 5]).reduce(lambda a, b: a + b)
        15
        """
        check_function("f", f)
        return self._reduced(self._run(partial(functions.reduced, f)), f)

    @staticmethod
    def _reduced(partitions: list[list[T]], f: Callable[[T, T], T]) -> T:
        values = list(chain.from_iterable(partitions))
        if not values:
            raise ValueError("Can not reduce() empty RDD")
        return reduce(f, values)

    def treeReduce(self, f: Callable[[T, T], T], depth: int = 2) -> T:
        """`reduce`, with the partitions' results reduced in the workers first, in a tree of that depth.

        Raises:
            ValueError: there is no record, or the depth is below 1.
        """
        check_function("f", f)
        _check_depth(depth)
        partials = self._narrow(PerPartition(partial(functions.reduced, f)))
        return self._reduced(_tree(partials, f, depth)._run(functions.as_list), f)

    def fold(self, zeroValue: T, op: Callable[[T, T], T]) -> T:
        """Records folded by `op` in each partition, then the results; each fold begins with `zeroValue`.

        >>> sc.parallelize([1, 2, 3, 4, 5], 2).fold(0, lambda a, b: a + b)
        15
        """
        check_function("op", op)
        return reduce(op, self._run(partial(functions.aggregated, zeroValue, op)), copy.deepcopy(zeroValue))

    def aggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U]) -> U:
        """Records added by `seqOp` in each partition, the results by `combOp`; all begin with a copy of `zeroValue`.

        >>> numbers = sc.parallelize([1, 2, 3, 4], 2)
        >>> numbers.aggregate((0, 0), lambda a, x: (a[0] + x, a[1] + 1), lambda a, b: (a[0] + b[0], a[1] + b[1]))
        (10, 4)
        """
        check_function("seqOp", seqOp)
        check_function("combOp", combOp)
        return reduce(combOp, self._run(partial(functions.aggregated, zeroValue, seqOp)), copy.deepcopy(zeroValue))

    def treeAggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U], depth: int = 2) -> U:
        """`aggregate`, with the partitions' results combined in the workers first, in a tree of that depth.

        Raises:
            ValueError: the depth is below 1.
        """
        check_function("seqOp", seqOp)
        check_function("combOp", combOp)
        _check_depth(depth)
        if self.num_partitions == 0:
            return zeroValue
        partials = self._narrow(PerPartition(partial(functions.aggregated_as_record, zeroValue, seqOp)))
        return cast(U, self._reduced(_tree(partials, combOp, depth)._run(functions.as_list), cast(Any, combOp)))

    def max(self, key: Callable[[T], Any] | None = None) -> T:
        """The greatest record, or the one whose `key(record)` is greatest.

        Raises:
            ValueError: there is no record.
        """
        check_function_or_none("key", key)
        return self._extreme(max, key)

    def min(self, key: Callable[[T], Any] | None = None) -> T:
        """The least record, or the one whose `key(record)` is least.

        Raises:
            ValueError: there is no record.
        """
        check_function_or_none("key", key)
        return self._extreme(min, key)

    def _extreme(self, choose: Callable[..., Any], key: Callable[[T], Any] | None) -> T:
        of_partition = partial(functions.extreme, choose, key)
        best: list[T] = of_partition(0, chain.from_iterable(self._run(of_partition)))
        if not best:
            raise ValueError("Can not reduce() empty RDD")
        return best[0]

    def sum(self) -> Any:
        """The sum of the records; 0 if there are none."""
        return reduce(add, self._run(functions.sum_records), 0)


def _check_depth(depth: Any) -> None:
    check_int("depth", depth)
    if depth < 1:
        raise ValueError(f"Depth cannot be smaller than 1 but got {depth}.")


def _tree(partials: BaseRDD[Any], f: Callable[[Any, Any], Any], depth: int) -> BaseRDD[Any]:
    """Combine the partitions' results by shuffles to fewer partitions, while that saves the driver work."""
    aggregator = Combiner(None, f, f)
    n = partials.num_partitions
    scale = max(ceil(n ** (1.0 / depth)), 2)
    while n > scale + n / scale:
        n //= scale
        keyed = partials._narrow(PerPartition(partial(functions.for_parent, n)))
        partials = keyed._shuffled(Partitioner(n, functions.as_is), aggregator)._narrow(PerPartition(_values))
    return partials


def _values(_partition: int, pairs: Iterator[tuple[Any, Any]]) -> Iterator[Any]:
    return map(functions.second, pairs)
