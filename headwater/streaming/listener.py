"""What a streaming application tells its listeners: nine events, in order, from one thread; and a listener for logs.

Every field of an event is a method without arguments, as in PySpark. An absent time or duration is -1, an absent
text None.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.base.threads import WatchedThread
from headwater.statcounter import StatCounter
from headwater.streaming.durations import Time

logger = logging.getLogger(__name__)

# Events that wait for slow listeners, at most. Above it the newest are dropped and counted: a listener that hangs
# must not take the application's memory with it.
QUEUED_EVENTS_MAX = 10_000
# How long the end of the bus waits for a listener that is still busy.
CLOSE_SECONDS_MAX = 5.0
# What `StatsReportListener` shows of a distribution.
QUANTILES_PERCENT = (0, 5, 10, 25, 50, 75, 90, 95, 100)


# ------------------------------------------------------------------------------------------------ what events hold
@dataclass(frozen=True, slots=True)
class StreamInputInfo:
    """What one input stream brought into a batch."""

    _stream: int
    _records: int
    _metadata: Mapping[str, Any] = field(default_factory=dict)

    def inputStreamId(self) -> int:
        """The input stream's id."""
        return self._stream

    def numRecords(self) -> int:
        """Records of the batch from this stream."""
        return self._records

    def metadata(self) -> dict[str, Any]:
        """More about the input, e.g. `files`; `undecodableLines` where a text stream had bytes that are not UTF-8."""
        return dict(self._metadata)

    def metadataDescription(self) -> str | None:
        """A text for people, or None."""
        return self._metadata.get("Description")


@dataclass(frozen=True, slots=True)
class OutputOperationInfo:
    """One output operation of one batch."""

    _batch_time_ms: int
    _id: int
    _name: str
    _description: str
    _start_ms: int = -1
    _end_ms: int = -1
    _failure: str | None = None

    def batchTime(self) -> Time:
        """The batch's time."""
        return Time(self._batch_time_ms)

    def id(self) -> int:
        """The output's number, from 0 in the order of definition."""
        return self._id

    def name(self) -> str:
        """Where it was defined, short."""
        return self._name

    def description(self) -> str:
        """Where it was defined, as a list of calls."""
        return self._description

    def startTime(self) -> int:
        """Milliseconds since the epoch, -1 before the start."""
        return self._start_ms

    def endTime(self) -> int:
        """Milliseconds since the epoch, -1 before the end."""
        return self._end_ms

    def failureReason(self) -> str | None:
        """The traceback of what it failed with, or None."""
        return self._failure


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A batch as it stood when the event was made."""

    _time_ms: int
    _inputs: Mapping[int, StreamInputInfo]
    _submission_ms: int
    _start_ms: int
    _end_ms: int
    _outputs: Mapping[int, OutputOperationInfo]

    def batchTime(self) -> Time:
        """The batch's time."""
        return Time(self._time_ms)

    def streamIdToInputInfo(self) -> dict[int, StreamInputInfo]:
        """What each input stream brought."""
        return dict(self._inputs)

    def submissionTime(self) -> int:
        """When its jobs were handed over, milliseconds since the epoch."""
        return self._submission_ms

    def processingStartTime(self) -> int:
        """When its first output began; -1 before."""
        return self._start_ms

    def processingEndTime(self) -> int:
        """When its last output ended; -1 before."""
        return self._end_ms

    def schedulingDelay(self) -> int:
        """Milliseconds from submission to the start; -1 before."""
        return self._start_ms - self._submission_ms if self._start_ms >= 0 else -1

    def processingDelay(self) -> int:
        """Milliseconds from the start to the end; -1 before."""
        return self._end_ms - self._start_ms if self._end_ms >= 0 and self._start_ms >= 0 else -1

    def totalDelay(self) -> int:
        """Milliseconds from submission to the end; -1 before."""
        return self._end_ms - self._submission_ms if self._end_ms >= 0 else -1

    def numRecords(self) -> int:
        """Records of all input streams."""
        return sum(info.numRecords() for info in self._inputs.values())

    def outputOperationInfos(self) -> dict[int, OutputOperationInfo]:
        """The outputs by number."""
        return dict(self._outputs)


@dataclass(frozen=True, slots=True)
class ReceiverInfo:
    """A receiver as it stood when the event was made."""

    _stream: int
    _name: str
    _active: bool
    _location: str
    _executor: str
    _error_message: str = ""
    _error: str = ""
    _error_ms: int = -1

    def streamId(self) -> int:
        """The input stream's id."""
        return self._stream

    def name(self) -> str:
        """`<class>-<stream id>`."""
        return self._name

    def active(self) -> bool:
        """Whether it runs."""
        return self._active

    def location(self) -> str:
        """The host, or an empty text."""
        return self._location

    def executorId(self) -> str:
        """The executor, or an empty text."""
        return self._executor

    def lastErrorMessage(self) -> str:
        """The latest error or reason for a restart, or an empty text."""
        return self._error_message

    def lastError(self) -> str:
        """The latest error's exception, or an empty text."""
        return self._error

    def lastErrorTime(self) -> int:
        """Milliseconds since the epoch, -1 if there was none."""
        return self._error_ms


# ------------------------------------------------------------------------------------------------ the nine events
@dataclass(frozen=True, slots=True)
class StreamingStarted:
    """The application has started."""

    _time_ms: int

    def time(self) -> int:
        """Milliseconds since the epoch."""
        return self._time_ms


@dataclass(frozen=True, slots=True)
class _ReceiverEvent:
    _info: ReceiverInfo

    def receiverInfo(self) -> ReceiverInfo:
        """The receiver."""
        return self._info


class ReceiverStarted(_ReceiverEvent):
    """A receiver has registered; also after each restart."""

    __slots__ = ()


class ReceiverError(_ReceiverEvent):
    """A receiver has reported an error; it may still run."""

    __slots__ = ()


class ReceiverStopped(_ReceiverEvent):
    """A receiver has stopped, for good or for a restart."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _BatchEvent:
    _info: BatchInfo

    def batchInfo(self) -> BatchInfo:
        """The batch."""
        return self._info


class BatchSubmitted(_BatchEvent):
    """A batch's jobs were handed over."""

    __slots__ = ()


class BatchStarted(_BatchEvent):
    """A batch's first output has begun."""

    __slots__ = ()


class BatchCompleted(_BatchEvent):
    """All outputs of a batch have ended, well or badly."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _OutputEvent:
    _info: OutputOperationInfo

    def outputOperationInfo(self) -> OutputOperationInfo:
        """The output operation."""
        return self._info


class OutputOperationStarted(_OutputEvent):
    """An output operation has begun."""

    __slots__ = ()


class OutputOperationCompleted(_OutputEvent):
    """An output operation has ended, well or badly."""

    __slots__ = ()


StreamingEvent = (
    StreamingStarted
    | ReceiverStarted
    | ReceiverError
    | ReceiverStopped
    | BatchSubmitted
    | BatchStarted
    | BatchCompleted
    | OutputOperationStarted
    | OutputOperationCompleted
)


class StreamingListener:
    """What users extend to be told of a streaming application's life.

    All methods are called on one thread of the application, one at a time, in the order of the events, between
    `StreamingContext.start` and the end of `stop`. An exception is logged, and nothing else: the other listeners and
    the application go on. A method may call `StreamingContext.stop`, which then returns at once.

    >>> failures = []
    >>> class Failures(StreamingListener):
    ...     def onOutputOperationCompleted(self, outputOperationCompleted):
    ...         info = outputOperationCompleted.outputOperationInfo()
    ...         if info.failureReason():
    ...             failures.append((info.batchTime().milliseconds(), info.failureReason().splitlines()[-1]))
    >>> ssc.addStreamingListener(Failures())
    >>> harness.stream([["1"], ["one"], ["3"]]).map(int).foreachRDD(lambda rdd: rdd.count())
    >>> harness.start()
    >>> _ = [harness.runBatch() for _ in range(3)]
    >>> ssc.stop(stopSparkContext=False)
    >>> failures
    [(1000001000, "ValueError: invalid literal for int() with base 10: 'one'")]
    """

    def onStreamingStarted(self, streamingStarted: StreamingStarted) -> None:
        """Called once, first."""

    def onReceiverStarted(self, receiverStarted: ReceiverStarted) -> None:
        """Called when a receiver has registered."""

    def onReceiverError(self, receiverError: ReceiverError) -> None:
        """Called when a receiver has reported an error."""

    def onReceiverStopped(self, receiverStopped: ReceiverStopped) -> None:
        """Called when a receiver has stopped."""

    def onBatchSubmitted(self, batchSubmitted: BatchSubmitted) -> None:
        """Called when a batch's jobs were handed over."""

    def onBatchStarted(self, batchStarted: BatchStarted) -> None:
        """Called when a batch's first output has begun."""

    def onBatchCompleted(self, batchCompleted: BatchCompleted) -> None:
        """Called when all outputs of a batch have ended."""

    def onOutputOperationStarted(self, outputOperationStarted: OutputOperationStarted) -> None:
        """Called when an output operation has begun."""

    def onOutputOperationCompleted(self, outputOperationCompleted: OutputOperationCompleted) -> None:
        """Called when an output operation has ended."""


class StatsReportListener(StreamingListener):
    """Logs, after each batch, how the delays of the latest batches are distributed; at level INFO.

    Two distributions, of the total delay and of the processing time: count, mean, standard deviation, bounds, and the
    quantiles 0, 5, 10, 25, 50, 75, 90, 95 and 100 %.

    Args:
        numBatchInfos: how many batches the distributions cover, at least 1.

    Raises:
        ValueError: less than 1.
    """

    def __init__(self, numBatchInfos: int = 10) -> None:
        if numBatchInfos < 1:
            raise ValueError(f"numBatchInfos must be at least 1, not {numBatchInfos!r}")
        self._infos: deque[BatchInfo] = deque(maxlen=numBatchInfos)

    def onBatchCompleted(self, batchCompleted: BatchCompleted) -> None:
        """Log both distributions."""
        self._infos.append(batchCompleted.batchInfo())
        for line in distribution("Total delay", [info.totalDelay() for info in self._infos]):
            logger.info("%s", line)
        for line in distribution("Processing time", [info.processingDelay() for info in self._infos]):
            logger.info("%s", line)


def distribution(heading: str, values_ms: Iterable[int]) -> list[str]:
    """The lines that say how durations are distributed, as Spark writes them. There is at least one value."""
    ordered = sorted(values_ms)
    quantiles = [ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] for percent in QUANTILES_PERCENT]
    return [
        f"{heading}: {StatCounter(ordered)}",
        "\t" + "\t".join(f"{percent}%" for percent in QUANTILES_PERCENT),
        "\t" + "\t".join(map(_duration_text, quantiles)),
    ]


def _duration_text(ms: int) -> str:
    for unit_ms, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if ms > unit_ms:
            return f"{ms / unit_ms:.1f} {unit}"
    return f"{ms:.1f} ms"


_METHODS: dict[type, str] = {
    kind: "on" + kind.__name__
    for kind in (
        StreamingStarted,
        ReceiverStarted,
        ReceiverError,
        ReceiverStopped,
        BatchSubmitted,
        BatchStarted,
        BatchCompleted,
        OutputOperationStarted,
        OutputOperationCompleted,
    )
}

_END: Any = object()


class StreamingListenerBus:
    """Brings events to listeners on a thread of its own, in the order in which they were posted."""

    def __init__(self) -> None:
        self._listeners: tuple[StreamingListener, ...] = ()  # replaced, never changed: the thread reads it unlocked
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._dropped = 0  # events that found QUEUED_EVENTS_MAX before them
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def dropped(self) -> int:
        """Events lost because the listeners were too slow."""
        return self._dropped

    def add(self, listener: StreamingListener) -> None:
        """Tell `listener` of all events to come. Any thread, before or after the start."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread = WatchedThread(self._deliver, name="streaming-listeners", on_failure=self._go_on)
        self._thread.start()

    def _go_on(self, _failure: BaseException) -> None:
        """Another thread delivers what is queued."""
        self.start()

    def post(self, event: StreamingEvent) -> None:
        """Queue an event. Any thread; never waits."""
        if self._events.qsize() >= QUEUED_EVENTS_MAX:
            with self._lock:
                self._dropped += 1
                first = self._dropped == 1
            if first:
                logger.warning(
                    "%d streaming events wait for the listeners: dropping more of them. A listener is too slow.",
                    QUEUED_EVENTS_MAX,
                )
            return
        self._events.put(event)

    def runs_here(self) -> bool:
        """Whether the caller is a listener's method."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Deliver what is queued, then end; waits `CLOSE_SECONDS_MAX` at most for a listener that is busy."""
        if self._thread is None or self._thread.ident is None:
            return  # it was never started
        self._events.put(_END)
        if not self.runs_here():
            self._thread.join(CLOSE_SECONDS_MAX)
        if self._dropped:
            logger.warning("%d streaming events never reached the listeners.", self._dropped)

    def _deliver(self) -> None:
        while (event := self._events.get()) is not _END:
            name = _METHODS[type(event)]
            for listener in self._listeners:
                method = getattr(listener, name, None)  # duck-typed listeners may leave some out
                if method is None:
                    continue
                try:
                    method(event)
                except BaseException:  # SystemExit too: it must not end this thread
                    logger.exception("Listener %s threw an exception in %s", type(listener).__name__, name)
