"""StreamingContext: where a streaming program begins, is started and stopped.

Its life is the table `TRANSITIONS`; one context of a process is active at a time. `stop` works from any thread, also
from an output operation, a transform function or a listener, where it goes on in the background.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar, overload

from headwater import logs, serializers
from headwater.callsite import place
from headwater.clock import Clock, ManualClock, SystemClock
from headwater.conf import SparkConf as SparkConf
from headwater.context import SparkContext as SparkContext
from headwater.engine.successors import Successors
from headwater.errors import IllegalArgumentException, IllegalStateException, see
from headwater.filesystem import qualify
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function, check_function_or_none, check_port
from headwater.storagelevel import StorageLevel
from headwater.streaming.dstream import DStream
from headwater.streaming.durations import duration_ms, next_multiple_ms
from headwater.streaming.graph import Graph, InputNode
from headwater.streaming.listener import StreamingListener, StreamingListenerBus
from headwater.streaming.operators.functions import call_site
from headwater.streaming.operators.joined import TransformedAll, United
from headwater.streaming.operators.output import Output
from headwater.streaming.recovery.code import fingerprint
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.program import dump_graph
from headwater.streaming.recovery.safekeeping import Found, Safekeeping
from headwater.streaming.runtime import unstarted
from headwater.streaming.runtime.running import Running
from headwater.streaming.runtime.termination import Course, Termination
from headwater.streaming.runtime.waiter import Waiter
from headwater.streaming.sources.filereaders import FileReader, ProgramReader, Reports, records_reader, text_reader
from headwater.streaming.sources.files import file_input
from headwater.streaming.sources.iterator import IteratorInput
from headwater.streaming.sources.queue import QueueInput
from headwater.streaming.sources.raw import RawSocketReceiver
from headwater.streaming.sources.received import ReceiverInput
from headwater.streaming.sources.receiver import Receiver
from headwater.streaming.sources.socket import SocketReceiver
from headwater.threads import WatchedThread

if TYPE_CHECKING:
    from headwater.streaming.operators.node import Node

logger = logging.getLogger("headwater.streaming.context")


T = TypeVar("T")


class StreamingContextState(Enum):
    """The life of a context; `StreamingContext.getState` says where it is."""

    INITIALIZED = "initialized"
    ACTIVE = "started"
    STOPPED = "stopped"


TRANSITIONS: Mapping[tuple[StreamingContextState, str], StreamingContextState] = {
    (StreamingContextState.INITIALIZED, "start"): StreamingContextState.ACTIVE,
    (StreamingContextState.INITIALIZED, "fail"): StreamingContextState.STOPPED,  # start() refused the program
    (StreamingContextState.INITIALIZED, "stop"): StreamingContextState.STOPPED,
    (StreamingContextState.ACTIVE, "stop"): StreamingContextState.STOPPED,
}

_ADDING_REFUSED = {
    state: f"Adding new inputs, transformations, and output operations after {what} a context is not supported"
    + see("added-after-the-start")
    for state, what in ((StreamingContextState.ACTIVE, "starting"), (StreamingContextState.STOPPED, "stopping"))
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
        self._checkpoint_directory: str | None = None
        self._found: Found | None = None  # what the context goes on from
        self._setup: Callable[[], StreamingContext] | None = None  # the function of getOrCreate that made the streams
        self._goes_on = False  # whether its streams are those of a checkpoint
        if clock is None:
            clock = ManualClock() if conf.read("spark.streaming.clock").endswith("ManualClock") else SystemClock()
        if conf.read("spark.streaming.checkpoint.directory"):
            self.checkpoint(conf.read("spark.streaming.checkpoint.directory"))
        self._clock = clock
        self._state = StreamingContextState.INITIALIZED
        self._graph = Graph(self._batch_ms)
        self._bus = StreamingListenerBus()
        self._waiter = Waiter()
        self._running: Running | None = None  # set once, by start
        self._stopping: threading.Event | None = None  # set when stop has begun; the event when it has ended
        self._stopper: threading.Thread | None = None  # who stops it
        self._termination = Termination(
            self._course, self._hurry, gracefully=conf.read("spark.streaming.stopGracefullyOnShutdown")
        )
        self._started_at = ""  # call site of start, for errors of other contexts
        self._created_at = place().partition(" at ")[2]
        self._unstarted = unstarted.watch(self, self._graph, self._created_at)

    def __repr__(self) -> str:
        return f"<StreamingContext: batches of {self._batch_ms / 1000:g} s, {self._state.value}, on {self._sc!r}>"

    def __enter__(self) -> StreamingContext:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, if that hasn't happened yet; the SparkContext, which others may use, goes on."""
        if self._state is not StreamingContextState.STOPPED:
            self.stop(stopSparkContext=False)

    # -------------------------------------------------------------------------------------------- finding contexts
    @classmethod
    def getOrCreate(
        cls, checkpointPath: str, setupFunc: Callable[[], StreamingContext], upgrade: bool = False
    ) -> StreamingContext:
        """Go on from what a driver has left in a directory; if there is nothing, make a context.

        All streams and outputs must be made in `setupFunc`: a context that goes on has them from the checkpoint, and
        its settings too, but for those of the machine (master, ports, directories).

        Args:
            checkpointPath: the directory, on any file system.
            setupFunc: makes a new context; `checkpoint(checkpointPath)` is called on it.
            upgrade: take streams and functions from `setupFunc`, which may be new code, and only the data from the
                checkpoint: states, offsets, what is pending. Streams are matched by their uids (see `DStream.uid`).

        Raises:
            IllegalStateException: another driver works with the directory.
            SparkException: there are checkpoints, and none can be read; nothing is made anew then.
        """
        from headwater.streaming.recovery.restart import get_or_create

        check_function("setupFunc", setupFunc)
        logs.show()  # what is read is spoken of before there is a context
        return get_or_create(cls, checkpointPath, setupFunc, upgrade=upgrade)

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
            SparkException: as for `getOrCreate`.
        """
        if setupFunc is None:
            raise ValueError("setupFunc cannot be None")
        check_function("setupFunc", setupFunc)
        active = cls.getActive()
        if active is not None:
            return active
        return setupFunc() if checkpointPath is None else cls.getOrCreate(checkpointPath, setupFunc)

    @property
    def sparkContext(self) -> SparkContext:
        """The SparkContext."""
        return self._sc

    def getState(self) -> StreamingContextState:
        """Where in its life it is."""
        return self._state

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Begin to receive and to process. Starting a started context only warns.

        Called on the main thread of a program without handlers for SIGTERM and SIGHUP, it installs them until the
        context has stopped: a signal raises `SystemExit` (143 or 129) in the main thread, and the context is stopped as
        the program ends, gracefully if `spark.streaming.stopGracefullyOnShutdown` says so. A second signal doesn't wait
        for that.

        Raises:
            IllegalStateException: it was stopped, or another context is active in this process.
            IllegalArgumentException: there is no output operation; the context is stopped then.
        """
        with self._process_lock:
            if self._state is StreamingContextState.ACTIVE:
                logger.warning("StreamingContext has already been started")
                return
            if self._state is StreamingContextState.STOPPED:
                raise IllegalStateException("StreamingContext has already been stopped")
            other = StreamingContext._activeContext
            if other is not None:
                raise IllegalStateException(
                    "Only one StreamingContext may be started in this process. Currently running StreamingContext was "
                    f"started at {other._started_at}. Stop it first, or use StreamingContext.getActive()."
                    + see("only-one-context")
                )
            try:
                self._graph.validate(self._sc._checkpoint_dir, self._checkpoint_directory)
                self._graph.identify()
                if self._sc._conf.read("headwater.streaming.persistShared"):
                    self._graph.persist_shared()
                running = Running(
                    self._sc,
                    self._graph,
                    self._clock,
                    bus=self._bus,
                    waiter=self._waiter,
                    properties=self._sc._properties.current,
                    stop_context=partial(self.stop, stopSparkContext=False),
                    keeping=self._keeping(),
                )
                running.start()
            except BaseException:
                self._move("fail")
                self._release_found()
                self._waiter.stop()
                raise
            self._running = running
            self._started_at = call_site("start")[0].removeprefix("start at ")
            self._move("start")
            StreamingContext._activeContext = self
            atexit.register(self._at_exit)
            self._termination.install()

    def _keeping(self) -> Keeping:
        """Who keeps what a restart needs."""
        directory, found = self._checkpoint_directory, self._found
        first_ms = next_multiple_ms(self._clock.now_ms(), self._batch_ms)
        ledger = Ledger(self._batch_ms, first_ms - self._batch_ms) if found is None else found.checkpoint.ledger
        if directory is None:
            return Keeping(self._sc._application.directory, ledger)
        upgraded = found is not None and not self._goes_on
        program = dump_graph(self._graph, upgraded=upgraded)
        lock = None if found is None else found.lock
        code = found.checkpoint.code if found is not None and self._goes_on else fingerprint(self._setup)
        keeping = Safekeeping(self._sc, directory, self._graph, program, ledger, lock, code)
        if found is not None:
            keeping.successors = Successors(self._sc.broadcast(self._graph.classes), upgraded)
        keeping.when_lost(self._lose_directory)
        return keeping

    def _lose_directory(self, loss: BaseException) -> None:
        """Another driver works with the checkpoints: this one must not go on."""
        self._waiter.abort(loss)
        self.stop(stopSparkContext=False)

    def _release_found(self) -> None:
        """Let others have the directory: this context does not go on from it."""
        if self._found is not None:
            self._found.lock.close()

    def awaitTermination(self, timeout: float | None = None) -> None:
        """Wait until the context stops.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            BaseException: what an output operation or the generation of a batch failed with, itself; also on every
                later call. The context goes on, unless `headwater.streaming.failure.policy` is `stop`.
            IllegalStateException: it was called by a function of the stream: there it would wait for itself.
        """
        self._wait(timeout)

    def awaitTerminationOrTimeout(self, timeout: float) -> bool:
        """Wait until the context stops; returns whether it has within `timeout` seconds. Raises as the above does."""
        return self._wait(timeout)

    def _wait(self, seconds: float | None) -> bool:
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise TypeError(f"timeout should be a number of seconds or None, got {seconds!r}")
        if self._running is not None and self._running.runs_here():
            raise IllegalStateException(
                "awaitTermination() was called by a function of the stream itself (of foreachRDD, transform or a "
                "listener): it would wait for its own end. Call it once, after start(), on the program's thread; "
                "stop() may be called here."
            )
        if self._state is not StreamingContextState.INITIALIZED:
            return self._waiter.wait(seconds)
        patience = unstarted.START_SECONDS_MAX if seconds is None else min(seconds, unstarted.START_SECONDS_MAX)
        if self._waiter.wait(patience):
            return True
        if self._state is StreamingContextState.INITIALIZED:
            unstarted.say_it_waits()
        return self._waiter.wait(None if seconds is None else seconds - patience)

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
            if state is StreamingContextState.INITIALIZED:
                logger.warning("StreamingContext has not been started yet")
                self._move("stop")
                self._release_found()
                self._waiter.stop()
            elif state is StreamingContextState.STOPPED:
                logger.warning("StreamingContext has already been stopped")
            first = self._stopping is None
            if state is StreamingContextState.ACTIVE and first:
                self._stopping = threading.Event()
        if state is not StreamingContextState.ACTIVE or running is None:
            if stopSparkContext:
                self._sc.stop()
        elif first:
            if running.runs_here():
                # Not a daemon: the interpreter must not end before the context has.
                stop = partial(self._stop, running, stopSparkContext, stopGraceFully)
                WatchedThread(stop, name="streaming-stop", on_failure=self._waiter.report, daemon=False).start()
            else:
                self._stop(running, stopSparkContext, stopGraceFully)
                self._termination.settle()
        else:
            self._join_stop(running, stopSparkContext, stopGraceFully)

    def _stop(self, running: Running, stop_spark_context: bool, gracefully: bool) -> None:
        self._stopper = threading.current_thread()
        try:
            running.stop(gracefully=gracefully or self._termination.wants_grace)
        finally:
            with self._process_lock:
                self._move("stop")
                if StreamingContext._activeContext is self:
                    StreamingContext._activeContext = None
            atexit.unregister(self._at_exit)
            self._termination.restore()
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
        if self._state is StreamingContextState.ACTIVE:
            with contextlib.suppress(SystemExit):  # of a signal that comes now: the program ends anyway
                self.stop(stopSparkContext=False, stopGraceFully=gracefully)

    def _course(self) -> Course:
        if self._state is StreamingContextState.STOPPED:
            return Course.IS_OVER
        return Course.STOPS if self._stopper is threading.main_thread() else Course.RUNS

    def _hurry(self) -> None:
        if self._running is not None:
            self._running.hurry()

    def _move(self, step: str) -> None:
        """Take a step of the table; one that isn't there is our bug, and changes nothing."""
        self._state = TRANSITIONS[self._state, step]
        self._unstarted.detach()

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
        """Keep in this directory, on any file system that all executors reach, what `getOrCreate` goes on from.

        Args:
            directory: is made if it isn't there; one driver at a time works with it. None: there are no checkpoints.

        Raises:
            IllegalArgumentException: all is to be encrypted, by a key that the next driver would not have.
        """
        if directory is None:
            self._sc._checkpoint_dir = self._checkpoint_directory = None
        else:
            key = self._sc._application.key
            if key is not None and not key.lasts:
                raise IllegalArgumentException(
                    "spark.io.encryption.enabled is true, and no key is named: this application's key ends with it, "
                    f"and no other driver could read what is kept in the checkpoint directory {directory}. Name a key "
                    "by headwater.encryption.keyFile or headwater.encryption.keyVariable."
                )
            self._sc.setCheckpointDir(directory)
            self._checkpoint_directory = qualify(directory)

    def addStreamingListener(self, streamingListener: StreamingListener) -> None:
        """Tell a listener of all that happens from now on; before or after the start."""
        self._bus.add(streamingListener)

    # -------------------------------------------------------------------------------------------- sources
    def socketTextStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream[str]:
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
        converter: Callable[[BinaryIO], Iterable[T]],
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
    ) -> DStream[T]:
        """Records from a TCP server: `converter(binary file object)` gives them, one connection at a time."""
        check_function("converter", converter)
        return self.receiverStream(SocketReceiver(hostname, _port(port), storageLevel, converter))

    def rawSocketStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream[Any]:
        """Records from a TCP server that sends blocks, encoded already; made by `headwater.streaming.rawFrame`.

        Blocks are stored as they come: the fastest way in, for a server that you trust (unpickling runs its code). A
        block is a partition. `rawFrame` says how many records it has; where a server of another kind doesn't, they are
        counted in text only, and no rate limits the others. Connects again whenever the server can't be reached, goes
        away, or sends no valid frame.

        Args:
            hostname: of the server.
            port: 1 to 65535.
            storageLevel: how received data is kept until it is processed.

        Raises:
            ValueError: the port is out of bounds.
        """
        return self.receiverStream(RawSocketReceiver(hostname, _port(port), storageLevel))

    def receiverStream(self, receiver: Receiver) -> DStream[Any]:
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
        self,
        rdds: Sequence[RDD[T] | Iterable[T]],
        oneAtATime: bool = True,
        default: RDD[T] | Iterable[T] | None = None,
    ) -> DStream[T]:
        """RDDs, or lists of records, from a queue in the driver.

        Args:
            rdds: a list, which is only read, or a deque, which is emptied. Both may be appended to at any time.
            oneAtATime: whether a batch takes one entry or all there are.
            default: what a batch has when the queue is empty; None: nothing, in one partition.

        Raises:
            TypeError: `rdds` is neither a list nor a deque nor a tuple, or `default` neither an RDD nor records.
        """
        if not isinstance(rdds, (list, deque, tuple)):
            raise TypeError(
                f"rdds must be a list or a deque, not {type(rdds).__name__}. For an iterator of records there is "
                "iteratorStream."
            )
        queue = list(rdds) if isinstance(rdds, tuple) else rdds
        sc, batch_ms = self._sc, self._batch_ms
        return self._input(
            lambda stream_id: QueueInput(
                stream_id, batch_ms, sc=sc, queue=queue, one_at_a_time=oneAtATime, default=default
            )
        )

    def iteratorStream(
        self,
        source: Iterable[T] | AsyncIterable[T] | Callable[[], Iterable[T] | AsyncIterable[T]],
        maxRecordsPerBatch: int = 100_000,
    ) -> DStream[T]:
        """Whatever a Python iterable gives, in the order and at the pace in which it does.

        The source is pulled on a thread of the driver; an asynchronous one has an event loop of its own there. What
        came since the last batch is the next one. When a batch's worth waits, or two are unprocessed in all, the
        source isn't asked for more. Its end is the end of the stream: later batches are empty. What it raises is
        raised by `awaitTermination`, as cause of a SparkException that names the stream, and listeners are told by
        `onReceiverError`; what came before is processed. `stop` closes a generator, so that its `finally` blocks run:
        an asynchronous one at once, any other when it gives its next record. A graceful stop processes what was pulled.

        Args:
            source: an iterable or an asynchronous one; or a function without arguments that returns one, such as a
                generator function, called when the context starts.
            maxRecordsPerBatch: records of a batch at most, at least 1.

        Raises:
            TypeError: it is none of these, or a text.
            ValueError: `maxRecordsPerBatch` is less than 1.

        >>> def countdown():
        ...     yield from (3, 2, 1)
        >>> from headwater.testing import StreamHarness
        >>> with StreamHarness(sparkContext=sc) as harness:
        ...     records = harness.collect(harness.ssc.iteratorStream(countdown))
        ...     while sum(records, []) != [3, 2, 1]:
        ...         _ = harness.run()
        """
        if isinstance(source, (str, bytes)) or not (isinstance(source, (Iterable, AsyncIterable)) or callable(source)):
            raise TypeError(f"source must be an iterable, or a function that returns one, not {source!r}")
        if type(maxRecordsPerBatch) is not int or maxRecordsPerBatch < 1:
            raise ValueError(f"maxRecordsPerBatch must be an int of at least 1, not {maxRecordsPerBatch!r}")
        return self._input(
            lambda stream_id: IteratorInput(
                stream_id,
                self._batch_ms,
                sc=self._sc,
                source=source,
                records_max=maxRecordsPerBatch,
                clock=self._clock,
                report=self._waiter.report,
                announce=self._bus.post,
            )
        )

    def textFileStream(self, directory: str) -> DStream[str]:
        """Lines of the text files that appear in a directory from now on; move them in, or write them elsewhere first.

        Which files belong to a batch is said by `headwater.streaming.fileStream.selection`. Names that begin with `.`
        or `_` are hidden, directories below are not entered. Large files are split among tasks; compressed ones
        (.gz, .bz2, .zst, .deflate) are not. A file that can't be read is left out of its batch, and tried again for
        `headwater.streaming.fileStream.retryTimeout`. Files that are there already aren't read: for those there is
        `fileStream(directory, newFilesOnly=False)`.

        Args:
            directory: a path or a glob of directories, local or a URL that fsspec knows. It need not exist yet.

        Raises:
            SparkException: a URL that needs a package which isn't there.
        """
        return self.fileStream(directory)

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        reader: None = None,
    ) -> DStream[str]: ...

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        *,
        reader: Callable[[SparkContext, str], RDD[T]],
    ) -> DStream[T]: ...

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None,
        newFilesOnly: bool,
        reader: Callable[[SparkContext, str], RDD[T]],
    ) -> DStream[T]: ...

    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        reader: Callable[[SparkContext, str], RDD[Any]] | None = None,
    ) -> DStream[Any]:
        """Records of the files that appear in a directory, see `textFileStream`.

        Args:
            directory: a path or a glob of directories, local or a URL that fsspec knows. It need not exist yet.
            filter: `filter(path)` says whether to take a file now; it is asked again with each batch. Called in the
                driver, with an absolute path or a URL.
            newFilesOnly: False takes files too that were there before; by modification time (the default selection)
                only those of the last `spark.streaming.fileStream.minRememberDuration`.
            reader: `reader(sparkContext, path)` returns the RDD of a file; called in the driver, once a file. None:
                the records are lines of text. A file for which it raises is left out and tried again with the next
                batches; `awaitTermination` raises an error that names it, unless it is an OSError.

        Raises:
            TypeError: `directory` is no text, or `filter` or `reader` no function.
            SparkException: a URL that needs a package which isn't there.
        """
        check_function_or_none("filter", filter)
        check_function_or_none("reader", reader)
        if reader is None:
            return self._file_stream(directory, filter, newFilesOnly, text_reader)
        make = reader
        return self._file_stream(directory, filter, newFilesOnly, lambda sc, reports: ProgramReader(sc, make, reports))

    def binaryRecordsStream(self, directory: str, recordLength: int) -> DStream[bytes]:
        """Records of a fixed length, as bytes, of the files that appear in a directory, see `textFileStream`.

        A file that ends within a record is left out, `awaitTermination` raises an error that names it, and it is
        tried again with the next batches.

        Args:
            directory: a path or a glob of directories, local or a URL that fsspec knows. It need not exist yet.
            recordLength: bytes of a record, at least 1.

        Raises:
            ValueError: the length is out of bounds.
        """
        if type(recordLength) is not int or recordLength < 1:
            raise ValueError(f"recordLength must be an int of at least 1 byte, not {recordLength!r}")
        return self._file_stream(directory, None, True, lambda sc, reports: records_reader(sc, reports, recordLength))

    def _file_stream(
        self,
        directory: str,
        accept: Callable[[str], bool] | None,
        new_files_only: bool,
        make_reader: Callable[[SparkContext, Reports], FileReader],
    ) -> DStream[Any]:
        if not isinstance(directory, str):
            raise TypeError(f"directory must be a str, not {directory!r}")
        return self._input(
            lambda stream_id: file_input(
                stream_id,
                self._batch_ms,
                sc=self._sc,
                clock=self._clock,
                directory=directory,
                accept=accept,
                new_files_only=new_files_only,
                make_reader=make_reader,
                report=self._waiter.report,
            )
        )

    # -------------------------------------------------------------------------------------------- several streams
    def union(self, *dstreams: DStream[T]) -> DStream[T]:
        """The records of all these streams.

        Raises:
            ValueError: there is none, or their slides differ.
        """
        if not dstreams:
            raise ValueError("should have at least one DStream to union")
        _streams(dstreams, "union")
        if len(dstreams) == 1:
            return dstreams[0]
        if len({stream._node.slide_ms for stream in dstreams}) > 1:
            raise ValueError("All DStreams should have same slide duration")
        self._check_can_add()
        return DStream(United(self._sc, [stream._node for stream in dstreams]), self)

    def transform(
        self, dstreams: Iterable[DStream[Any]], transformFunc: Callable[[list[Any]], RDD[T] | None]
    ) -> DStream[T]:
        """The RDDs that `transformFunc(list of the streams' RDDs)` returns."""
        self._check_can_add()
        check_function("transformFunc", transformFunc)
        nodes = [stream._node for stream in _streams(dstreams, "transform")]
        if not nodes:
            raise ValueError("should have at least one DStream to transform")
        return DStream(TransformedAll(self._sc, nodes, transformFunc), self)

    # -------------------------------------------------------------------------------------------- for DStream
    def _check_can_add(self) -> None:
        if self._state in _ADDING_REFUSED:
            raise IllegalStateException(_ADDING_REFUSED[self._state])
        if self._goes_on:
            raise IllegalStateException(
                "Adding new inputs, transformations, and output operations to a context that goes on from a checkpoint "
                "is not supported: it has those of the checkpoint. Define all of them in the function that is passed "
                "to getOrCreate; if that has changed, getOrCreate(path, setup, upgrade=True) takes the new ones."
                + see("added-after-the-start")
            )

    def _take(self, graph: Graph) -> None:
        """Have the streams of a checkpoint."""
        self._graph = graph
        self._unstarted.detach()
        self._unstarted = unstarted.watch(self, graph, self._created_at)

    def _has_started(self) -> bool:
        return self._state is not StreamingContextState.INITIALIZED

    def _input(self, make: Callable[[int], InputNode]) -> DStream[Any]:
        self._check_can_add()
        return DStream(self._graph.add_input(make), self)

    def _add_output(self, output: Output) -> None:
        self._check_can_add()
        self._graph.add_output(output)

    def _slice(self, node: Node, from_ms: int, to_ms: int) -> list[RDD[Any]]:
        return self._graph.slice(node, from_ms, to_ms)


def _streams(given: Iterable[Any], method: str) -> list[DStream[Any]]:
    streams = list(given)
    for stream in streams:
        if not isinstance(stream, DStream):
            raise TypeError(f"{method}: expected DStreams, got {stream!r} of type {type(stream).__name__}")
    return streams


def _port(port: Any) -> int:
    check_port("port", port)
    return int(port)
