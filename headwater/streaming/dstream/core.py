"""What every DStream has: its identity, what is kept of it, and how streams are made of it.

- A stream is the public face of a node of the graph; all that happens to its data is the node's.
- A method checks its arguments where the program calls it, and not when a batch is generated.
- Nothing is added once the context has started.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headwater.base.callsite import place
from headwater.errors import UnsupportedOperationException
from headwater.rdd.checks import check_positive
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import duration_ms, instant_ms
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.graph.mapped import Mapped
from headwater.streaming.graph.versioned import Versioned

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream
    from headwater.streaming.graph.node import Node

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound="StreamCore[Any]")


class StreamCore(Generic[T_co]):
    """The part of `DStream` that its families of methods build on."""

    def __init__(self, node: Node, ssc: StreamingContext) -> None:
        self._node = node
        self._ssc = ssc
        self._sc = ssc.sparkContext
        node.place = node.place or place()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._node.describe()}, every {self._slideDuration:g} s>"

    @property
    def is_cached(self) -> bool:
        """Whether its RDDs are persisted.

        >>> lines = harness.stream()
        >>> lines.is_cached, lines.cache().is_cached
        (False, True)
        """
        return self._node.keeper.storage_level is not None

    @property
    def is_checkpointed(self) -> bool:
        """Whether its RDDs are checkpointed, or the state that they are read from.

        >>> pairs = harness.stream([[("a", 1)]])
        >>> pairs.is_checkpointed, pairs.updateStateByKey(lambda new, before: new or before).is_checkpointed
        (False, True)
        """
        return self._node.checkpoint_ms is not None or isinstance(self._node, Versioned)

    @property
    def _slideDuration(self) -> float:
        return self._node.slide_ms / 1000

    def context(self) -> StreamingContext:
        """The StreamingContext that made it.

        >>> harness.stream().context() is ssc
        True
        """
        return self._ssc

    @property
    def node(self) -> Node:
        """Its node of the stream graph, for connectors and tools."""
        return self._node

    def uid(self: S, name: str) -> S:
        """Give an input stream, or a state, the name under which checkpoints know it; returns the stream.

        Without one it's known by its position in the program, so that `getOrCreate(..., upgrade=True)` finds what it
        held only as long as no stream is put in before it. Other streams hold nothing of their own.

        Args:
            name: unique in the program: letters, digits, `.`, `_` and `-`; it becomes a directory's name.

        Raises:
            ValueError: the name is no such text, or the stream is neither an input nor a state.

        >>> pairs = harness.stream([["a", "b", "a"]]).uid("words").map(lambda word: (word, 1))
        >>> totals = pairs.updateStateByKey(lambda new, before: sum(new) + (before or 0)).uid("totals")
        >>> pairs.uid("pairs")
        Traceback (most recent call last):
        ValueError: uid 'pairs': only input streams and states have one ...
        """
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"uid must be made of letters, digits, '.', '_' and '-', not {name!r}")
        node = self._node.checkpointed
        if not isinstance(node, (InputNode, Versioned)):
            raise ValueError(
                f"uid {name!r}: only input streams and states have one (updateStateByKey, mapWithState, windows by "
                f"inverse), and this is a {self._node.describe()}. Checkpoints hold nothing of it."
            )
        self._ssc.check_can_add()
        node.uid = name
        return self

    def slice(self, begin: datetime | float, end: datetime | float) -> list[RDD[T_co]]:
        """The RDDs of the batches from `begin` to `end`, both included, as far as they are generated and remembered.

        Args:
            begin: a datetime (naive means local) or seconds since the epoch.
            end: likewise.

        Raises:
            SparkException: the context has not started.

        >>> ssc.remember(60)
        >>> numbers = harness.stream([[1], [2], [3]])
        >>> collected = harness.results(numbers)
        >>> now = harness.clock.now_ms() / 1000
        >>> [rdd.collect() for rdd in numbers.slice(now - 1, now)]
        [[2], [3]]
        """
        return self._ssc.graph.slice(self._node, instant_ms(begin), instant_ms(end))

    # -------------------------------------------------------------------------------------------- keeping
    def cache(self: S) -> S:
        """`persist` in memory only; returns the stream.

        >>> numbers = harness.stream([[1, 2]]).map(lambda n: n * 10).cache()
        >>> total, largest = harness.collect(numbers.reduce(lambda a, b: a + b)), harness.collect(numbers.reduce(max))
        >>> _ = harness.run()  # which computes the numbers once
        >>> total, largest
        ([[30]], [[20]])
        """
        return self.persist(StorageLevel.MEMORY_ONLY)

    def persist(self: S, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> S:
        """Keep each RDD, once it is computed, for as long as the stream remembers it; returns the stream.

        Args:
            storageLevel: where and in how many copies; records are pickled at every level.

        Raises:
            UnsupportedOperationException: the context has started, or the stream has another level.

        >>> from headwater import StorageLevel
        >>> harness.results(harness.stream([[1]]).persist(StorageLevel.MEMORY_AND_DISK))
        [[1]]
        """
        if self._ssc.has_started:
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

    def checkpoint(self: S, interval: float) -> S:
        """Have an RDD written to the directory for checkpoints from time to time, which frees its lineage.

        A stream with state writes what has changed in every batch, unless an interval is given: then in the batches
        that are a multiple of it. Returns the stream.

        Args:
            interval: seconds, a multiple of the stream's slide; other ones are refused when the context starts.

        Raises:
            UnsupportedOperationException: the context has started.
            ValueError: not a duration of at least 0.001 seconds.

        >>> _ = harness.checkpoint()  # the harness's way to call ssc.checkpoint(directory)
        >>> harness.results(harness.stream([[1], [2]]).checkpoint(2))
        [[1], [2]]
        """
        if self._ssc.has_started:
            raise UnsupportedOperationException(
                "Cannot change checkpoint interval of a DStream after streaming context has started"
            )
        self._node.checkpointed.checkpoint_ms = duration_ms(interval, "checkpoint interval")
        return self

    # -------------------------------------------------------------------------------------------- how others are made
    @abstractmethod
    def _new(self, node: Node) -> DStream[Any]:
        """The stream of a node.

        Raises:
            IllegalStateException: the context has started, or has its streams from a checkpoint.
        """

    def _mapped(self, method: str, *arguments: Any) -> DStream[Any]:
        self._ssc.check_can_add()
        getattr(self._sc.emptyRDD(), method)(*arguments)  # refuses wrong arguments, now and not in each batch
        return self._new(Mapped(self._node, method, *arguments))

    def _partitions(self, partitions: int | None) -> int:
        if partitions is None:
            return self._sc.defaultParallelism
        check_positive("numPartitions", partitions)
        return partitions

    def _check_stream(self, other: Any, method: str) -> None:
        if not isinstance(other, StreamCore):
            raise TypeError(
                f"{method}: expected a DStream, got {other!r} of type {type(other).__name__}. Batches are joined with "
                "an RDD, or united with it, by transform(lambda rdd: ...)."
            )
