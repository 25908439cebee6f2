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
    """The methods of `DStream` for streams of `(key, value)`."""

    def mapValues(self: PairOperations[tuple[K, V]], f: Callable[[V], U]) -> DStream[tuple[K, U]]:
        """`(key, f(value))` for each pair; keeps the partitioner."""
        return self._mapped("mapValues", f)

    def flatMapValues(self: PairOperations[tuple[K, V]], f: Callable[[V], Iterable[U]]) -> DStream[tuple[K, U]]:
        """`(key, v)` for each v of `f(value)`, for each pair; keeps the partitioner."""
        return self._mapped("flatMapValues", f)

    # -------------------------------------------------------------------------------------------- the values of a key
    def reduceByKey(
        self: PairOperations[tuple[K, V]], func: Callable[[V, V], V], numPartitions: int | None = None
    ) -> DStream[tuple[K, V]]:
        """The values of each key of a batch, combined by `func`, which must be associative and commutative."""
        return self._mapped("reduceByKey", func, self._partitions(numPartitions))

    def combineByKey(
        self: PairOperations[tuple[K, V]],
        createCombiner: Callable[[V], U],
        mergeValue: Callable[[U, V], U],
        mergeCombiners: Callable[[U, U], U],
        numPartitions: int | None = None,
    ) -> DStream[tuple[K, U]]:
        """The values of each key of a batch as one combiner."""
        partitions = self._partitions(numPartitions)
        return self._mapped("combineByKey", createCombiner, mergeValue, mergeCombiners, partitions)

    def groupByKey(
        self: PairOperations[tuple[K, V]], numPartitions: int | None = None
    ) -> DStream[tuple[K, ResultIterable[V]]]:
        """`(key, ResultIterable of its values)` for each key of a batch."""
        return self._mapped("groupByKey", self._partitions(numPartitions))

    def partitionBy(
        self: PairOperations[tuple[K, V]], numPartitions: int, partitionFunc: Callable[[K], int] | None = None
    ) -> DStream[tuple[K, V]]:
        """The same pairs, each in partition `partitionFunc(key) % numPartitions`; by default the key's hash."""
        return self._mapped("partitionBy", numPartitions, *(() if partitionFunc is None else (partitionFunc,)))

    # -------------------------------------------------------------------------------------------- with another stream
    def cogroup(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[ResultIterable[V], ResultIterable[W]]]]:
        """`(key, (values here, values there))` for each key of either stream's batch."""
        return self._paired("cogroup", other, numPartitions)

    def join(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W]]]:
        """`(key, (value here, value there))` for each two pairs with the same key."""
        return self._paired("join", other, numPartitions)

    def leftOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W | None]]]:
        """Like `join`, with None for the value that is missing there."""
        return self._paired("leftOuterJoin", other, numPartitions)

    def rightOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W]]]:
        """Like `join`, with None for the value that is missing here."""
        return self._paired("rightOuterJoin", other, numPartitions)

    def fullOuterJoin(
        self: PairOperations[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W | None]]]:
        """Like `join`, with None for a value that is missing on either side."""
        return self._paired("fullOuterJoin", other, numPartitions)

    def _paired(self, method: str, other: DStream[Any], partitions: int | None) -> DStream[Any]:
        self._check_stream(other, method)
        return self._new(Paired(self._sc, self._node, other._node, method, self._partitions(partitions)))
