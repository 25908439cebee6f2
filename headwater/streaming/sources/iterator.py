"""A stream of whatever a Python iterable gives: pulled on a thread of the driver, cut into batches.

- The thread waits while a batch's worth of records waits for the next batch, or two are unprocessed in all: so
  memory is bounded, and a fast source is slowed down to the pace of processing.
- An asynchronous iterable has an event loop of its own, on that thread.
- Who ends the iterable runs its `finally` blocks: at its end, when it fails, and when the stream is stopped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from headwater.base.threads import WatchedThread
from headwater.errors import SparkException
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.listener import ReceiverError, ReceiverInfo, StreamInputInfo
from headwater.streaming.recovery.keeping import Keeping

if TYPE_CHECKING:
    import asyncio

    from headwater.clock import Clock
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver

logger = logging.getLogger(__name__)

# How long a stop waits for the iterable to return control. Python can't interrupt code that waits elsewhere.
STOP_SECONDS_MAX = 2.0

# No record may be added any more.
_CLOSED = -1


class Puller:
    """Pulls records of an iterable on a thread of its own. The other methods are called by one thread at a time.

    Args:
        source: an iterable, an asynchronous one, or a function without arguments that returns one; the thread calls it.
        records_max: how many records wait for a batch at most; twice as many are unprocessed.
        name: of the stream.
        failed: is told what the source raised, on the thread.
    """

    def __init__(self, source: Any, *, records_max: int, name: str, failed: Callable[[BaseException], None]) -> None:
        self._source = source
        self._records_max = self._most = records_max  # as it is now, and at most
        self._name = name
        self._failed = failed
        self._pulled: deque[Any] = deque()  # appended to by the thread only
        self._under_way = 0  # records that were taken and not processed yet
        self._limit = records_max  # `_pulled` grows up to it; `_CLOSED` at last
        self._room = threading.Condition()  # signalled when the limit changes; guards it and `_cancel`
        self._cancel: Callable[[], None] | None = None  # ends the wait of an asynchronous source
        self._wake: Callable[[], None] | None = None  # has an asynchronous source look at the limit again
        self._thread = WatchedThread(self._run, name=name, on_failure=failed)

    @property
    def waiting(self) -> int:
        """How many records wait for a batch."""
        return len(self._pulled)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is pulled, by our wish; a source may end by itself too."""
        return self._limit == _CLOSED

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    def take(self) -> list[Any]:
        """The records that wait, `records_max` at most; they are under way now."""
        taken = [self._pulled.popleft() for _ in range(min(len(self._pulled), self._records_max))]
        self._add_under_way(len(taken))
        return taken

    def put_back(self, taken: list[Any]) -> None:
        """These records, taken last, wait for a batch again."""
        self._pulled.extendleft(reversed(taken))
        self._add_under_way(-len(taken))

    def limit(self, records: int) -> None:
        """Let at most this many records wait for a batch; at least one, and at most what the program allows."""
        self._records_max = max(1, min(records, self._most))
        self._add_under_way(0)

    def processed(self, records: int) -> None:
        """So many of the records that were taken are processed."""
        self._add_under_way(-records)

    def close(self) -> bool:
        """Pull nothing more; returns whether records wait for a batch."""
        with self._room:
            self._limit = _CLOSED
            self._room.notify_all()
            if self._cancel is not None:
                self._cancel()
        return bool(self._pulled)

    def stop(self) -> None:
        """End the thread, and say what was not processed; waits for the source a while."""
        self.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(STOP_SECONDS_MAX)
            if self._thread.is_alive():
                logger.warning("%s: the source still waits for something: it is left to its thread", self._name)
        if self._pulled:
            logger.warning("%s: %d records that were pulled are not processed", self._name, len(self._pulled))

    def _add_under_way(self, records: int) -> None:
        with self._room:
            self._under_way += records
            if self._limit != _CLOSED:
                self._limit = max(0, min(self._records_max, 2 * self._records_max - self._under_way))
                self._room.notify_all()
                if self._wake is not None:
                    self._wake()

    # -------------------------------------------------------------------------------------------- the thread
    def _run(self) -> None:
        try:
            source = self._source
            if not isinstance(source, (Iterable, AsyncIterable)):
                source = source()
            if isinstance(source, AsyncIterable):
                import asyncio  # here, since it's slow to load, and few programs have such sources

                asyncio.run(self._pull_async(source))
            elif isinstance(source, Iterable):
                self._pull(source)
            else:
                raise TypeError(f"the function must return an iterable or an asynchronous one, not {source!r}")
        except (Exception, SystemExit) as error:
            self._failed(error)
        else:
            logger.info("%s has ended", self._name)

    def _pull(self, source: Iterable[Any]) -> None:
        iterator, pulled = iter(source), self._pulled
        try:
            for record in iterator:
                if self._limit == _CLOSED:
                    self._came_too_late()
                    break
                pulled.append(record)
                if len(pulled) >= self._limit and not self._wait_for_room():
                    break
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    def _wait_for_room(self) -> bool:
        """Returns whether there is; False: the puller is closed."""
        with self._room:
            self._room.wait_for(lambda: self._limit == _CLOSED or len(self._pulled) < self._limit)
            return self._limit != _CLOSED

    async def _pull_async(self, source: AsyncIterable[Any]) -> None:
        import asyncio

        loop, changed, pulled = asyncio.get_running_loop(), asyncio.Event(), self._pulled
        task = asyncio.current_task()
        assert task is not None
        with self._room:
            self._cancel = _in(loop, task.cancel)
            self._wake = _in(loop, changed.set)
            if self._limit == _CLOSED:
                return
        iterator = aiter(source)
        try:
            async for record in iterator:
                if self._limit == _CLOSED:
                    self._came_too_late()
                    break
                pulled.append(record)
                while len(pulled) >= self._limit:
                    await changed.wait()
                    changed.clear()
        except asyncio.CancelledError:
            if self._limit != _CLOSED:
                raise SparkException("the source was cancelled, but not by the stream") from None
        finally:
            with self._room:
                self._cancel = self._wake = None
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    def _came_too_late(self) -> None:
        logger.warning("%s: a record that came while the stream was stopping is dropped", self._name)


def _in(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> Callable[[], None]:
    def from_any_thread() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: there is nothing to tell
            loop.call_soon_threadsafe(call)

    return from_any_thread


class IteratorInput(InputNode):
    """The records that were pulled since the last batch, over as many partitions as there are cores.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes RDDs.
        source: see `Puller`.
        records_max: of a batch.
        clock: stamps an error.
        report: lets awaitTermination raise an error of the source.
        announce: tells listeners of it.
    """

    unrepeatable = "iteratorStream"

    def __init__(
        self,
        stream_id: int,
        batch_ms: int,
        *,
        sc: Driver,
        source: Any,
        records_max: int,
        clock: Clock,
        report: Callable[[BaseException], None],
        announce: Callable[[Any], None],
    ) -> None:
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._label = getattr(source, "__name__", type(source).__name__)
        self._clock = clock
        self._report = report
        self._announce = announce
        self._sizes: dict[int, int] = {}  # batch time -> records, of the batches that are not processed yet
        self._started = False
        self.puller = Puller(source, records_max=records_max, name=self.describe(), failed=self._failed)

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        super().start(zero_ms, remember_ms, keeping)
        if not self._started:
            self._started = True
            self.puller.start()

    def compute(self, time_ms: int) -> RDD[Any]:
        records = self.puller.take()
        try:
            rdd = self._sc.parallelize(records) if records else self._sc.emptyRDD()
        except Exception:
            self.puller.put_back(records)
            raise
        self._sizes[time_ms] = len(records)
        return rdd

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        return StreamInputInfo(self.stream_id, self._sizes.get(time_ms, 0))

    def forget(self, done_ms: int, *, unpersist: bool) -> None:
        super().forget(done_ms, unpersist=unpersist)
        done = [time_ms for time_ms in self._sizes if time_ms <= done_ms]
        self.puller.processed(sum(self._sizes.pop(time_ms) for time_ms in done))

    def limit(self, records_per_second: float) -> None:
        self.puller.limit(int(records_per_second * self.slide_ms / 1000))

    def drain(self) -> int:
        return int(self.puller.close())

    def stop(self) -> None:
        if self._started:
            self.puller.stop()

    def describe(self) -> str:
        return f"iterator stream {self.stream_id} of {self._label}"

    def _failed(self, error: BaseException) -> None:
        wrapped = SparkException(
            f"{self.describe()}: the source raised {type(error).__name__}: {error}. The stream has ended; what came "
            "before is processed."
        )
        wrapped.__cause__ = error
        logger.error("%s", wrapped, exc_info=error)
        self._report(wrapped)
        status = ReceiverInfo(
            self.stream_id,
            f"{type(self).__name__}-{self.stream_id}",
            False,
            "",
            "driver",
            str(wrapped),
            f"{type(error).__name__}: {error}",
            self._clock.now_ms(),
        )
        self._announce(ReceiverError(status))
