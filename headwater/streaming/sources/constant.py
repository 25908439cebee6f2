"""A stream that has the same RDD in every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.streaming.graph.inputs import InputNode

if TYPE_CHECKING:
    from headwater.rdd import RDD


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
