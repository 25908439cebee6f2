"""Transformations of a DStream that may have any records: record by record, a batch as a whole, with another stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import add
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.base.callables import takes_time
from headwater.rdd.checks import check_function
from headwater.streaming.dstream.core import StreamCore
from headwater.streaming.graph.joined import TransformedWith, United
from headwater.streaming.graph.mapped import Reduced, Transformed

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.streaming.dstream import DStream

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)


class Transformations(StreamCore[T_co]):
    """The methods of `DStream` that make another stream of its batches."""

    # -------------------------------------------------------------------------------------------- record by record
    def map(self, f: Callable[[T_co], U], preservesPartitioning: bool = False) -> DStream[U]:
        """`f(record)` for each record."""
        return self._mapped("map", f, preservesPartitioning)

    def flatMap(self, f: Callable[[T_co], Iterable[U]], preservesPartitioning: bool = False) -> DStream[U]:
        """All records of `f(record)` for each record."""
        return self._mapped("flatMap", f, preservesPartitioning)

    def filter(self, f: Callable[[T_co], Any]) -> DStream[T_co]:
        """The records for which `f(record)` is true."""
        return self._mapped("filter", f)

    def mapPartitions(
        self, f: Callable[[Iterator[T_co]], Iterable[U]], preservesPartitioning: bool = False
    ) -> DStream[U]:
        """All records of `f(iterator over a partition)` for each partition."""
        return self._mapped("mapPartitions", f, preservesPartitioning)

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[T_co]], Iterable[U]], preservesPartitioning: bool = False
    ) -> DStream[U]:
        """All records of `f(index, iterator over a partition)` for each partition."""
        return self._mapped("mapPartitionsWithIndex", f, preservesPartitioning)

    def glom(self) -> DStream[list[T_co]]:
        """A list of records for each partition."""
        return self._mapped("glom")

    # -------------------------------------------------------------------------------------------- a batch as a whole
    def reduce(self: Transformations[T], func: Callable[[T, T], T]) -> DStream[T]:
        """One record a batch: all records combined by `func`; nothing for an empty batch."""
        check_function("func", func)
        return self._new(Reduced(self._node, func))

    def countByValue(self) -> DStream[tuple[T_co, int]]:
        """`(record, how often)` for each different record of a batch."""
        return self.map(with_one).reduceByKey(add)

    def repartition(self, numPartitions: int) -> DStream[T_co]:
        """The same records in so many partitions."""
        return self._mapped("repartition", numPartitions)

    def transform(self, func: Callable[..., RDD[U] | None]) -> DStream[U]:
        """The RDDs that `func(rdd)` or `func(time, rdd)` returns.

        Args:
            func: called in the driver when a batch is generated; returns an RDD, or None for none in this batch.

        Raises:
            AssertionError: `func` takes neither one nor two arguments.
        """
        return self._new(Transformed(self._node, func, with_time=takes_time(func, 1)))

    # -------------------------------------------------------------------------------------------- with another stream
    def union(self, other: DStream[U]) -> DStream[T_co | U]:
        """The records of both streams.

        Raises:
            ValueError: their slides differ.
        """
        self._check_stream(other, "union")
        if self._node.slide_ms != other._node.slide_ms:
            raise ValueError(
                f"the two DStream should have same slide duration, not {self._slideDuration} and "
                f"{other._slideDuration} seconds"
            )
        return self._new(United(self._sc, (self._node, other._node)))

    def transformWith(
        self, func: Callable[..., RDD[U] | None], other: DStream[Any], keepSerializer: bool = False
    ) -> DStream[U]:
        """The RDDs that `func(rdd, other's rdd)` or `func(time, rdd, other's rdd)` returns.

        Args:
            func: called in the driver when a batch is generated; returns an RDD, or None for none.
            other: a stream without an RDD in some batch gives an empty one.
            keepSerializer: accepted for PySpark's sake.

        Raises:
            AssertionError: `func` takes neither two nor three arguments.
        """
        self._check_stream(other, "transformWith")
        node = TransformedWith(self._sc, (self._node, other._node), func, with_time=takes_time(func, 2))
        return self._new(node)


def with_one(record: Any) -> tuple[Any, int]:
    """The pair of which `countByValue` sums up the second half."""
    return record, 1
