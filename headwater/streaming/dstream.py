"""DStream: a stream of records as a sequence of RDDs, one each slide. The public face of a node of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headwater.errors import UnsupportedOperationException
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import instant_ms
from headwater.streaming.notyet import OF_DSTREAM, refuse
from headwater.streaming.operators.functions import call_site, takes_time
from headwater.streaming.operators.joined import Paired, TransformedWith, United
from headwater.streaming.operators.mapped import Counted, Mapped, Reduced, Transformed
from headwater.streaming.operators.output import Output, printer

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.operators.node import Node


class DStream:
    """A discretized stream. Made by a StreamingContext's sources and by the methods of other streams.

    Functions that take records run in the workers. Functions that take RDDs (transform, foreachRDD) run in the
    driver: that of `transform` when a batch is generated, that of `foreachRDD` when its turn to run has come. They may
    take the batch time, a naive local datetime, as their first argument.

    All methods that make a stream or an output raise `IllegalStateException` once the context has started.
    """

    def __init__(self, node: Node, ssc: StreamingContext) -> None:
        self._node = node
        self._ssc = ssc
        self._sc = ssc.sparkContext

    def __getattr__(self, name: str) -> Any:
        refuse(self, name, OF_DSTREAM)

    @property
    def is_cached(self) -> bool:
        """Whether its RDDs are persisted."""
        return self._node.storage_level is not None

    @property
    def is_checkpointed(self) -> bool:
        """Whether its RDDs are checkpointed: never, so far."""
        return False

    @property
    def _slideDuration(self) -> float:
        return self._node.slide_ms / 1000

    def context(self) -> StreamingContext:
        """The StreamingContext that made it."""
        return self._ssc

    # -------------------------------------------------------------------------------------------- record by record
    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = False) -> DStream:
        """`f(record)` for each record."""
        return self._mapped("map", f, preservesPartitioning)

    def flatMap(self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = False) -> DStream:
        """All records of `f(record)` for each record."""
        return self._mapped("flatMap", f, preservesPartitioning)

    def filter(self, f: Callable[[Any], Any]) -> DStream:
        """The records for which `f(record)` is true."""
        return self._mapped("filter", f)

    def mapPartitions(
        self, f: Callable[[Iterable[Any]], Iterable[Any]], preservesPartitioning: bool = False
    ) -> DStream:
        """All records of `f(iterator over a partition)` for each partition."""
        return self._mapped("mapPartitions", f, preservesPartitioning)

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterable[Any]], Iterable[Any]], preservesPartitioning: bool = False
    ) -> DStream:
        """All records of `f(index, iterator over a partition)` for each partition."""
        return self._mapped("mapPartitionsWithIndex", f, preservesPartitioning)

    def glom(self) -> DStream:
        """A list of records for each partition."""
        return self._mapped("glom")

    def mapValues(self, f: Callable[[Any], Any]) -> DStream:
        """`(key, f(value))` for each pair; keeps the partitioner."""
        return self._mapped("mapValues", f)

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> DStream:
        """`(key, v)` for each v of `f(value)`, for each pair; keeps the partitioner."""
        return self._mapped("flatMapValues", f)

    # -------------------------------------------------------------------------------------------- within a batch
    def reduceByKey(self, func: Callable[[Any, Any], Any], numPartitions: int | None = None) -> DStream:
        """The values of each key of a batch, combined by `func`, which must be associative and commutative."""
        return self._mapped("reduceByKey", func, self._partitions(numPartitions))

    def combineByKey(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
    ) -> DStream:
        """The values of each key of a batch as one combiner."""
        partitions = self._partitions(numPartitions)
        return self._mapped("combineByKey", createCombiner, mergeValue, mergeCombiners, partitions)

    def groupByKey(self, numPartitions: int | None = None) -> DStream:
        """`(key, ResultIterable of its values)` for each key of a batch."""
        return self._mapped("groupByKey", self._partitions(numPartitions))

    def countByValue(self) -> DStream:
        """`(record, how often)` for each different record of a batch."""
        return self.map(_with_one).reduceByKey(_add)

    def count(self) -> DStream:
        """One record a batch: how many records it has. An empty batch gives 0, also where PySpark gives nothing."""
        return self._new(Counted((self._node,)))

    def reduce(self, func: Callable[[Any, Any], Any]) -> DStream:
        """One record a batch: all records combined by `func`; nothing for an empty batch."""
        return self._new(Reduced(self._node, func))

    def repartition(self, numPartitions: int) -> DStream:
        """The same records in so many partitions."""
        return self._mapped("repartition", numPartitions)

    def partitionBy(self, numPartitions: int, partitionFunc: Callable[[Any], int] | None = None) -> DStream:
        """The same pairs, each in partition `partitionFunc(key) % numPartitions`; by default the key's hash."""
        return self._mapped("partitionBy", numPartitions, *(() if partitionFunc is None else (partitionFunc,)))

    # -------------------------------------------------------------------------------------------- with another stream
    def union(self, other: DStream) -> DStream:
        """The records of both streams.

        Raises:
            ValueError: their slides differ.
        """
        if self._node.slide_ms != other._node.slide_ms:
            raise ValueError(
                f"the two DStream should have same slide duration, not {self._slideDuration} and "
                f"{other._slideDuration} seconds"
            )
        return self._new(United(self._sc, (self._node, other._node)))

    def cogroup(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """`(key, (values here, values there))` for each key of either stream's batch."""
        return self._paired("cogroup", other, numPartitions)

    def join(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """`(key, (value here, value there))` for each two pairs with the same key."""
        return self._paired("join", other, numPartitions)

    def leftOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """Like `join`, with None for the value that is missing there."""
        return self._paired("leftOuterJoin", other, numPartitions)

    def rightOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """Like `join`, with None for the value that is missing here."""
        return self._paired("rightOuterJoin", other, numPartitions)

    def fullOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """Like `join`, with None for a value that is missing on either side."""
        return self._paired("fullOuterJoin", other, numPartitions)

    def transformWith(self, func: Callable[..., Any], other: DStream, keepSerializer: bool = False) -> DStream:
        """The RDDs that `func(rdd, other's rdd)` or `func(time, rdd, other's rdd)` returns.

        Args:
            func: called in the driver when a batch is generated; returns an RDD, or None for none.
            other: a stream without an RDD in some batch gives an empty one.
            keepSerializer: accepted for PySpark's sake.

        Raises:
            AssertionError: `func` takes neither two nor three arguments.
        """
        node = TransformedWith(self._sc, (self._node, other._node), func, with_time=takes_time(func, 2))
        return self._new(node)

    # -------------------------------------------------------------------------------------------- RDD by RDD
    def transform(self, func: Callable[..., Any]) -> DStream:
        """The RDDs that `func(rdd)` or `func(time, rdd)` returns.

        Args:
            func: called in the driver when a batch is generated; returns an RDD, or None for none in this batch.

        Raises:
            AssertionError: `func` takes neither one nor two arguments.
        """
        return self._new(Transformed(self._node, func, with_time=takes_time(func, 1)))

    def foreachRDD(self, func: Callable[..., Any]) -> None:
        """Call `func(rdd)` or `func(time, rdd)` for each batch, in order; actions in it make things happen.

        Args:
            func: called in the driver. What it raises fails this output of this batch: see `awaitTermination`.

        Raises:
            AssertionError: `func` takes neither one nor two arguments.
        """
        self._output("foreachRDD", func, with_time=takes_time(func, 1))

    def pprint(self, num: int = 10) -> None:
        """Print the first `num` records of each batch, below its time."""
        self._output("pprint", printer(num), with_time=True)

    def slice(self, begin: datetime | float, end: datetime | float) -> list[RDD[Any]]:
        """The RDDs of the batches from `begin` to `end`, both included, as far as they are generated and remembered.

        Args:
            begin: a datetime (naive means local) or seconds since the epoch.
            end: likewise.

        Raises:
            SparkException: the context has not started.
        """
        return self._ssc._slice(self._node, instant_ms(begin), instant_ms(end))

    # -------------------------------------------------------------------------------------------- keeping
    def cache(self) -> DStream:
        """Keep each RDD in memory for as long as the stream remembers it; returns the stream."""
        return self.persist(StorageLevel.MEMORY_ONLY)

    def persist(self, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> DStream:
        """Keep each RDD at this level for as long as the stream remembers it; returns the stream.

        Raises:
            UnsupportedOperationException: the context has started, or the stream has another level.
        """
        if self._ssc._has_started():
            raise UnsupportedOperationException(
                "Cannot change storage level of a DStream after streaming context has started"
            )
        level = self._node.storage_level
        if level is not None and level != storageLevel:
            raise UnsupportedOperationException(
                f"Cannot change storage level of a DStream after it has been set: it is {level}, not {storageLevel}"
            )
        self._node.storage_level = storageLevel
        return self

    def checkpoint(self, interval: float) -> DStream:
        """Not yet: streams can't be checkpointed.

        Raises:
            UnsupportedOperationException: always.
        """
        raise UnsupportedOperationException(
            "Checkpoints of streams are not there yet: they come with recovery (checkpoint(), getOrCreate). Until then "
            "persist() keeps the RDDs of a stream while the program runs."
        )

    # -------------------------------------------------------------------------------------------- how they are made
    def _new(self, node: Node) -> DStream:
        self._ssc._check_can_add()
        return DStream(node, self._ssc)

    def _mapped(self, method: str, *arguments: Any) -> DStream:
        return self._new(Mapped(self._node, method, *arguments))

    def _paired(self, method: str, other: DStream, partitions: int | None) -> DStream:
        return self._new(Paired(self._sc, self._node, other._node, method, self._partitions(partitions)))

    def _output(self, operation: str, function: Callable[..., Any], *, with_time: bool) -> None:
        name, description = call_site(operation)
        output = Output(self._node, function, with_time=with_time, name=name, description=description)
        self._ssc._add_output(output)

    def _partitions(self, partitions: int | None) -> int:
        return self._sc.defaultParallelism if partitions is None else partitions


def _with_one(record: Any) -> tuple[Any, int]:
    return record, 1


def _add(a: int, b: int) -> int:
    return a + b
