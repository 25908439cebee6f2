"""Output operations: what a program wants to happen with each batch of a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headwater.base.callsite import working_for
from headwater.streaming.durations import local_datetime
from headwater.streaming.graph.node import Node

if TYPE_CHECKING:
    from headwater.rdd import RDD

_RULE = "-" * 43


class Output:
    """An output operation: a stream, and a function to call with each of its RDDs.

    Args:
        parent: the stream.
        function: called on a thread of the driver when the batch's turn has come.
        with_time: whether it takes the batch time first.
        name: where it was defined, short.
        description: the same as a list of calls.
        must_checkpoint: whether it keeps its word only if a restart runs the same batches again.
    """

    def __init__(
        self,
        parent: Node,
        function: Callable[..., Any],
        *,
        with_time: bool,
        name: str,
        description: str,
        must_checkpoint: bool = False,
    ) -> None:
        self.parent = parent
        self.name = name
        self.description = description
        self.function = function
        self.must_checkpoint = must_checkpoint
        self._with_time = with_time

    def job(self, time_ms: int) -> Callable[[], None] | None:
        """What to run for a batch; None if the stream has no RDD in it.

        The stream's RDD is made now, so that user functions of its transformations run now.
        """
        rdd = self.parent.rdd(time_ms)
        return None if rdd is None else lambda: self._run(time_ms, rdd)

    def _run(self, time_ms: int, rdd: RDD[Any]) -> None:
        with working_for(self.name):
            if self._with_time:
                self.function(local_datetime(time_ms), rdd)
            else:
                self.function(rdd)


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
