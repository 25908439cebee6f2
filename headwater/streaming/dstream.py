"""DStream: a stream of records as a sequence of RDDs, one each slide. The public face of a node of the graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from operator import add, sub
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headwater.base.callables import call_site, takes_time
from headwater.base.callsite import place
from headwater.base.hashing import portable_hash
from headwater.errors import UnsupportedOperationException
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function, check_function_or_none, check_num_partitions
from headwater.rdd.functions import second
from headwater.rdd.partitioner import Partitioner
from headwater.resultiterable import ResultIterable
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import duration_ms, instant_ms
from headwater.streaming.graph.incremental import IncrementalWindow
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.graph.joined import Paired, TransformedWith, United
from headwater.streaming.graph.mapped import Counted, Mapped, Reduced, Transformed, with_none
from headwater.streaming.graph.mapwithstate import MappedWithState, Snapshots, WithState
from headwater.streaming.graph.output import Output, printer
from headwater.streaming.graph.stateful import Updated
from headwater.streaming.graph.versioned import Versioned
from headwater.streaming.graph.windowed import Windowed, window_ms
from headwater.streaming.outputs.batchoutput import BatchOutput, FunctionOutput
from headwater.streaming.outputs.fileoutputs import WithFileOutputs
from headwater.streaming.outputs.transactions import TABLE, TransactionalOutput
from headwater.streaming.sources.constant import ConstantInput
from headwater.streaming.state import StateSpec
from headwater.streaming.util import rddToFileName as rddToFileName

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.graph.node import Node
    from headwater.streaming.pool import ConnectionPool


T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)


class DStream(WithFileOutputs, Generic[T_co]):
    """A discretized stream: `DStream[str]` has text records. Made by a context's sources and by other streams' methods.

    Functions that take records run in the workers. Functions that take RDDs (transform, foreachRDD) run in the
    driver: that of `transform` when a batch is generated, that of `foreachRDD` when its turn to run has come. They may
    take the batch time, a naive local datetime, as their first argument.

    All methods that make a stream or an output raise `IllegalStateException` once the context has started.
    """

    def __init__(self, node: Node, ssc: StreamingContext) -> None:
        self._node = node
        self._ssc = ssc
        self._sc = ssc.sparkContext
        node.place = node.place or place()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._node.describe()}, every {self._slideDuration:g} s>"

    @property
    def is_cached(self) -> bool:
        """Whether its RDDs are persisted."""
        return self._node.keeper.storage_level is not None

    @property
    def is_checkpointed(self) -> bool:
        """Whether its RDDs are checkpointed, or the state that they are read from."""
        return self._node.checkpoint_ms is not None or isinstance(self._node, Versioned)

    @property
    def _slideDuration(self) -> float:
        return self._node.slide_ms / 1000

    def context(self) -> StreamingContext:
        """The StreamingContext that made it."""
        return self._ssc

    @property
    def node(self) -> Node:
        """Its node of the stream graph, for connectors and tools."""
        return self._node

    def uid(self, name: str) -> DStream[T_co]:
        """Give an input stream, or a state, the name under which checkpoints know it; returns the stream.

        Without one it's known by its position in the program, so that `getOrCreate(..., upgrade=True)` finds what it
        held only as long as no stream is put in before it. Other streams hold nothing of their own.

        Args:
            name: unique in the program: letters, digits, `.`, `_` and `-`; it becomes a directory's name.

        Raises:
            ValueError: the name is no such text, or the stream is neither an input nor a state.
        """
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"uid must be made of letters, digits, '.', '_' and '-', not {name!r}")
        node = self._node.checkpointed
        if not isinstance(node, (InputNode, Versioned)):
            raise ValueError(
                f"uid {name!r}: only input streams and states have one (updateStateByKey, mapWithState, windows by "
                f"inverse), and this is a {self._node.describe()}. Checkpoints hold nothing of it."
            )
        self._ssc._check_can_add()
        node.uid = name
        return self

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

    def mapValues(self: DStream[tuple[K, V]], f: Callable[[V], U]) -> DStream[tuple[K, U]]:
        """`(key, f(value))` for each pair; keeps the partitioner."""
        return self._mapped("mapValues", f)

    def flatMapValues(self: DStream[tuple[K, V]], f: Callable[[V], Iterable[U]]) -> DStream[tuple[K, U]]:
        """`(key, v)` for each v of `f(value)`, for each pair; keeps the partitioner."""
        return self._mapped("flatMapValues", f)

    # -------------------------------------------------------------------------------------------- within a batch
    def reduceByKey(
        self: DStream[tuple[K, V]], func: Callable[[V, V], V], numPartitions: int | None = None
    ) -> DStream[tuple[K, V]]:
        """The values of each key of a batch, combined by `func`, which must be associative and commutative."""
        return self._mapped("reduceByKey", func, self._partitions(numPartitions))

    def combineByKey(
        self: DStream[tuple[K, V]],
        createCombiner: Callable[[V], U],
        mergeValue: Callable[[U, V], U],
        mergeCombiners: Callable[[U, U], U],
        numPartitions: int | None = None,
    ) -> DStream[tuple[K, U]]:
        """The values of each key of a batch as one combiner."""
        partitions = self._partitions(numPartitions)
        return self._mapped("combineByKey", createCombiner, mergeValue, mergeCombiners, partitions)

    def groupByKey(
        self: DStream[tuple[K, V]], numPartitions: int | None = None
    ) -> DStream[tuple[K, ResultIterable[V]]]:
        """`(key, ResultIterable of its values)` for each key of a batch."""
        return self._mapped("groupByKey", self._partitions(numPartitions))

    def countByValue(self) -> DStream[tuple[T_co, int]]:
        """`(record, how often)` for each different record of a batch."""
        return self.map(_with_one).reduceByKey(add)

    def count(self) -> DStream[int]:
        """One record a batch: how many records it has. An empty batch gives 0, also where PySpark gives nothing."""
        node = self._node
        if isinstance(node, Windowed):
            # The sum of what its batches count: a window of thousands of batches costs as little as one of ten.
            batches: DStream[int] = DStream(node.parents[0], self._ssc).count()
            return batches._counted_window(node.window_ms, node.slide_ms, must_checkpoint=False)
        return self._new(Counted((node,)))

    def reduce(self: DStream[T], func: Callable[[T, T], T]) -> DStream[T]:
        """One record a batch: all records combined by `func`; nothing for an empty batch."""
        check_function("func", func)
        return self._new(Reduced(self._node, func))

    def repartition(self, numPartitions: int) -> DStream[T_co]:
        """The same records in so many partitions."""
        return self._mapped("repartition", numPartitions)

    def partitionBy(
        self: DStream[tuple[K, V]], numPartitions: int, partitionFunc: Callable[[K], int] | None = None
    ) -> DStream[tuple[K, V]]:
        """The same pairs, each in partition `partitionFunc(key) % numPartitions`; by default the key's hash."""
        return self._mapped("partitionBy", numPartitions, *(() if partitionFunc is None else (partitionFunc,)))

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

    def cogroup(
        self: DStream[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[ResultIterable[V], ResultIterable[W]]]]:
        """`(key, (values here, values there))` for each key of either stream's batch."""
        return self._paired("cogroup", other, numPartitions)

    def join(
        self: DStream[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W]]]:
        """`(key, (value here, value there))` for each two pairs with the same key."""
        return self._paired("join", other, numPartitions)

    def leftOuterJoin(
        self: DStream[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V, W | None]]]:
        """Like `join`, with None for the value that is missing there."""
        return self._paired("leftOuterJoin", other, numPartitions)

    def rightOuterJoin(
        self: DStream[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W]]]:
        """Like `join`, with None for the value that is missing here."""
        return self._paired("rightOuterJoin", other, numPartitions)

    def fullOuterJoin(
        self: DStream[tuple[K, V]], other: DStream[tuple[K, W]], numPartitions: int | None = None
    ) -> DStream[tuple[K, tuple[V | None, W | None]]]:
        """Like `join`, with None for a value that is missing on either side."""
        return self._paired("fullOuterJoin", other, numPartitions)

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

    # -------------------------------------------------------------------------------------------- windows
    def window(self, windowDuration: float, slideDuration: float | None = None) -> DStream[T_co]:
        """The records of the batches of the last `windowDuration`, oldest batch first; the first windows are shorter.

        Batches that a window reads again are kept: this stream is persisted in memory, unless it has another level.

        Args:
            windowDuration: seconds, a multiple of this stream's slide.
            slideDuration: seconds between two windows, a multiple of this stream's slide; None is that slide.

        Raises:
            ValueError: one is no number, zero or negative, or not a multiple of this stream's slide.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        return self._new(Windowed(self._sc, self._node, window, slide))

    def reduceByWindow(
        self: DStream[T],
        reduceFunc: Callable[[T, T], T],
        invReduceFunc: Callable[[T, T], T] | None,
        windowDuration: float,
        slideDuration: float | None,
    ) -> DStream[T]:
        """One record a window: all its records combined by `reduceFunc`; nothing for an empty window.

        Args:
            reduceFunc: associative and commutative.
            invReduceFunc: takes away again what `reduceFunc` has combined, `invReduceFunc(reduceFunc(x, y), x) == y`:
                a window is then computed from the one before. None: from its batches' reduced values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.

        Raises:
            ValueError: as for `window`.
        """
        check_function("reduceFunc", reduceFunc)
        check_function_or_none("invReduceFunc", invReduceFunc)
        if invReduceFunc is None:
            return self.reduce(reduceFunc).window(windowDuration, slideDuration).reduce(reduceFunc)
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        keyed = self.map(with_none)
        return keyed._inverse_window(reduceFunc, invReduceFunc, window, slide, 1, None).map(second)

    def reduceByKeyAndWindow(
        self: DStream[tuple[K, V]],
        func: Callable[[V, V], V],
        invFunc: Callable[[V, V], V] | None,
        windowDuration: float,
        slideDuration: float | None = None,
        numPartitions: int | None = None,
        filterFunc: Callable[[tuple[K, V]], Any] | None = None,
    ) -> DStream[tuple[K, V]]:
        """The values of each key of a window, combined by `func`.

        Args:
            func: associative and commutative.
            invFunc: takes away again what `func` has combined, `invFunc(func(x, y), x) == y`: a window is then computed
                from the one before. None: from its batches' reduced values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.
            filterFunc: of `(key, value)` pairs; those for which it is false are left out.

        Raises:
            ValueError: as for `window`.
        """
        check_function("func", func)
        _check_inverse(invFunc, windowDuration, slideDuration)
        check_function_or_none("filterFunc", filterFunc)
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        if invFunc is not None:
            return self._inverse_window(func, invFunc, window, slide, partitions, filterFunc)
        # Reduced batches have one partitioner, so that reducing a window of them moves nothing.
        windows = self.reduceByKey(func, partitions).window(windowDuration, slideDuration)
        reduced = windows.reduceByKey(func, partitions)
        return reduced if filterFunc is None else reduced.filter(filterFunc)

    def groupByKeyAndWindow(
        self: DStream[tuple[K, V]],
        windowDuration: float,
        slideDuration: float | None,
        numPartitions: int | None = None,
    ) -> DStream[tuple[K, ResultIterable[V]]]:
        """`(key, ResultIterable of its values in the window, in order of arrival)` for each key of a window.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.
        """
        partitions = self._partitions(numPartitions)
        windows = self.groupByKey(partitions).window(windowDuration, slideDuration)
        return windows.combineByKey(list, _extended, _extended, partitions).mapValues(ResultIterable)

    def countByWindow(self, windowDuration: float, slideDuration: float | None) -> DStream[int]:
        """One record a window: how many records it has, 0 included; each window from the one before.

        Needs a directory for checkpoints.

        Raises:
            ValueError: as for `window`.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        return self.count()._counted_window(window, slide, must_checkpoint=True)

    def countByValueAndWindow(
        self, windowDuration: float, slideDuration: float | None, numPartitions: int | None = None
    ) -> DStream[tuple[T_co, int]]:
        """`(record, how often)` for each different record of a window; each window from the one before.

        Needs a directory for checkpoints.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        return self.map(_with_one)._inverse_window(add, sub, window, slide, partitions, None)

    def _counted_window(self, window: int, slide: int, *, must_checkpoint: bool) -> DStream[int]:
        """The sums of this stream's counts over windows; durations in ms."""
        counts = self.map(with_none)
        sums = counts._inverse_window(add, sub, window, slide, 1, None, must_checkpoint=must_checkpoint)
        return sums.mapPartitions(_the_count)

    def _inverse_window(
        self: DStream[tuple[K, V]],
        func: Callable[[V, V], V],
        inverse: Callable[[V, V], V],
        window: int,
        slide: int,
        partitions: int,
        wanted: Callable[[tuple[K, V]], Any] | None,
        *,
        must_checkpoint: bool = True,
    ) -> DStream[tuple[K, V]]:
        """The pairs of each window, combined, each window from the one before; durations in ms."""
        reduced = self.reduceByKey(func, partitions)._node
        node = IncrementalWindow(
            self._sc,
            reduced,
            func,
            inverse,
            window_ms=window,
            slide_ms=slide,
            partitioner=Partitioner(partitions),
            wanted=wanted,
            must_checkpoint=must_checkpoint,
        )
        return self._new(node)

    # -------------------------------------------------------------------------------------------- state
    def updateStateByKey(
        self: DStream[tuple[K, V]],
        updateFunc: Callable[[list[V], U | None], U | None],
        numPartitions: int | None = None,
        initialRDD: RDD[tuple[K, U]] | Iterable[tuple[K, U]] | None = None,
        partitionFunc: Callable[[K], int] = portable_hash,
    ) -> DStream[tuple[K, U]]:
        """`(key, state)` for all keys: each batch, `updateFunc` is called for every key that has data or a state.

        Needs a directory for checkpoints. A batch costs as much as there are keys: see `mapWithState` for the other
        way. What `updateFunc` gets may be changed in place.

        Args:
            updateFunc: `updateFunc(new values of the batch, state or None)` returns the new state; None drops the key.
            numPartitions: of the state; None is the context's default parallelism.
            initialRDD: pairs of key and state to begin with, as an RDD or an iterable.
            partitionFunc: a key's partition is `partitionFunc(key) % numPartitions`.
        """
        check_function("updateFunc", updateFunc)
        check_function("partitionFunc", partitionFunc)
        partitioner = Partitioner(self._partitions(numPartitions), partitionFunc)
        return self._new(Updated(self._sc, self._node, updateFunc, partitioner, self._initial(initialRDD)))

    def mapWithState(self: DStream[tuple[K, V]], spec: StateSpec) -> MapWithStateDStream:
        """What a function returns for each record and the state of its key; a batch costs what it touches.

        Needs a directory for checkpoints.

        Args:
            spec: the function, and how the state begins, is partitioned and times out; see `StateSpec`.
        """
        if not isinstance(spec, StateSpec):
            raise TypeError(f"expected a StateSpec, such as StateSpec.function(f), got {type(spec).__name__}")
        partitioner = spec._partitioner or Partitioner(self._sc.defaultParallelism)
        state = WithState(self._sc, self._node, spec, partitioner, self._initial(spec._initial))
        self._ssc._check_can_add()
        return MapWithStateDStream(MappedWithState(state), self._ssc)

    def _initial(self, pairs: RDD[Any] | Iterable[tuple[Any, Any]] | None) -> RDD[Any] | None:
    
        return pairs if pairs is None or isinstance(pairs, RDD) else self._sc.parallelize(pairs)

    # -------------------------------------------------------------------------------------------- RDD by RDD
    def transform(self, func: Callable[..., RDD[U] | None]) -> DStream[U]:
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

    def print(self, num: int = 10) -> None:
        """`pprint`, under the name that Scala programs have for it."""
        self._output("print", printer(num), with_time=True)

    def foreachTransaction(
        self,
        connect: Callable[[], Any] | ConnectionPool[Any],
        write: Callable[..., Any],
        name: str,
        table: str = TABLE,
    ) -> None:
        """Write each batch to a database, exactly once, though tasks and batches may run twice.

        Each partition is one transaction: what `write` does, and a note of output, batch time and partition. A task
        that finds its note, of an attempt before it or of a driver before a restart, writes nothing. Notes of old
        batches are removed after `headwater.streaming.output.commitRetention`.

        Args:
            connect: returns a DB-API 2.0 connection that doesn't commit by itself; called in workers. They keep
                connections from batch to batch, in a pool; a `ConnectionPool` of yours has other bounds.
            write: `write(cursor, iterator over the records)`, or with the batch time before these, called in a worker
                for each partition, empty ones too. It must not commit. What it raises undoes the partition's
                transaction, and the task is tried again.
            name: of the output: no other one that writes to this database has it, and it stays over restarts. After
                another one all batches count as not written.
            table: for the notes; it is made if it isn't there, in the database that is written to.

        Raises:
            AssertionError: `write` takes neither two nor three arguments.
            TypeError: `connect` is no function, or a name no string.
            IllegalArgumentException: `table` is no name, `name` is empty or another output's.
        """
        retention_ms: int = self._sc.conf.read("headwater.streaming.output.commitRetention")
        with_time = takes_time(write, 2)
        sink = TransactionalOutput(
            connect, write, with_time=with_time, name=name, table=table, retention_ms=retention_ms
        )
        self._add_output("foreachTransaction", sink)

    def output(self, sink: BatchOutput) -> None:
        """Have each batch written by an output of the program's own, with what Headwater's own outputs build on.

        Args:
            sink: called in the driver, once a batch and once more whenever it runs again; see `BatchOutput`.

        Raises:
            TypeError: it is no `BatchOutput`, or its name no string.
            IllegalArgumentException: another output has its name.

        >>> from headwater.streaming import BatchOutput
        >>> from headwater.testing import StreamHarness
        >>> class Ledger(BatchOutput):
        ...     unique_name = "ledger"
        ...     batches: dict[tuple[str, int], list[int]] = {}
        ...     def write(self, batch, rdd):
        ...         self.batches[batch.identity] = rdd.collect()  # once more is the same
        >>> with StreamHarness(sparkContext=sc) as harness:
        ...     harness.stream([[1, 2], [3]]).output(Ledger())
        ...     infos = harness.run(2)
        >>> list(Ledger.batches.values())
        [[1, 2], [3]]
        """
        if not isinstance(sink, BatchOutput):
            raise TypeError(
                f"output: expected a headwater.streaming.BatchOutput, got {sink!r} of type {type(sink).__name__}. A "
                "function is called with each batch by foreachRDD."
            )
        if not isinstance(sink.unique_name, str):
            raise TypeError(f"output: unique_name should be a str, got {sink.unique_name!r}")
        self._add_output("output", sink)

    def saveToKafka(
        self,
        topic: str | None,
        kafkaParams: Mapping[str, Any],
        keyEncoder: Callable[[Any], str | bytes | None] | None = None,
        valueEncoder: Callable[[Any], str | bytes | None] | None = None,
        exactlyOnce: str = "",
        offsetsOf: DStream[Any] | None = None,
    ) -> None:
        """Write each batch to Kafka: at least once, or exactly once. Needs `headwater[kafka]`.

        A pair is a record's key and value, a `ProducerRecord` says more, anything else is a value.

        With `exactlyOnce` each partition of a batch is a transaction, with a note in it that the batch is written; who
        finds the note writes nothing. Readers must have `isolation.level=read_committed`. With `offsetsOf` besides, a
        whole batch is one transaction, written by one task, which moves the source's consumer group on, too: then a
        program that starts without a checkpoint goes on exactly where its output ends.

        Args:
            topic: where records go; None if each says so itself.
            kafkaParams: Kafka's settings, with `bootstrap.servers`.
            keyEncoder: makes str or bytes of a key; called in tasks. None: it is that already.
            valueEncoder: likewise of a value.
            exactlyOnce: names the output: no other one of these brokers has it, and it stays over restarts. Empty: at
                least once. Without `offsetsOf` it needs a directory for checkpoints.
            offsetsOf: the direct stream that the batches are made of, with a `group.id`.

        Raises:
            TypeError: `kafkaParams` is no dict, or `offsetsOf` no direct stream.
            IllegalArgumentException: a setting of Kafka is missing or wrong, the name is another output's, or
                something that belongs to it is missing.
            SparkException: confluent-kafka isn't installed.
        """
        from headwater.streaming.kafka.stream import kafka_output

        sink = kafka_output(topic, kafkaParams, keyEncoder, valueEncoder, exactlyOnce, offsetsOf)
        self._add_output("saveToKafka", sink)

    def slice(self, begin: datetime | float, end: datetime | float) -> list[RDD[T_co]]:
        """The RDDs of the batches from `begin` to `end`, both included, as far as they are generated and remembered.

        Args:
            begin: a datetime (naive means local) or seconds since the epoch.
            end: likewise.

        Raises:
            SparkException: the context has not started.
        """
        return self._ssc._slice(self._node, instant_ms(begin), instant_ms(end))

    # -------------------------------------------------------------------------------------------- keeping
    def cache(self) -> DStream[T_co]:
        """Keep each RDD in memory for as long as the stream remembers it; returns the stream."""
        return self.persist(StorageLevel.MEMORY_ONLY)

    def persist(self, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> DStream[T_co]:
        """Keep each RDD at this level for as long as the stream remembers it; returns the stream.

        Raises:
            UnsupportedOperationException: the context has started, or the stream has another level.
        """
        if self._ssc._has_started():
            raise UnsupportedOperationException(
                "Cannot change storage level of a DStream after streaming context has started"
            )
        keeper = self._node.keeper
        level = keeper.storage_level
        if level is not None and level != storageLevel:
            raise UnsupportedOperationException(
                f"Cannot change storage level of a DStream after it has been set: it is {level}, not {storageLevel}"
            )
        keeper.storage_level = storageLevel
        return self

    def checkpoint(self, interval: float) -> DStream[T_co]:
        """Have the RDD of every so many seconds written to the directory for checkpoints, which frees its lineage.

        A stream with state writes what has changed in every batch, unless an interval is given: then in the batches
        that are a multiple of it. Returns the stream.

        Args:
            interval: seconds, a multiple of the stream's slide.

        Raises:
            UnsupportedOperationException: the context has started.
            ValueError: not a duration.
        """
        if self._ssc._has_started():
            raise UnsupportedOperationException(
                "Cannot change checkpoint interval of a DStream after streaming context has started"
            )
        self._node.checkpointed.checkpoint_ms = duration_ms(interval, "checkpoint interval")
        return self

    # -------------------------------------------------------------------------------------------- how they are made
    def _new(self, node: Node) -> DStream[Any]:
        self._ssc._check_can_add()
        return DStream(node, self._ssc)

    def _mapped(self, method: str, *arguments: Any) -> DStream[Any]:
        self._ssc._check_can_add()
        getattr(self._sc.emptyRDD(), method)(*arguments)  # refuses wrong arguments, now and not in each batch
        return self._new(Mapped(self._node, method, *arguments))

    def _paired(self, method: str, other: DStream[Any], partitions: int | None) -> DStream[Any]:
        self._check_stream(other, method)
        return self._new(Paired(self._sc, self._node, other._node, method, self._partitions(partitions)))

    def _output(self, operation: str, function: Callable[..., Any], *, with_time: bool) -> None:
        self._add_output(operation, FunctionOutput(function, with_time=with_time))

    def _add_output(self, operation: str, sink: BatchOutput) -> None:
        name, description = call_site(operation)
        self._ssc.add_output(Output(self._node, sink, operation=operation, name=name, description=description))

    def _partitions(self, partitions: int | None) -> int:
        if partitions is None:
            return self._sc.defaultParallelism
        check_num_partitions(partitions)
        return partitions

    def _check_stream(self, other: Any, method: str) -> None:
        if not isinstance(other, DStream):
            raise TypeError(
                f"{method}: expected a DStream, got {other!r} of type {type(other).__name__}. Batches are joined with "
                "an RDD, or united with it, by transform(lambda rdd: ...)."
            )


def _check_inverse(inverse: Any, window: Any, slide: Any) -> None:
    """The inverse function of `reduceByKeyAndWindow` is easily left out; then a duration stands in its place."""
    if inverse is not None and not callable(inverse):
        meant = ", ".join(str(value) for value in (inverse, window, slide) if value is not None)
        raise TypeError(
            f"reduceByKeyAndWindow: the second argument, invFunc, should be the inverse function of func, or None; "
            f"got {inverse!r}. Did you mean reduceByKeyAndWindow(func, None, {meant})?"
        )


def _extended(values: list[Any], more: Iterable[Any]) -> list[Any]:
    values += more
    return values


def _the_count(sums: Iterable[tuple[None, int]]) -> list[int]:
    """The only sum; 0 where none of a window's batches has an RDD."""
    return [sum(map(second, sums))]


def _with_one(record: Any) -> tuple[Any, int]:
    return record, 1


class MapWithStateDStream(DStream[Any]):
    """The stream of `mapWithState`."""

    def stateSnapshots(self) -> DStream[tuple[Any, Any]]:
        """`(key, state)` for all keys, as they are after each batch."""
        assert isinstance(self._node, MappedWithState)
        return self._new(Snapshots(self._node))


class ConstantInputDStream(DStream[T]):
    """A stream whose every batch is the same RDD; cache that if it's costly. Mostly for tests, and to join with.

    Args:
        ssc: the context of the stream.
        rdd: what each batch has.

    Raises:
        TypeError: it is no RDD.
        IllegalStateException: the context has started.
    """

    def __init__(self, ssc: StreamingContext, rdd: RDD[T]) -> None:
        if not isinstance(rdd, RDD):
            raise TypeError(f"ConstantInputDStream: rdd must be an RDD, not {type(rdd).__name__}")
        batch_ms = ssc.batch_ms
        super().__init__(ssc.add_input(lambda stream_id: ConstantInput(stream_id, batch_ms, rdd)), ssc)
