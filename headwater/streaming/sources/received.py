"""The stream of what a receiver stored: each batch's RDD reads the blocks that were allocated to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine.lineage import StoredBlocks
from headwater.streaming.graph import ReceivingNode
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.runtime.receivers import Batch
from headwater.streaming.sources.receiver import Receiver

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD


class ReceiverInput(ReceivingNode):
    """Received blocks, one partition each; a batch without any has an RDD of no partitions.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes RDDs.
        receiver: is pickled and started in an executor.
    """

    def __init__(self, stream_id: int, batch_ms: int, *, sc: SparkContext, receiver: Receiver) -> None:
        super().__init__(stream_id, batch_ms)
        self.receiver = receiver
        self._sc = sc
        self._batches: dict[int, Batch] = {}  # batch time -> its blocks, until they are released

    @property
    def name(self) -> str:
        """What listeners call the receiver."""
        return f"{type(self.receiver).__name__}-{self.stream_id}"

    def allocate(self, time_ms: int, blocks: Any) -> None:
        if blocks is not None and blocks.blocks:
            self._batches[time_ms] = blocks

    def compute(self, time_ms: int) -> RDD[Any]:
        batch = self._batches.get(time_ms)
        if batch is None:
            return self._sc.emptyRDD()
        from headwater.rdd import RDD

        return RDD(self._sc, StoredBlocks(), [], len(batch.blocks), payloads=batch.blocks)

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        batch = self._batches.get(time_ms)
        if batch is None:
            return StreamInputInfo(self.stream_id, 0)
        metadata: dict[str, Any] = {}
        if batch.undecodable:
            text = f"{batch.undecodable} lines were not valid UTF-8"
            metadata = {"undecodableLines": batch.undecodable, "Description": text}
        return StreamInputInfo(self.stream_id, sum(max(ref.records, 0) for ref in batch.blocks), metadata)

    def released(self, until_ms: int) -> list[str]:
        gone = [time_ms for time_ms in self._batches if time_ms <= until_ms]
        return [ref.block_id for time_ms in gone for ref in self._batches.pop(time_ms).blocks]

    def describe(self) -> str:
        return f"stream {self.name}"
