"""Operations on RDDs of pairs: combining values by key, grouping, joining.

RDDs whose keys lie in the right partitions already (their partitioner equals the one asked for) are not shuffled again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from headwater.base.hashing import portable_hash
from headwater.engine.lineage import Combiner, PerPartition, PerRecord, Together
from headwater.rdd import functions, grouping
from headwater.rdd.actions import Actions
from headwater.rdd.checks import check_function, check_num_partitions
from headwater.rdd.core import BaseRDD
from headwater.rdd.partitioner import Partitioner
from headwater.resultiterable import ResultIterable

T = TypeVar("T")
U = TypeVar("U")
Hash = Callable[[Any], int]


class Keyed(Actions[T]):
    """The pair operations of an `RDD`. Keys are hashable and compare equal only if they are one key.

    `numPartitions` None means `spark.default.parallelism` if that is set, else as many partitions as there are now.
    `partitionFunc(key) % numPartitions` is a key's partition.
    """

    # -------------------------------------------------------------------------------------------- pair by pair
    def keys(self) -> Any:
        """The keys of the pairs."""
        return self._narrow(PerRecord("keys", functions.first))

    def values(self) -> Any:
        """The values of the pairs."""
        return self._narrow(PerRecord("values", functions.second))

    def mapValues(self, f: Callable[[Any], Any]) -> Any:
        """`f(value)` for each value; keys and partitioner stay.

        >>> sc.parallelize([("a", 1), ("b", 2)]).mapValues(lambda v: v * 10).collect()
        [('a', 10), ('b', 20)]
        """
        check_function("f", f)
        return self._narrow(PerRecord("mapValues", f), True)

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> Any:
        """A pair for each record of `f(value)`, for each value; keys and partitioner stay.

        >>> sc.parallelize([("a", [1, 2]), ("b", [])]).flatMapValues(lambda v: v).collect()
        [('a', 1), ('a', 2)]
        """
        check_function("f", f)
        return self._narrow(PerRecord("flatMapValues", f), True)

    # -------------------------------------------------------------------------------------------- combining
    def partitionBy(self, numPartitions: int | None, partitionFunc: Hash = portable_hash) -> Any:
        """The pairs, each in the partition that its key belongs to."""
        partitioner = self._partitioner(numPartitions, partitionFunc)
        return self if self.partitioner == partitioner else self._shuffled(partitioner)

    def combineByKey(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> Any:
        """Each key with its values combined.

        Args:
            createCombiner: a key's first value -> combiner.
            mergeValue: (combiner, value) -> combiner; may change and return its first argument.
            mergeCombiners: (combiner, combiner) -> combiner; may change and return its first argument.

        >>> pairs = sc.parallelize([("a", 1), ("b", 1), ("a", 2)])
        >>> sorted(pairs.combineByKey(lambda v: [v], lambda c, v: c + [v], lambda a, b: a + b).collect())
        [('a', [1, 2]), ('b', [1])]
        """
        check_function("createCombiner", createCombiner)
        check_function("mergeValue", mergeValue)
        check_function("mergeCombiners", mergeCombiners)
        return self._combined(Combiner(createCombiner, mergeValue, mergeCombiners), numPartitions, partitionFunc)

    def reduceByKey(
        self, func: Callable[[Any, Any], Any], numPartitions: int | None = None, partitionFunc: Hash = portable_hash
    ) -> Any:
        """Each key with its values reduced by `func`, in the map tasks first.

        >>> sorted(sc.parallelize([("a", 1), ("b", 1), ("a", 1)]).reduceByKey(lambda a, b: a + b).collect())
        [('a', 2), ('b', 1)]
        """
        check_function("func", func)
        return self._combined(Combiner(None, func, func), numPartitions, partitionFunc)

    def foldByKey(
        self,
        zeroValue: Any,
        func: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> Any:
        """`reduceByKey` that begins with a copy of `zeroValue`, once per key and map partition."""
        check_function("func", func)
        create = partial(_add_to_copy, zeroValue, func)
        return self._combined(Combiner(create, func, func), numPartitions, partitionFunc)

    def aggregateByKey(
        self,
        zeroValue: Any,
        seqFunc: Callable[[Any, Any], Any],
        combFunc: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> Any:
        """Each key with its values added by `seqFunc` to a copy of `zeroValue`, the sums combined by `combFunc`."""
        check_function("seqFunc", seqFunc)
        check_function("combFunc", combFunc)
        create = partial(_add_to_copy, zeroValue, seqFunc)
        return self._combined(Combiner(create, seqFunc, combFunc), numPartitions, partitionFunc)

    def groupByKey(self, numPartitions: int | None = None, partitionFunc: Hash = portable_hash) -> Any:
        """Each key with all its values, as a `ResultIterable`.

        `reduceByKey` and its like are much cheaper where values are only to be summed up.

        >>> grouped = sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).groupByKey()
        >>> sorted(grouped.mapValues(list).collect())
        [('a', [1, 2]), ('b', [1])]
        """
        aggregator = Combiner(_in_list, _append, _extend, map_side=False)
        return self._combined(aggregator, numPartitions, partitionFunc).mapValues(ResultIterable)

    def groupBy(
        self, f: Callable[[T], Hashable], numPartitions: int | None = None, partitionFunc: Hash = portable_hash
    ) -> Any:
        """The records grouped by `f(record)`.

        >>> groups = sc.parallelize([1, 2, 3, 5]).groupBy(lambda x: x % 2).collect()
        >>> sorted((key, sorted(records)) for key, records in groups)
        [(0, [2]), (1, [1, 3, 5])]
        """
        check_function("f", f)
        pairs: Any = self._narrow(PerRecord("map", partial(functions.with_key, f)))
        return pairs.groupByKey(numPartitions, partitionFunc)

    def _partitioner(self, num_partitions: int | None, partition_func: Hash) -> Partitioner:
        if num_partitions is None:
            num_partitions = self._default_partitions()
        else:
            check_num_partitions(num_partitions)
        check_function("partitionFunc", partition_func)
        return Partitioner(num_partitions, partition_func)

    def _combined(self, aggregator: Combiner, num_partitions: int | None, partition_func: Hash) -> Any:
        partitioner = self._partitioner(num_partitions, partition_func)
        if self.partitioner == partitioner:
            return self._narrow(PerPartition(partial(grouping.combined, aggregator)), True)
        return self._shuffled(partitioner, aggregator)

    # -------------------------------------------------------------------------------------------- joining
    def join(self, other: Any, numPartitions: int | None = None) -> Any:
        """`(key, (left, right))` for all pairs of values of a key that both sides have.

        `numPartitions` None means `spark.default.parallelism` if that is set, else the sum of both sides' partitions,
        or the partitions that both have already if their partitioners are equal. The same holds for all joins.

        >>> x, y = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2), ("a", 3)])
        >>> sorted(x.join(y).collect())
        [('a', (1, 2)), ('a', (1, 3))]
        """
        return self._cojoined("join", grouping.inner_join, (other,), numPartitions)

    def leftOuterJoin(self, other: Any, numPartitions: int | None = None) -> Any:
        """A join that keeps the left side's pairs whose key the right side lacks, with None for the right value."""
        return self._cojoined("leftOuterJoin", grouping.left_join, (other,), numPartitions)

    def rightOuterJoin(self, other: Any, numPartitions: int | None = None) -> Any:
        """A join that keeps the right side's pairs whose key the left side lacks, with None for the left value."""
        return self._cojoined("rightOuterJoin", grouping.right_join, (other,), numPartitions)

    def fullOuterJoin(self, other: Any, numPartitions: int | None = None) -> Any:
        """A join that keeps the pairs of both sides, with None where the other side lacks the key."""
        return self._cojoined("fullOuterJoin", grouping.full_join, (other,), numPartitions)

    def cogroup(self, other: Any, numPartitions: int | None = None) -> Any:
        """`(key, (left values, right values))` for each key of either side; the values are `ResultIterable`s.

        >>> x, y = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2)])
        >>> [(key, list(map(list, sides))) for key, sides in sorted(x.cogroup(y).collect())]
        [('a', [[1], [2]]), ('b', [[4], []])]
        """
        return self._cojoined("cogroup", grouping.cogrouped, (other,), numPartitions)

    def groupWith(self, other: Any, *others: Any) -> Any:
        """`cogroup` of any number of RDDs."""
        return self._cojoined("groupWith", grouping.cogrouped, (other, *others), None)

    def subtractByKey(self, other: Any, numPartitions: int | None = None) -> Any:
        """The pairs whose key the other RDD doesn't have.

        >>> x, y = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", None)])
        >>> x.subtractByKey(y).collect()
        [('b', 4)]
        """
        return self._cojoined("subtractByKey", grouping.without_keys_of_other, (other,), numPartitions)

    def _cojoined(
        self,
        method: str,
        function: Callable[[int, list[Iterator[Any]]], Iterable[Any]],
        others: tuple[Any, ...],
        num_partitions: int | None,
    ) -> Any:
        """`function` over the partitions, of all sides, that hold the same keys."""
        for other in others:
            self._check_same_context(other, method)
        sides: tuple[BaseRDD[Any], ...] = (self, *others)
        if num_partitions is None:
            num_partitions = self.ctx.reduce_partitions or self._partitions_of_all(sides)
        partitioner = self._partitioner(num_partitions, portable_hash)
        parents = [side if side.partitioner == partitioner else side._shuffled(partitioner) for side in sides]
        return self._joined(Together(len(parents), function), parents, partitioner.numPartitions, partitioner)

    def _partitions_of_all(self, sides: tuple[BaseRDD[Any], ...]) -> int:
        if self.partitioner is not None and all(side.partitioner == self.partitioner for side in sides):
            return self.num_partitions
        return sum(side.num_partitions for side in sides)

    # -------------------------------------------------------------------------------------------- sets of records
    def distinct(self, numPartitions: int | None = None) -> Any:
        """Each record once.

        >>> sorted(sc.parallelize([1, 1, 2, 3]).distinct().collect())
        [1, 2, 3]
        """
        once = Combiner(None, functions.keep_first, functions.keep_first)
        pairs: Any = self._narrow(PerRecord("map", functions.with_none))
        return pairs._combined(once, numPartitions, portable_hash).keys()

    def intersection(self, other: Any) -> Any:
        """The records that both RDDs have, each once."""
        self._check_same_context(other, "intersection")
        with_none = PerRecord("map", functions.with_none)
        left: Any = self._narrow(with_none)
        pairs = left._cojoined("intersection", grouping.in_both, (other._narrow(with_none),), None)
        pairs.partitioner = None  # what it gives are keys, not pairs
        return pairs

    def subtract(self, other: Any, numPartitions: int | None = None) -> Any:
        """The records, with their duplicates, that the other RDD doesn't have.

        >>> sorted(sc.parallelize([1, 1, 2, 3]).subtract(sc.parallelize([3])).collect())
        [1, 1, 2]
        """
        self._check_same_context(other, "subtract")
        with_none = PerRecord("map", functions.with_none)
        pairs: Any = self._narrow(with_none)
        return pairs.subtractByKey(other._narrow(with_none), numPartitions).keys()

    # -------------------------------------------------------------------------------------------- actions
    def collectAsMap(self) -> dict[Any, Any]:
        """The pairs as a dict; of several pairs of one key the last one wins."""
        pairs: Any = self.collect()
        return dict(pairs)

    def countByKey(self) -> dict[Any, int]:
        """How many pairs each key has; a `defaultdict(int)`."""
        counts: dict[Any, int] = self.keys().countByValue()
        return counts

    def reduceByKeyLocally(self, func: Callable[[Any, Any], Any]) -> dict[Any, Any]:
        """`reduceByKey` with the result as a dict in the driver."""
        check_function("func", func)
        reduced: dict[Any, Any] = {}
        for some in self._run(partial(functions.reduced_by_key, func)):
            functions.merge_pairs(reduced, some.items(), func)
        return reduced

    def lookup(self, key: Any) -> list[Any]:
        """The values of a key. Looks at one partition only if the partitioner is known.

        >>> sc.parallelize([("a", 1), ("b", 2), ("a", 3)]).partitionBy(2).lookup("a")
        [1, 3]
        """
        partitions = range(self.num_partitions) if self.partitioner is None else [self.partitioner(key)]
        found = self._run(partial(functions.values_of, key), partitions)
        return [value for some in found for value in some]


def _add_to_copy(zero: Any, add: Callable[[Any, Any], Any], value: Any) -> Any:
    return add(copy.deepcopy(zero), value)


def _in_list(value: Any) -> list[Any]:
    return [value]


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _extend(values: list[Any], more: list[Any]) -> list[Any]:
    values += more
    return values
