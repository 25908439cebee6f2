"""StreamHarness: a StreamingContext that a test feeds batches, and whose results it reads batch by batch.

Time stands still between batches, so nothing depends on how fast a machine is. A batch that fails raises in the test.
"""

from __future__ import annotations

import os
import queue
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from headwater.clock import ManualClock
from headwater.conf import SparkConf
from headwater.context import SparkContext
from headwater.errors import IllegalStateException
from headwater.streaming.context import StreamingContext, StreamingContextState
from headwater.streaming.dstream import DStream
from headwater.streaming.durations import duration_ms, next_multiple_ms
from headwater.streaming.graph.node import Node
from headwater.streaming.graph.output import Output
from headwater.streaming.listener import (
    BatchCompleted,
    BatchInfo,
    BatchSubmitted,
    OutputOperationCompleted,
    StreamingListener,
)
from headwater.streaming.outputs.batchoutput import FunctionOutput

T = TypeVar("T")
Entered = TypeVar("Entered", bound="StreamHarness")

# The clock's first reading: 500 ms before a batch time of any interval that divides 1000 s.
_FIRST_MS = 1_000_000_000 - 500
# How often a wait for a batch looks whether the context has stopped.
_LOOK_SECONDS = 0.1


class StreamHarness:
    """A StreamingContext on a clock that moves when the test says so. A context manager: its end stops everything.

    Define streams and outputs on `stream(...)` and `collect(...)`, or on `ssc` directly; then let batches pass by `run`
    or `advance`, the first of which starts the context.

    Args:
        batchDuration: seconds between batches, at least 0.001. They cost no waiting.
        sparkContext: where jobs run; it is left running. None makes one, which is stopped at the end.
        conf: settings of the SparkContext that is made; the master is `local[2]` unless it says otherwise.
        patience: seconds to wait at most for a batch to complete.

    Raises:
        ValueError: both a SparkContext and settings for one are given, or `batchDuration` is not a duration.

    >>> with StreamHarness() as harness:
    ...     words = harness.stream([["to", "be"], ["or"]])
    ...     lengths = harness.collect(words.map(len))
    ...     infos = harness.run(3)
    >>> lengths
    [[2, 2], [2], []]
    """

    def __init__(
        self,
        batchDuration: float = 1.0,
        sparkContext: SparkContext | None = None,
        conf: SparkConf | None = None,
        patience: float = 30.0,
    ) -> None:
        self._batch_ms = duration_ms(batchDuration, "batch duration")
        if sparkContext is not None and conf is not None:
            raise ValueError("conf: the SparkContext that is given has settings already. Leave out one of both.")
        self._owns_context = sparkContext is None
        self._patience = patience
        self._sc = _new_context(conf) if sparkContext is None else sparkContext
        self._clock = ManualClock(_FIRST_MS)
        self._ssc = StreamingContext(self._sc, batchDuration, clock=self._clock)
        self._progress = _Progress()
        self._ssc.addStreamingListener(self._progress)
        self._infos: list[BatchInfo] = []
        self._queues: dict[Node, list[Iterable[Any]]] = {}  # of the streams that `stream` made
        self._checkpoints: tempfile.TemporaryDirectory[str] | None = None
        self._checkpoints_before: str | None = None  # of the SparkContext, which may go on

    def __enter__(self: Entered) -> Entered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------- what it holds
    @property
    def ssc(self) -> StreamingContext:
        """The StreamingContext: other sources and outputs are added to it as in a program.

        >>> harness.ssc.iteratorStream(range(3)).pprint()
        """
        return self._ssc

    @property
    def sc(self) -> SparkContext:
        """The SparkContext.

        >>> harness.sc.parallelize([1, 2]).sum()
        3
        """
        return self._sc

    @property
    def clock(self) -> ManualClock:
        """The clock that batches follow.

        >>> harness.clock.now_ms()
        999999500
        """
        return self._clock

    @property
    def infos(self) -> list[BatchInfo]:
        """What listeners hear of the batches that have completed, in order.

        >>> _ = harness.results(harness.stream([["a"], ["b"]]))
        >>> [str(info.batchTime()) for info in harness.infos]
        ['1000000000 ms', '1000001000 ms']
        """
        return list(self._infos)

    # -------------------------------------------------------------------------------------------- in and out
    def stream(self, batches: Iterable[Iterable[T]] = ()) -> DStream[T]:
        """A stream of given records.

        Args:
            batches: the records of its first batches; those after them are empty unless `feed` adds more.

        >>> harness.results(harness.stream([[1, 2], [], [3]]))
        [[1, 2], [], [3]]
        """
        entries = list(batches)
        stream = self._ssc.queueStream(entries)
        self._queues[stream.node] = entries
        return stream

    def feed(self, stream: DStream[Any], *batches: Iterable[Any]) -> None:
        """Add batches to a stream that `stream` made, after those that it has.

        Args:
            stream: the stream.
            batches: the records of each.

        Raises:
            ValueError: the stream is another one.

        >>> numbers = harness.stream()
        >>> harness.feed(numbers, [1], [2])
        >>> harness.results(numbers)
        [[1], [2]]
        """
        if stream.node not in self._queues:
            raise ValueError("only streams that the harness's stream() has made can be fed")
        self._queues[stream.node].extend(batches)

    def collect(self, stream: DStream[Any], arrange: Callable[[list[Any]], Any] = list) -> list[Any]:
        """A list that gets what a stream holds, an entry a batch, as batches complete.

        Args:
            stream: what to read.
            arrange: makes an entry of a batch's records, e.g. `sorted`, `dict` or `collections.Counter`: the order of
                records after a shuffle means nothing.

        >>> numbers = harness.stream([[1, 2], [3]])
        >>> sums, largest = harness.collect(numbers, sum), harness.collect(numbers.reduce(max))
        >>> _ = harness.run(2)
        >>> sums, largest
        ([3, 3], [[2], [3]])
        """
        collected: list[Any] = []
        stream.foreachRDD(lambda rdd: collected.append(arrange(rdd.collect())))
        return collected

    def results(
        self, stream: DStream[Any], arrange: Callable[[list[Any]], Any] = list, batches: int | None = None
    ) -> list[Any]:
        """What a stream holds, an entry a batch: `collect` and `run` in one call, for a test of one stream.

        Args:
            stream: what to read.
            arrange: as for `collect`.
            batches: how many pass, at least 1. None: those that `stream` and `feed` were given, the longest of them.

        Raises:
            BaseException: as `run`.
            IllegalStateException: the context has started: `collect` before that.

        >>> lines = harness.stream([["to be"], ["or not"]])
        >>> harness.results(lines.flatMap(str.split))
        [['to', 'be'], ['or', 'not']]
        """
        collected = self.collect(stream, arrange)
        self.run(max(map(len, self._queues.values()), default=1) if batches is None else batches)
        return collected

    def write(self, path: str | Path, content: str | bytes) -> None:
        """Write a file that a stream of files takes in the next batch: its modification time is that of the batch.

        Args:
            path: its directory exists.
            content: a str is written as UTF-8.

        >>> lines = harness.ssc.textFileStream(directory)
        >>> harness.write(f"{directory}/1.txt", "to be")
        >>> harness.results(lines)
        [['to be']]
        """
        path = Path(path)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, ns=(self._next_ms() * 1_000_000,) * 2)

    def checkpoint(self) -> str:
        """Give the context a checkpoint directory, as some operations need; returns its path. It goes at the end.

        >>> _ = harness.checkpoint()
        >>> harness.results(harness.stream([["a"], ["b"]]).countByWindow(2, 1))
        [[1], [2]]
        """
        if self._checkpoints is None:
            self._checkpoints = tempfile.TemporaryDirectory(prefix="headwater-testing-")
            self._checkpoints_before = self._sc.checkpoint_directory
            self._ssc.checkpoint(self._checkpoints.name)
        return self._checkpoints.name

    # -------------------------------------------------------------------------------------------- time
    def start(self) -> None:
        """Start the context, if it hasn't started. `run` and `advance` do so by themselves.

        Raises:
            IllegalArgumentException: there is no output, so nothing to run: `collect` something.

        >>> harness.stream().pprint()
        >>> harness.start()
        """
        if self._ssc.getState() is not StreamingContextState.INITIALIZED:
            return
        if self._ssc.graph.outputs:
            # The last job of each batch: so a batch in which no stream of the test is due completes too.
            name = "end of the harness's batch"
            every_batch = _EveryBatch(self._sc, self._queues, self._batch_ms)
            nothing = FunctionOutput(lambda rdd: None, with_time=False)
            self._ssc.add_output(Output(every_batch, nothing, operation="foreachRDD", name=name, description=name))
        self._ssc.start()

    def run(self, batches: int = 1) -> list[BatchInfo]:
        """Let batches pass, one after the other; returns what listeners hear of them.

        Args:
            batches: how many.

        Raises:
            BaseException: what an output or a transformation of one of them failed with, itself. The batch has
                completed then, and the next call goes on after it.
            TimeoutError: a batch did not complete in time.
            IllegalStateException: the context has stopped.

        >>> doubled = harness.collect(harness.stream([[1], [2]]).map(lambda n: 2 * n))
        >>> len(harness.run(2)), doubled
        (2, [[2], [4]])
        """
        self.start()
        infos = []
        for _ in range(batches):
            infos.append(self.runBatch())
            self._raise_failure_of(infos[-1])
        return infos

    def advance(self, seconds: float) -> list[BatchInfo]:
        """Move the clock on, and let the batches that become due pass, each at its time; returns their infos.

        Args:
            seconds: how far, in seconds, at least 0.001.

        Raises:
            BaseException: as `run`; the clock stands at the batch that failed then.

        >>> windows = harness.collect(harness.stream([[1], [2], [3], [4]]).window(2, 2))
        >>> len(harness.advance(4)), windows
        (4, [[1, 2], [3, 4]])
        """
        self.start()
        until_ms = self._clock.now_ms() + duration_ms(seconds, "seconds")
        infos = []
        while self._next_ms() <= until_ms:
            infos += self.run()
        self._clock.advance(until_ms - self._clock.now_ms())
        return infos

    def runBatch(self) -> BatchInfo:
        """Let one batch pass in a context that has started; its failure isn't raised but in the info that's returned.

        Raises:
            TimeoutError: it did not complete in time.
            IllegalStateException: the context has stopped.

        >>> harness.stream([[0]]).map(lambda n: 1 / n).pprint()
        >>> harness.start()
        >>> [output.failureReason() is not None for output in harness.runBatch().outputOperationInfos().values()]
        [True, False]
        """
        time_ms = self._next_ms()
        self._clock.advance(time_ms - self._clock.now_ms())
        info = self._completed(time_ms)
        self._infos.append(info)
        return info

    def close(self) -> None:
        """Stop the context, and the SparkContext if the harness made it; remove the checkpoint directory.

        >>> harness.stream().pprint()
        >>> harness.start()
        >>> harness.close()
        >>> harness.ssc.getState()
        <StreamingContextState.STOPPED: 'stopped'>
        """
        self._ssc.stop(stopSparkContext=self._owns_context)
        if self._checkpoints is not None:
            self._sc.checkpoint_directory = self._checkpoints_before
            self._checkpoints.cleanup()

    def _next_ms(self) -> int:
        return next_multiple_ms(self._clock.now_ms(), self._batch_ms)

    def _completed(self, time_ms: int) -> BatchInfo:
        deadline = time.monotonic() + self._patience
        while True:
            # What its listeners were to hear they have heard then.
            stopped = self._ssc.getState() is StreamingContextState.STOPPED
            try:
                info = self._progress.completed.get(timeout=0 if stopped else _LOOK_SECONDS)
            except queue.Empty:
                if stopped:
                    self._ssc.awaitTermination(0)  # raises what it has stopped for
                    text = f"the context stopped before the batch of {time_ms} ms had completed"
                    raise IllegalStateException(text) from None
                if time.monotonic() >= deadline:
                    raise TimeoutError(
                        f"the batch of {time_ms} ms has not completed within {self._patience:g} s. Outputs that have "
                        f"not ended: {', '.join(self._progress.unfinished()) or 'none; it was not generated'}"
                    ) from self._error()
            else:
                if info.batchTime().milliseconds() == time_ms:
                    return info

    def _error(self) -> Exception | None:
        """What the context has failed with last."""
        try:
            self._ssc.awaitTerminationOrTimeout(0)
        except Exception as error:
            return error
        return None

    def _raise_failure_of(self, info: BatchInfo) -> None:
        if any(output.failureReason() is not None for output in info.outputOperationInfos().values()):
            self._ssc.awaitTerminationOrTimeout(0)


class _EveryBatch(Node):
    """A stream of empty batches, which has its parents give each of theirs at its time, also where no window wants it.

    Args:
        sc: makes RDDs.
        parents: streams of the batch interval.
        batch_ms: the batch interval.
    """

    def __init__(self, sc: SparkContext, parents: Iterable[Node], batch_ms: int) -> None:
        super().__init__(tuple(parents), batch_ms)
        self._sc = sc

    def compute(self, time_ms: int) -> Any:
        for parent in self.parents:
            parent.rdd(time_ms)
        return self._sc.emptyRDD()


class _Progress(StreamingListener):
    """Hears of batches, on the listeners' thread."""

    def __init__(self) -> None:
        self.completed: queue.SimpleQueue[BatchInfo] = queue.SimpleQueue()
        self._unfinished: dict[tuple[int, int], str] = {}  # (batch time, output) -> its name

    def unfinished(self) -> list[str]:
        """The outputs that were submitted and have not ended."""
        return [f"{name} of {time_ms} ms" for (time_ms, _), name in sorted(self._unfinished.items())]

    def onBatchSubmitted(self, batchSubmitted: BatchSubmitted) -> None:
        info = batchSubmitted.batchInfo()
        for output_id, output in info.outputOperationInfos().items():
            self._unfinished[info.batchTime().milliseconds(), output_id] = output.name()

    def onOutputOperationCompleted(self, outputOperationCompleted: OutputOperationCompleted) -> None:
        output = outputOperationCompleted.outputOperationInfo()
        self._unfinished.pop((output.batchTime().milliseconds(), output.id()), None)

    def onBatchCompleted(self, batchCompleted: BatchCompleted) -> None:
        self.completed.put(batchCompleted.batchInfo())


def _new_context(conf: SparkConf | None) -> SparkContext:
    settings = SparkConf(loadDefaults=False)
    settings.setMaster("local[2]").setAppName("StreamHarness")
    if conf is not None:
        settings.setAll(conf.getAll())
    return SparkContext(conf=settings)
