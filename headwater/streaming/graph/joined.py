"""Streams whose batches each follow from the same batch of several others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headwater.errors import SparkException
from headwater.streaming.durations import local_datetime
from headwater.streaming.graph.node import Node, rdd_or_none

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


class United(Node):
    """All records of all parents, which have the same slide."""

    def __init__(self, sc: Driver, parents: Sequence[Node]) -> None:
        super().__init__(parents)
        self._sc = sc

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdds = []
        for parent in self.parents:
            rdd = parent.rdd(time_ms)
            if rdd is None:
                raise SparkException(f"Could not generate RDD from a parent for unifying at time {time_ms} ms")
            rdds.append(rdd)
        return self._sc.union(rdds)

    def describe(self) -> str:
        return "stream of union"


class Paired(Node):
    """Each RDD is what a method of the left RDD returns for the right one: the joins and cogroup.

    Args:
        sc: makes the empty RDD for a side that has none in a batch.
        left: the stream whose method it is.
        right: the method's first argument.
        method: the name of the RDD's method.
        partitions: of the result.
    """

    def __init__(self, sc: Driver, left: Node, right: Node, method: str, partitions: int) -> None:
        super().__init__((left, right))
        self._sc = sc
        self._method = method
        self._partitions = partitions

    def compute(self, time_ms: int) -> RDD[Any] | None:
        left, right = (_rdd_or_empty(self._sc, parent, time_ms) for parent in self.parents)
        result: RDD[Any] = getattr(left, self._method)(right, self._partitions)
        return result

    def describe(self) -> str:
        return f"stream of {self._method}"


class TransformedWith(Node):
    """Each RDD is what the user's function makes of the RDDs of two parents.

    Args:
        sc: makes the empty RDD for a parent that has none in a batch.
        parents: two streams.
        function: called on the driver, once a batch, when the batch is generated.
        with_time: whether it takes the batch time first.
    """

    calls_program = True

    def __init__(self, sc: Driver, parents: Sequence[Node], function: Callable[..., Any], *, with_time: bool) -> None:
        super().__init__(parents)
        self._sc = sc
        self._function = function
        self._with_time = with_time

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdds = [_rdd_or_empty(self._sc, parent, time_ms) for parent in self.parents]
        result = self._function(local_datetime(time_ms), *rdds) if self._with_time else self._function(*rdds)
        return rdd_or_none(self, time_ms, result)

    def describe(self) -> str:
        return "stream of transformWith"


class TransformedAll(Node):
    """Each RDD is what the user's function makes of the list of its parents' RDDs."""

    calls_program = True

    def __init__(self, sc: Driver, parents: Sequence[Node], function: Callable[[list[Any]], Any]) -> None:
        super().__init__(parents)
        self._sc = sc
        self._function = function

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdds = [_rdd_or_empty(self._sc, parent, time_ms) for parent in self.parents]
        return rdd_or_none(self, time_ms, self._function(rdds))

    def describe(self) -> str:
        return "stream of StreamingContext.transform"


def _rdd_or_empty(sc: Driver, node: Node, time_ms: int) -> RDD[Any]:
    rdd = node.rdd(time_ms)
    return sc.emptyRDD() if rdd is None else rdd
