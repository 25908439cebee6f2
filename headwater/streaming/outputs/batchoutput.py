"""What writes the batches of a stream: `BatchOutput`, and what it's told of each batch.

1. A batch may be handed over more than once: after a failure, and by the next driver. Its `identity` is the same then.
2. What an output may forget it's told with each batch; it looks nothing up.
3. An output is in the driver, and part of the program that a checkpoint keeps; its tasks are in the workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headwater.streaming.durations import local_datetime

if TYPE_CHECKING:
    from headwater.rdd import RDD


@dataclass(frozen=True, slots=True)
class OutputBatch:
    """A batch as an output is handed it. Tasks may take it along.

    Attributes:
        output: the output's `unique_name`.
        time_ms: the batch time, in milliseconds since the epoch.
        oldest_pending_ms: the oldest batch that isn't known to be done, at most `time_ms`. No restart hands over a
            batch before it, so what an output keeps to recognise such batches may go.
    """

    output: str
    time_ms: int
    oldest_pending_ms: int

    @property
    def identity(self) -> tuple[str, int]:
        """(output, batch time): no other batch has it, and this one has it each time that it's handed over.

        With a partition's number besides it is the partition's own.
        """
        return self.output, self.time_ms

    @property
    def time(self) -> datetime:
        """The batch time as functions of `foreachRDD` get it: local, and naive."""
        return local_datetime(self.time_ms)


class BatchOutput(ABC):
    """Writes the batches of a stream. Subclass it, and pass an instance to `DStream.output`.

    The batch counts as done once `write` has returned. If it raises the batch has failed, is tried again as
    `headwater.streaming.failure.policy` says, and a restart runs it again. So that each record is written once, make
    the writing of a partition, with a note of `batch.identity` and its number, one step that happens as a whole or not
    at all; and write nothing where the note is there. A batch that runs again has the same records in the same
    partitions, as long as the program computes them from its input alone.

    The object is pickled with the program when there is a directory for checkpoints, and its functions travel to
    workers: make connections where they are used.
    """

    unique_name: str = ""
    """Tells the output's notes from those of others. It must stay over restarts: under another name all batches count
    as not written. No other output of the program has it. Empty: there are no notes."""

    must_checkpoint: bool = False
    """Whether it keeps its word only if a restart runs the same batches again: then the context doesn't start without
    a directory for checkpoints."""

    @abstractmethod
    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        """Write a batch, by actions on its RDD.

        Called in the driver, on a thread that runs outputs, with all batches of the stream, empty ones too, in order
        of their times; by one thread at a time, unless `spark.streaming.concurrentJobs` is more than 1 and no batch is
        tried again.

        Args:
            batch: which batch it is.
            rdd: its records.
        """


class FunctionOutput(BatchOutput):
    """A function that is called with each batch, as `foreachRDD` does.

    Args:
        function: takes the RDD, or the batch time, a naive local datetime, and the RDD.
        with_time: whether it takes the time.
    """

    def __init__(self, function: Callable[..., Any], *, with_time: bool) -> None:
        self.function = function
        self._with_time = with_time

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        if self._with_time:
            self.function(batch.time, rdd)
        else:
            self.function(rdd)
