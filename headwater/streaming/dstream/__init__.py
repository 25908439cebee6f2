"""Streams of records as sequences of RDDs, one each slide. `DStream` is all of it; each base adds a family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from headwater.rdd import RDD
from headwater.resultiterable import ResultIterable
from headwater.storagelevel import StorageLevel
from headwater.streaming.dstream.outputs import OutputOperations
from headwater.streaming.graph.mapwithstate import MappedWithState, Snapshots
from headwater.streaming.sources.constant import ConstantInput
from headwater.streaming.util import rddToFileName

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.graph.node import Node

__all__ = [
    "RDD",
    "ConstantInputDStream",
    "DStream",
    "MapWithStateDStream",
    "ResultIterable",
    "StorageLevel",
    "rddToFileName",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class DStream(OutputOperations[T_co]):
    """A discretized stream: `DStream[str]` has text records. Made by a context's sources and by other streams' methods.

    Functions that take records run in the workers. Functions that take RDDs (transform, foreachRDD) run in the
    driver: that of `transform` when a batch is generated, that of `foreachRDD` when its turn to run has come. They may
    take the batch time, a naive local datetime, as their first argument.

    A method that makes a stream or an output checks its arguments before it returns: TypeError for what is no function,
    no stream or no number, IllegalArgumentException for a number out of bounds. It raises IllegalStateException once
    the context has started.

    In the methods' examples `harness` is a `headwater.testing.StreamHarness` with a batch each second, and `ssc` its
    StreamingContext.

    >>> lines = harness.stream([["to be or", "not to be"], ["to"]])
    >>> counts = lines.flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    >>> harness.results(counts, dict)
    [{'to': 2, 'be': 2, 'or': 1, 'not': 1}, {'to': 1}]
    """

    def _new(self, node: Node) -> DStream[Any]:
        self._ssc.check_can_add()
        kind = MapWithStateDStream if isinstance(node, MappedWithState) else DStream
        return kind(node, self._ssc)


class MapWithStateDStream(DStream[Any]):
    """What `DStream.mapWithState` returns: the results of its function, and the states themselves."""

    def stateSnapshots(self) -> DStream[tuple[Any, Any]]:
        """`(key, state)` for all keys, as they are after each batch; a batch costs as much as there are keys.

        >>> from headwater.streaming import StateSpec
        >>> _ = harness.checkpoint()
        >>> pairs = harness.stream([[("a", 1)], [("b", 2)]])
        >>> latest = pairs.mapWithState(StateSpec.function(lambda key, value, state: state.update(value)))
        >>> harness.results(latest.stateSnapshots(), dict)
        [{'a': 1}, {'a': 1, 'b': 2}]
        """
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

    >>> names = ConstantInputDStream(ssc, sc.parallelize([(1, "one")]))
    >>> harness.results(harness.stream([[(1, "a")], [(1, "b")]]).join(names))
    [[(1, ('a', 'one'))], [(1, ('b', 'one'))]]
    """

    def __init__(self, ssc: StreamingContext, rdd: RDD[T]) -> None:
        if not isinstance(rdd, RDD):
            raise TypeError(f"ConstantInputDStream: rdd must be an RDD, not {type(rdd).__name__}")
        batch_ms = ssc.batch_ms
        super().__init__(ssc.add_input(lambda stream_id: ConstantInput(stream_id, batch_ms, rdd)), ssc)
