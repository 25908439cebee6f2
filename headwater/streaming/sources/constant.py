"""A stream that has the same RDD in every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from headwater.streaming.dstream import DStream
from headwater.streaming.graph.graph import InputNode

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.streaming.context import StreamingContext

T = TypeVar("T")


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
        from headwater.rdd import RDD

        if not isinstance(rdd, RDD):
            raise TypeError(f"ConstantInputDStream: rdd must be an RDD, not {type(rdd).__name__}")
        batch_ms = ssc._batch_ms
        super().__init__(ssc._input(lambda stream_id: ConstantInput(stream_id, batch_ms, rdd))._node, ssc)


class ConstantInput(InputNode):
    """The node of a `ConstantInputDStream`."""

    owns_rdds = False  # it is the program's
    is_stored = True
    unrepeatable = "ConstantInputDStream"

    def __init__(self, stream_id: int, batch_ms: int, rdd: RDD[Any]) -> None:
        super().__init__(stream_id, batch_ms)
        self._rdd = rdd

    def compute(self, time_ms: int) -> RDD[Any]:
        return self._rdd
