"""The stream of what a receiver stored: each batch's RDD reads the blocks that were allocated to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from headwater.base.pickling import load_records
from headwater.engine.blocks import decode
from headwater.engine.lineage import Records, StoredBlocks, TaskView
from headwater.errors import BlockLost, see
from headwater.streaming.graph.inputs import ReceivingNode
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.receivers.messages import BlockStored
from headwater.streaming.receivers.receiver import Receiver
from headwater.streaming.receivers.tracker import ReceivedBatch
from headwater.streaming.recovery.ledger import Block

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.engine.successors import Successors
    from headwater.rdd import RDD
    from headwater.streaming.recovery.matching import Source

logger = logging.getLogger(__name__)

_WHY_LOST = (
    ": received data is removed when its batch is over and no stream needs it any more. Does a thread, a later batch or"
    " a notebook use the RDD of an earlier batch? ssc.remember(seconds), called before start(), keeps batches longer."
    " Otherwise the executor that held it has died: spark.streaming.receiver.writeAheadLog.enable=true keeps a copy."
    + see("a-block-is-lost")
)


@dataclass(frozen=True, eq=False)
class ReceivedBlocks(StoredBlocks):
    """Received blocks, from the executors' stores or else from the log; a payload is a `BlockStored`.

    Args:
        successors: of the classes of records in the log, if an earlier driver may have written it.
    """

    successors: Successors | None

    def read(self, task: TaskView, payload: BlockStored) -> Records:
        try:
            return task.read_block(payload.block)
        except BlockLost as lost:
            if payload.log is None:
                raise BlockLost(f"{lost}{_WHY_LOST}") from None
        from headwater.streaming.recovery.log import read_record

        load = load_records if self.successors is None else self.successors.load
        return decode(read_record(payload.log, task.cipher), load)


class ReceiverInput(ReceivingNode):
    """Received blocks, one partition each; a batch without any has an RDD of no partitions.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes RDDs.
        receiver: is pickled and started in an executor.
    """

    not_kept = ReceivingNode.not_kept | {"_batches"}

    def __init__(self, stream_id: int, batch_ms: int, *, sc: SparkContext, receiver: Receiver) -> None:
        super().__init__(stream_id, batch_ms)
        self.receiver = receiver
        self._sc = sc

    def _reset(self) -> None:
        super()._reset()
        self._batches: dict[int, ReceivedBatch] = {}  # batch time -> its blocks, until they are released

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

        successors = None if self.keeping is None else self.keeping.successors
        return RDD(self._sc, ReceivedBlocks(successors), [], len(batch.blocks), payloads=batch.blocks)

    def source(self) -> Source:
        kind = type(self.receiver)
        return (f"receiver stream of {kind.__module__}.{kind.__qualname__}", _arguments(self.receiver))

    def restore(self, first_ms: int, after_ms: int, memory: Mapping[str, Any], batches: Mapping[int, Any]) -> None:
        for time_ms, data in batches.items():
            blocks = [Block.of(each) for each in data]
            which = f"of the {len(blocks)} of batch {time_ms} ms"
            self._batches[time_ms] = ReceivedBatch(self.stored_again(blocks, which))

    def stored_again(self, kept: Iterable[Block], which: str) -> tuple[BlockStored, ...]:
        """Blocks that a previous driver has received, as far as they are in a log; `which` names them in a warning."""
        logs = None if self.keeping is None else self.keeping.received_data
        stored = [BlockStored.again(self.stream_id, block, logs) for block in kept]
        logged = tuple(each for each in stored if each.log is not None)
        if len(logged) < len(stored):
            logger.warning("%s: %s", self.describe(), lost_blocks(len(stored) - len(logged), which))
        return logged

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        batch = self._batches.get(time_ms)
        if batch is None:
            return StreamInputInfo(self.stream_id, 0)
        metadata: dict[str, Any] = {}
        if batch.undecodable:
            text = f"{batch.undecodable} lines were not valid UTF-8"
            metadata = {"undecodableLines": batch.undecodable, "Description": text}
        return StreamInputInfo(self.stream_id, batch.records, metadata)

    def released(self, until_ms: int) -> list[str]:
        gone = [time_ms for time_ms in self._batches if time_ms <= until_ms]
        return [stored.block.block_id for time_ms in gone for stored in self._batches.pop(time_ms).blocks]

    def describe(self) -> str:
        return f"stream {self.name}"


def _arguments(receiver: Receiver) -> str:
    """What tells receivers of a class apart: their address if they have one, and a sum of all plain values."""
    plain = {name: value for name, value in vars(receiver).items() if isinstance(value, (str, int, float, type(None)))}
    address = [str(plain[name]) for name in ("_host", "_hostname", "_port") if name in plain]
    total = crc32(repr(sorted(plain.items())).encode())
    return " ".join((*([":".join(address)] if address else []), f"({total:08x})"))


def lost_blocks(number: int, which: str) -> str:
    """What to say of blocks that are in no log."""
    return (
        f"{number} blocks {which} could not be recovered as they were in the memory of a driver that died. To prevent "
        "such data loss, set spark.streaming.receiver.writeAheadLog.enable=true."
    )
