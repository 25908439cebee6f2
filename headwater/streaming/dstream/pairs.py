"""Operations on streams of pairs: combining the values of a key within a batch, joining two streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.streaming.dstream.transformations import Transformations
from headwater.streaming.graph.joined import Paired

if TYPE_CHECKING:
    from headwater.resultiterable import ResultIterable
    from headwater.streaming.dstream import DStream

U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)


class PairOperations(Transformations[T_co]):
    """The methods of `DStream` for streams of `(key, value)`, batch by batch. Keys are hashable.

    `numPartitions` says how many partitions the result has: None means the context's default parallelism. The pairs of
    a key are in one of them.
    """

    def mapValues(self: PairOperations[tuple[K, V]], f: Callable[[V], U]) -> DStream[tuple[K, U]]:
        """Each value by `f`; keys, and where the pairs are, stay.

        Args:
            f: value -> new value.

        >>> harness.results(harness.stream([[("a", 1), ("b", 2)]]).mapValues(lambda v: v * 10))
        [[('a', 10), ('b', 20)]]
        """
        return self._mapped("mapValues", f)

    def flatMapValues(self: PairOperations[tuple[K, V]], f: Callable[[V], Iterable[U]]) -> DStream[tuple[K, U]]:
        """A pair for each thing that `f` gives for a value; keys, and where the pairs are, stay.

        Args:
            f: value -> an iterable of new values.

        >>> harness.results(harness.stream([[("a", "x y"), ("b", "")]]).flatMapValues(str.split))
        [[('a', 'x'), ('a', 'y')]]
        """
        return self._mapped("flatMapValues", f)

    # -------------------------------------------------------------------------------------------- the values of a key
    def reduceByKey(
        self: PairOperations[tuple[K, V]], func: Callable[[V, V], V], numPartitions: int | None = None
    ) -> DStream[tuple[K, V]]:
        """Each key of a batch with its values combined, in the map tasks first.

        Args:
            func: (value, value) -> value of the same kind; associative and commutative.
            numPartitions: of the result, at least 1.

        >>> harness.results(harness.stream([[("a", 1), ("b", 1), ("a", 1)]]).reduceByKey(lambda a, b: a + b), dict)
        [{'a': 2, 'b': 1}]
        """
        return self._mapped("reduceByKey", func, self._partitions(numPartitions))

    def combineByKey(
        self: PairOperations[tuple[K, V]],
        createCombiner: Callable[[V], U],
        mergeValue: Callable[[U, V], U],
        mergeCombiners: Callable[[U, U], U],
        numPartitions: int | None = None,
    ) -> DStream[tuple[K, U]]:
        """Each key of a batch with its values combined into something of another kind.

        Args:
            createCombiner: a key's first value -> combiner.
            mergeValue: (combiner, value) -> combiner; may change and return its first argument.
            mergeCombiners: (combiner, combiner) -> combiner; may change and return its first argument.
            numPartitions: of the result, at least 1.

        >>> pairs = harness.stream([[("a", 1), ("b", 2), ("a", 1)]])
        >>> harness.results(pairs.combineByKey(lambda v: {v}, lambda c, v: c | {v}, lambda c, d: c | d), dict)
        [{'a': {1}, 'b': {2}}]
        """
        partitions = self._partitions(numPartitions)
        return self._mapped("combineByKey", createCombiner, mergeValue, mergeCombiners, partitions)

    def groupByKey(
        self: PairOperations[tuple[K, V]], numPartitions: int | None = None
    ) -> DStream[tuple[K, ResultIterable[V]]]:
        """Each key of a batch with all its values, as a `ResultIterable`.

        `reduceByKey` and `combineByKey` are much cheaper where values are only to be summed up.

        Args:
            numPartitions: of the result, at least 1.

        >>> grouped = harness.stream([[("a", 1), ("b", 2), ("a", 3)]]).groupByKey()
        >>> harness.results(grouped.mapValues(sorted), dict)
        [{'a': [1, 3], 'b': [2]}]
        """
        return self._mapped("groupByKey", self._partitions(numPartitions))

    def partitionBy(
        self: PairOperations[tuple[K, V]], numPartitions: int, partitionFunc: Callable[[K], int] | None = None
    ) -> DStream[tuple[K, V]]:
        """The same pairs, each in the partition that its key belongs to.

        Args:
            numPartitions: at least 1.
            partitionFunc: key -> int; a key's partition is `partitionFunc(key) % numPartitions`. None: the key's hash,
                which is the same in every process.

        >>> pairs = harness.stream([[(1, "a"), (2, "b"), (3, "c")]])
        >>> harness.results(pairs.partitionBy(2, lambda key: key).glom())
        [[[(2, 'b')], [(1, 'a'), (3, 'c')]]]
        """
        return self._mapped(
            "partitionBy", self._partitions(numPartitions), *(() if partitionFunc is None else (partitionFunc,))
        )

    # -------------------------------------------------------------------------------------------- with another stream
    def cogroup(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[ResultIterable[V], ResultIterable[W]]]]:
        """`(key, (its values here, its values there))`, two `ResultIterable`s, for each key of either stream's batch.

        Args:
            other: as for `join`.
            numPartitions: of the result, at least 1.

        >>> left, right = harness.stream([[("a", 1), ("a", 2)]]), harness.stream([[("b", 3)]])
        >>> both = left.cogroup(right).mapValues(lambda sides: [sorted(side) for side in sides])
        >>> harness.results(both, dict)
        [{'a': [[1, 2], []], 'b': [[], [3]]}]
        """
        return self._paired("cogroup", other, numPartitions)

    def join(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W]]]:
        """`(key, (value here, value there))` for each two pairs of a batch that have one key.

        Args:
            other: a stream of pairs; if its slide is longer, it counts as empty in the batches between.
            numPartitions: of the result, at least 1.

        >>> prices, names = harness.stream([[("a", 5), ("b", 7)]]), harness.stream([[("a", "apple")]])
        >>> harness.results(prices.join(names))
        [[('a', (5, 'apple'))]]
        """
        return self._paired("join", other, numPartitions)

    def leftOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W | None]]]:
        """`join`, and each pair here whose key is missing there, with None for the value there.

        Args:
            other: as for `join`.
            numPartitions: of the result, at least 1.

        >>> prices, names = harness.stream([[("a", 5), ("b", 7)]]), harness.stream([[("a", "apple")]])
        >>> harness.results(prices.leftOuterJoin(names), sorted)
        [[('a', (5, 'apple')), ('b', (7, None))]]
        """
        return self._paired("leftOuterJoin", other, numPartitions)

    def rightOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W]]]:
        """`join`, and each pair there whose key is missing here, with None for the value here.

        Args:
            other: as for `join`.
            numPartitions: of the result, at least 1.

        >>> prices, names = harness.stream([[("a", 5)]]), harness.stream([[("a", "apple"), ("b", "beer")]])
        >>> harness.results(prices.rightOuterJoin(names), sorted)
        [[('a', (5, 'apple')), ('b', (None, 'beer'))]]
        """
        return self._paired("rightOuterJoin", other, numPartitions)

    def fullOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W | None]]]:
        """`join`, and each pair of either side whose key is missing on the other, with None for the value there.

        Args:
            other: as for `join`.
            numPartitions: of the result, at least 1.

        >>> prices, names = harness.stream([[("a", 5)]]), harness.stream([[("b", "beer")]])
        >>> harness.results(prices.fullOuterJoin(names), sorted)
        [[('a', (5, None)), ('b', (None, 'beer'))]]
        """
        return self._paired("fullOuterJoin", other, numPartitions)

    def _paired(self, method: str, other: DStream[Any], partitions: int | None) -> DStream[Any]:
        self._check_stream(other, method)
        return self._new(Paired(self._sc, self._node, other._node, method, self._partitions(partitions)))
