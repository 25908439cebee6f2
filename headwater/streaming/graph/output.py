"""Output operations: what a program wants to happen with each batch of a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.base.callsite import working_for
from headwater.streaming.graph.node import Node
from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch

if TYPE_CHECKING:
    from headwater.rdd import RDD

_RULE = "-" * 43


class Output:
    """An output operation: a stream, and what its batches are written by.

    Args:
        parent: the stream.
        sink: called on a thread of the driver when the batch's turn has come.
        operation: the method that made it.
        name: where it was defined, short.
        description: the same as a list of calls.
    """

    def __init__(
        self,
        parent: Node,
        sink: BatchOutput,
        *,
        operation: str,
        name: str,
        description: str,
    ) -> None:
        self.parent = parent
        self.sink = sink
        self.operation = operation
        self.name = name
        self.description = description

    def job(self, time_ms: int) -> Callable[[int], None] | None:
        """What to run for a batch, with the oldest batch that isn't done; None if the stream has no RDD in it.

        The stream's RDD is made now, so that user functions of its transformations run now.
        """
        rdd = self.parent.rdd(time_ms)
        return None if rdd is None else partial(self._run, time_ms, rdd)

    def _run(self, time_ms: int, rdd: RDD[Any], oldest_pending_ms: int) -> None:
        with working_for(self.name):
            self.sink.write(OutputBatch(self.sink.unique_name, time_ms, oldest_pending_ms), rdd)


def printer(num: int) -> Callable[[datetime, RDD[Any]], None]:
    """The function of `pprint`: prints the first `num` records of a batch in Spark's frame."""

    def take_and_print(time: datetime, rdd: RDD[Any]) -> None:
        taken = rdd.take(num + 1)
        lines = [_RULE, f"Time: {time}", _RULE, *map(str, taken[:num])]
        if len(taken) > num:
            lines.append("...")
        # In one piece: with several outputs at once frames must not mix.
        print("\n".join(lines) + "\n", flush=True, file=sys.stdout)

    return take_and_print
