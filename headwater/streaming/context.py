"""StreamingContext: where a streaming program begins, is started and stopped.

Its life is the table `TRANSITIONS`; one context of a process is active at a time. `stop` works from any thread, also
from an output operation, a transform function or a listener, where it goes on in the background.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from headwater import serializers
from headwater.clock import Clock, ManualClock, SystemClock
from headwater.errors import IllegalArgumentException, IllegalStateException, UnsupportedOperationException
from headwater.storagelevel import StorageLevel
from headwater.streaming.dstream import DStream
from headwater.streaming.durations import duration_ms
from headwater.streaming.graph import Graph, InputNode
from headwater.streaming.listener import StreamingListener, StreamingListenerBus
from headwater.streaming.notyet import OF_CONTEXT, refuse
from headwater.streaming.operators.functions import call_site
from headwater.streaming.operators.joined import TransformedAll, United
from headwater.streaming.operators.output import Output
from headwater.streaming.runtime.running import Running
from headwater.streaming.runtime.waiter import Waiter
from headwater.streaming.sources.files import FileInput, FileSelector
from headwater.streaming.sources.queue import QueueInput
from headwater.streaming.sources.received import ReceiverInput
from headwater.streaming.sources.receiver import Receiver
from headwater.streaming.sources.socket import SocketReceiver

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD
    from headwater.streaming.operators.node import Node

logger = logging.getLogger("headwater.streaming.context")

_NO_CHECKPOINTS = (
    "Checkpoints are not there yet: they come with recovery, together with write-ahead logs. Leave out {what}; the "
    "program runs without, and begins anew after a restart."
)


class State(Enum):
    """The life of a context."""

    INITIALIZED = "initialized"
    ACTIVE = "started"
    STOPPED = "stopped"


TRANSITIONS: Mapping[tuple[State, str], State] = {
    (State.INITIALIZED, "start"): State.ACTIVE,
    (State.INITIALIZED, "fail"): State.STOPPED,  # start() found something wrong with the program
    (State.INITIALIZED, "stop"): State.STOPPED,
    (State.ACTIVE, "stop"): State.STOPPED,
}

_ADDING_REFUSED = {
    State.ACTIVE: "Adding new inputs, transformations, and output operations after starting a context is not supported",
    State.STOPPED: "Adding new inputs, transformations, and output operations after stopping a context is not "
    "supported",
}


class StreamingContext:
    """The entry point of streaming: makes input streams, and starts and stops the whole.

    Args:
        sparkContext: where jobs run.
        batchDuration: seconds between batches, at least 0.001. Batch times are multiples of it since the epoch.
        jssc: only for PySpark's signature: there is no JVM.
        clock: when batches are due; for tests, see `headwater.clock.ManualClock`. None takes the machine's time.

    Raises:
        ValueError: no SparkContext, or a duration that is missing, no number, zero or negative.
    """

    _activeContext: ClassVar[StreamingContext | None] = None  # the started one; guarded by _process_lock
    _process_lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(
        self,
        sparkContext: SparkContext,
        batchDuration: float | None = None,
        jssc: None = None,
        clock: Clock | None = None,
    ) -> None:
        if jssc is not None:
            raise ValueError("jssc: there is no JVM here. Pass a SparkContext and a batch duration.")
        if sparkContext is None:
            raise ValueError("Spark Streaming cannot be initialized with both SparkContext and checkpoint as null")
        if batchDuration is None:
            raise ValueError("Batch duration for StreamingContext cannot be null")
        self._batch_ms = duration_ms(batchDuration, "batch duration")
        self._sc = sparkContext
        conf = sparkContext._conf
        if clock is None:
            clock = ManualClock() if conf.read("spark.streaming.clock").endswith("ManualClock") else SystemClock()
        if conf.read("spark.streaming.checkpoint.directory"):
            self.checkpoint(conf.read("spark.streaming.checkpoint.directory"))
        self._clock = clock
        self._state = State.INITIALIZED
        self._graph = Graph(self._batch_ms)
        self._bus = StreamingListenerBus()
        self._waiter = Waiter()
        self._running: Running | None = None  # set once, by start
        self._stopping: threading.Event | None = None  # set when stop has begun; the event when it has ended
        self._started_at = ""  # call site of start, for errors of other contexts

    # -------------------------------------------------------------------------------------------- finding contexts
    def __getattr__(self, name: str) -> Any:
        refuse(self, name, OF_CONTEXT)

    @classmethod
    def getOrCreate(cls, checkpointPath: str, setupFunc: Callable[[], StreamingContext]) -> StreamingContext:
        """Not yet: recover a context from a checkpoint, or else make one.

        Raises:
            UnsupportedOperationException: always.
        """
        raise UnsupportedOperationException(_NO_CHECKPOINTS.format(what="getOrCreate and call the function yourself"))

    @classmethod
    def getActive(cls) -> StreamingContext | None:
        """The context of this process that was started and has not been stopped, or None."""
        with cls._process_lock:
            return StreamingContext._activeContext

    @classmethod
    def getActiveOrCreate(
        cls, checkpointPath: str | None, setupFunc: Callable[[], StreamingContext]
    ) -> StreamingContext:
        """The active context if there is one, else what `setupFunc` returns.

        Raises:
            ValueError: no `setupFunc`.
            UnsupportedOperationException: a `checkpointPath` is given and no context is active.
        """
        if setupFunc is None:
            raise ValueError("setupFunc cannot be None")
        active = cls.getActive()
        if active is not None:
            return active
        return setupFunc() if checkpointPath is None else cls.getOrCreate(checkpointPath, setupFunc)

    @property
    def sparkContext(self) -> SparkContext:
        """The SparkContext."""
        return self._sc

    def getState(self) -> State:
        """Where in its life it is."""
        return self._state

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Begin to receive and to process. Starting a started context only warns.

        Raises:
            IllegalStateException: it was stopped, or another context is active in this process.
            IllegalArgumentException: there is no output operation; the context is stopped then.
        """
        with self._process_lock:
            if self._state is State.ACTIVE:
                logger.warning("StreamingContext has already been started")
                return
            if self._state is State.STOPPED:
                raise IllegalStateException("StreamingContext has already been stopped")
            other = StreamingContext._activeContext
            if other is not None:
                raise IllegalStateException(
                    "Only one StreamingContext may be started in this process. Currently running StreamingContext was "
                    f"started at {other._started_at}. Stop it first, or use StreamingContext.getActive()."
                )
            try:
                self._graph.validate()
                running = Running(
                    self._sc,
                    self._graph,
                    self._clock,
                    bus=self._bus,
                    waiter=self._waiter,
                    properties=self._sc._properties.current,
                )
                running.start()
            except BaseException:
                self._move("fail")
                raise
            self._running = running
            self._started_at = call_site("start")[0].removeprefix("start at ")
            self._move("start")
            StreamingContext._activeContext = self
            atexit.register(self._at_exit)

    def awaitTermination(self, timeout: float | None = None) -> None:
        """Wait until the context stops.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            BaseException: what an output operation or the generation of a batch failed with, itself; also on every
                later call. The context goes on: stop it if that isn't wanted.
        """
        self._waiter.wait(timeout)

    def awaitTerminationOrTimeout(self, timeout: float) -> bool:
        """Wait until the context stops; returns whether it has within `timeout` seconds. Raises as the above does."""
        return self._waiter.wait(timeout)

    def stop(self, stopSparkContext: bool = True, stopGraceFully: bool = False) -> None:
        """Stop receiving and processing; a stopped context can't be started again.

        Called from an output operation, a transform function or a listener it returns at once, and the stop goes on
        in the background: `awaitTermination` returns at its end.

        Args:
            stopSparkContext: whether to stop the SparkContext too, also if this context was stopped before.
            stopGraceFully: finish first what receivers have received and what batches wait; at most
                `spark.streaming.gracefulStopTimeout` for the former.
        """
        with self._process_lock:
            running, state = self._running, self._state
            if state is State.INITIALIZED:
                logger.warning("StreamingContext has not been started yet")
                self._move("stop")
                self._waiter.stop()
            elif state is State.STOPPED:
                logger.warning("StreamingContext has already been stopped")
            first = self._stopping is None
            if state is State.ACTIVE and first:
                self._stopping = threading.Event()
        if state is not State.ACTIVE or running is None:
            if stopSparkContext:
                self._sc.stop()
        elif first:
            if running.runs_here():
                # Not a daemon: the interpreter must not end before the context has.
                arguments = (running, stopSparkContext, stopGraceFully)
                threading.Thread(target=self._stop, args=arguments, name="streaming-stop", daemon=False).start()
            else:
                self._stop(running, stopSparkContext, stopGraceFully)
        else:
            self._join_stop(running, stopSparkContext, stopGraceFully)

    def _stop(self, running: Running, stop_spark_context: bool, gracefully: bool) -> None:
        try:
            running.stop(gracefully=gracefully)
        finally:
            with self._process_lock:
                self._move("stop")
                if StreamingContext._activeContext is self:
                    StreamingContext._activeContext = None
            atexit.unregister(self._at_exit)
            try:
                if stop_spark_context:
                    self._sc.stop()
            finally:
                self._waiter.stop()
                assert self._stopping is not None
                self._stopping.set()

    def _join_stop(self, running: Running, stop_spark_context: bool, gracefully: bool) -> None:
        """Another thread is stopping the context: wait for it, and make it hurry if we are in one."""
        if not gracefully:
            running.hurry()
        if running.runs_here():
            return
        assert self._stopping is not None
        self._stopping.wait()
        if stop_spark_context:
            self._sc.stop()

    def _at_exit(self) -> None:
        gracefully: bool = self._sc._conf.read("spark.streaming.stopGracefullyOnShutdown")
        if self._state is State.ACTIVE:
            self.stop(stopSparkContext=False, stopGraceFully=gracefully)

    def _move(self, step: str) -> None:
        """Take a step of the table; one that isn't there is our bug, and changes nothing."""
        self._state = TRANSITIONS[self._state, step]

    # -------------------------------------------------------------------------------------------- settings
    def remember(self, duration: float) -> None:
        """Have each stream keep its RDDs for at least so many seconds.

        Raises:
            IllegalArgumentException: it was set before.
            ValueError: not a duration.
        """
        ms = duration_ms(duration, "remember duration")
        if self._graph.remember_ms is not None:
            raise IllegalArgumentException(
                f"Remember duration already set as {self._graph.remember_ms} ms. Cannot set it again."
            )
        self._graph.remember_ms = ms

    def checkpoint(self, directory: str | None) -> None:
        """Not yet: set the directory for checkpoints. None is accepted: it means that there are none.

        Raises:
            UnsupportedOperationException: a directory is given.
        """
        if directory is not None:
            raise UnsupportedOperationException(_NO_CHECKPOINTS.format(what=f"checkpoint({directory!r})"))

    def addStreamingListener(self, streamingListener: StreamingListener) -> None:
        """Tell a listener of all that happens from now on; before or after the start."""
        self._bus.add(streamingListener)

    # -------------------------------------------------------------------------------------------- sources
    def socketTextStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream:
        """Lines of UTF-8 text from a TCP server, as str without their ends.

        Connects again whenever the server can't be reached or goes away. Bytes that are not UTF-8 become U+FFFD; such
        lines are counted in the batches' input metadata.

        Args:
            hostname: of the server.
            port: 1 to 65535.
            storageLevel: how received data is kept until it is processed.

        Raises:
            ValueError: the port is out of bounds.
        """
        return self.receiverStream(SocketReceiver(hostname, _port(port), storageLevel))

    def socketStream(
        self,
        hostname: str,
        port: int,
        converter: Callable[[BinaryIO], Iterable[Any]],
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
    ) -> DStream:
        """Records from a TCP server: `converter(binary file object)` gives them, one connection at a time."""
        if not callable(converter):
            raise TypeError(f"converter must be a function of a binary file object, not {converter!r}")
        return self.receiverStream(SocketReceiver(hostname, _port(port), storageLevel, converter))

    def receiverStream(self, receiver: Receiver) -> DStream:
        """What a receiver of the program's own stores.

        Raises:
            TypeError: not a `Receiver`.
            SerializationError: it can't be pickled, so it can't travel to an executor.
        """
        if not isinstance(receiver, Receiver):
            raise TypeError(f"expected a headwater.streaming.Receiver, got {type(receiver).__name__}")
        serializers.dumps(receiver)  # better now than when it is launched
        sc, batch_ms = self._sc, self._batch_ms
        return self._input(lambda stream_id: ReceiverInput(stream_id, batch_ms, sc=sc, receiver=receiver))

    def queueStream(
        self, rdds: list[Any] | deque[Any], oneAtATime: bool = True, default: RDD[Any] | Iterable[Any] | None = None
    ) -> DStream:
        """RDDs, or lists of records, from a queue in the driver.

        Args:
            rdds: a list, which is only read, or a deque, which is emptied. Both may be appended to at any time.
            oneAtATime: whether a batch takes one entry or all there are.
            default: what a batch has when the queue is empty; None: nothing, in one partition.
        """
        queue = rdds if isinstance(rdds, deque) else rdds if isinstance(rdds, list) else list(rdds)
        sc, batch_ms = self._sc, self._batch_ms
        return self._input(
            lambda stream_id: QueueInput(
                stream_id, batch_ms, sc=sc, queue=queue, one_at_a_time=oneAtATime, default=default
            )
        )

    def textFileStream(self, directory: str) -> DStream:
        """Lines of the text files that appear in a directory from now on; move them in, or write them elsewhere first.

        Args:
            directory: a path or a glob of directories; names that begin with `.` or `_` are hidden.
        """
        sc, batch_ms = self._sc, self._batch_ms
        least_ms: int = sc._conf.read("spark.streaming.fileStream.minRememberDuration")
        window_ms = -(-least_ms // batch_ms) * batch_ms
        path = os.path.abspath(directory.removeprefix("file://"))
        selector = FileSelector(path, self._clock.now_ms(), window_ms)
        return self._input(
            lambda stream_id: FileInput(
                stream_id, batch_ms, sc=sc, selector=selector, read=sc.textFile, window_ms=window_ms
            )
        )

    # -------------------------------------------------------------------------------------------- several streams
    def union(self, *dstreams: DStream) -> DStream:
        """The records of all these streams.

        Raises:
            ValueError: there is none, or their slides differ.
        """
        if not dstreams:
            raise ValueError("should have at least one DStream to union")
        if len(dstreams) == 1:
            return dstreams[0]
        if len({stream._node.slide_ms for stream in dstreams}) > 1:
            raise ValueError("All DStreams should have same slide duration")
        self._check_can_add()
        return DStream(United(self._sc, [stream._node for stream in dstreams]), self)

    def transform(self, dstreams: Iterable[DStream], transformFunc: Callable[[list[Any]], Any]) -> DStream:
        """The RDDs that `transformFunc(list of the streams' RDDs)` returns."""
        self._check_can_add()
        nodes = [stream._node for stream in dstreams]
        if not nodes:
            raise ValueError("should have at least one DStream to transform")
        return DStream(TransformedAll(self._sc, nodes, transformFunc), self)

    # -------------------------------------------------------------------------------------------- for DStream
    def _check_can_add(self) -> None:
        if self._state in _ADDING_REFUSED:
            raise IllegalStateException(_ADDING_REFUSED[self._state])

    def _has_started(self) -> bool:
        return self._state is not State.INITIALIZED

    def _input(self, make: Callable[[int], InputNode]) -> DStream:
        self._check_can_add()
        return DStream(self._graph.add_input(make), self)

    def _add_output(self, output: Output) -> None:
        self._check_can_add()
        self._graph.add_output(output)

    def _slice(self, node: Node, from_ms: int, to_ms: int) -> list[RDD[Any]]:
        return self._graph.slice(node, from_ms, to_ms)


def _port(port: Any) -> int:
    if type(port) is not int:
        raise TypeError(f"port must be an int, not {type(port).__name__} {port!r}")
    if not 0 < port < 65536:
        raise ValueError(f"port must be between 1 and 65535, not {port}")
    return port
