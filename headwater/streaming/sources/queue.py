"""A stream from a queue of RDDs in the driver; mostly for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headwater.streaming.graph.inputs import InputNode

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


# A graceful stop takes as many entries of a queue, as Spark's does: the batch that is due, and one more.
DRAINED_MAX = 2


class QueueInput(InputNode):
    """Takes RDDs, or iterables of records, from a queue: one a batch, or all there are.

    A list is read by position and never changed, so that what the program appends later is seen and two streams can
    share one list; a deque is emptied as it is read. The program, which fills it, decides how long it gets.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes RDDs of iterables.
        queue: a list or deque.
        one_at_a_time: whether a batch takes one entry or all.
        default: what a batch has when the queue is empty; None: an empty RDD of one partition.
    """

    owns_rdds = False  # they are the program's
    is_stored = True
    unrepeatable = "queueStream"

    def __init__(
        self,
        stream_id: int,
        batch_ms: int,
        *,
        sc: Driver,
        queue: list[Any] | deque[Any],
        one_at_a_time: bool,
        default: RDD[Any] | Iterable[Any] | None,
    ) -> None:
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._queue = queue
        self._one_at_a_time = one_at_a_time
        self._position = 0  # entries of a list that were taken
        self._default = None if default is None else self._rdd_of(default)

    def compute(self, time_ms: int) -> RDD[Any]:
        entries = self._take()
        if not entries:
            return self._sc.parallelize([], 1) if self._default is None else self._default
        rdds = [self._rdd_of(entry) for entry in entries]
        return rdds[0] if len(rdds) == 1 else self._sc.union(rdds)

    def _take(self) -> list[Any]:
        most = 1 if self._one_at_a_time else len(self._queue)
        if isinstance(self._queue, deque):
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        taken = self._queue[self._position : self._position + most]
        self._position += len(taken)
        return taken

    def drain(self) -> int:
        return min(len(self._queue) - self._position, DRAINED_MAX if self._one_at_a_time else 1)

    def _rdd_of(self, entry: Any) -> RDD[Any]:
        from headwater.rdd import RDD

        if isinstance(entry, RDD):
            return entry
        if not isinstance(entry, Iterable):
            raise TypeError(
                f"{self.describe()}: an entry must be an RDD or an iterable of records, not {entry!r}. It is left out."
            )
        return self._sc.parallelize(entry)
