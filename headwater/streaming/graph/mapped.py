"""Streams whose batches each follow from the same batch of one other stream."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headwater.rdd.functions import second
from headwater.streaming.durations import local_datetime
from headwater.streaming.graph.node import Node, rdd_or_none

if TYPE_CHECKING:
    from headwater.rdd import RDD


class Mapped(Node):
    """Each RDD is what a method of the parent's RDD returns.

    Args:
        parent: the stream to take from.
        method: the name of the RDD's method, e.g. `flatMap`.
        arguments: what it is called with.
    """

    def __init__(self, parent: Node, method: str, *arguments: Any) -> None:
        super().__init__((parent,))
        self._method = method
        self._arguments = arguments

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdd = self.parents[0].rdd(time_ms)
        if rdd is None:
            return None
        result: RDD[Any] = getattr(rdd, self._method)(*self._arguments)
        return result

    def describe(self) -> str:
        return f"stream of {self._method}"


class Counted(Node):
    """One record a batch: how many there were, 0 included."""

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdd = self.parents[0].rdd(time_ms)
        if rdd is None:
            return None
        partitions = rdd.getNumPartitions()
        if partitions == 0:
            nothing: RDD[Any] = rdd.context.parallelize([0], 1)
            return nothing
        counts: RDD[Any] = rdd.mapPartitions(_count)
        return counts if partitions == 1 else reduced(counts, operator.add)

    def describe(self) -> str:
        return "stream of count"


class Reduced(Node):
    """One record a batch: all records combined; an empty batch stays empty."""

    def __init__(self, parent: Node, function: Callable[[Any, Any], Any]) -> None:
        super().__init__((parent,))
        self._function = function

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdd = self.parents[0].rdd(time_ms)
        return None if rdd is None else reduced(rdd, self._function)

    def describe(self) -> str:
        return "stream of reduce"


class Transformed(Node):
    """Each RDD is what the user's function makes of the parent's.

    Args:
        parent: the stream to take from.
        function: called on the driver, once a batch, when the batch is generated.
        with_time: whether it takes the batch time first.
    """

    calls_program = True

    def __init__(self, parent: Node, function: Callable[..., Any], *, with_time: bool) -> None:
        super().__init__((parent,))
        self._function = function
        self._with_time = with_time

    def compute(self, time_ms: int) -> RDD[Any] | None:
        rdd = self.parents[0].rdd(time_ms)
        if rdd is None:
            return None
        result = self._function(local_datetime(time_ms), rdd) if self._with_time else self._function(rdd)
        return rdd_or_none(self, time_ms, result)

    def describe(self) -> str:
        return "stream of transform"


def reduced(rdd: RDD[Any], function: Callable[[Any, Any], Any]) -> RDD[Any]:
    """All records of an RDD combined into one, as an RDD of one partition; an empty RDD stays empty."""
    result: RDD[Any] = rdd.map(with_none).reduceByKey(function, 1).map(second)
    return result


def _count(records: Any) -> list[int]:
    return [len(records) if isinstance(records, list) else sum(1 for _ in records)]


def with_none(record: Any) -> tuple[None, Any]:
    """A pair of which all have the same key."""
    return None, record
