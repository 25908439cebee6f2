"""StreamingContext: where a streaming program begins, is started and stopped.

Its life is the table `LIFE`; one context of a process is active at a time. `stop` works from any thread, also
from an output operation, a transform function or a listener, where it goes on in the background.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from headwater.base import logs
from headwater.base.callables import call_site
from headwater.base.callsite import place
from headwater.base.lives import Table
from headwater.base.threads import WatchedThread
from headwater.clock import Clock, ManualClock, SystemClock
from headwater.conf import SparkConf as SparkConf
from headwater.context import SparkContext as SparkContext
from headwater.engine.successors import Successors
from headwater.errors import IllegalArgumentException, IllegalStateException, SparkException
from headwater.filesystem import qualify
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function
from headwater.streaming import unstarted
from headwater.streaming.dstream import DStream
from headwater.streaming.durations import duration_ms, next_multiple_ms
from headwater.streaming.graph.graph import Graph
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.graph.joined import TransformedAll, United
from headwater.streaming.graph.output import Output
from headwater.streaming.graph.program import dump_graph, load_graph
from headwater.streaming.inputs import InputStreams
from headwater.streaming.listener import StreamingListener, StreamingListenerBus
from headwater.streaming.recovery.code import changed_files, fingerprint
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.restart import find, recovered_conf, refuse_another_key, warn_if_changed
from headwater.streaming.recovery.safekeeping import Found, Safekeeping
from headwater.streaming.running import Running
from headwater.streaming.termination import Course, Termination
from headwater.streaming.waiter import Waiter

logger = logging.getLogger("headwater.streaming.context")


T = TypeVar("T")


class StreamingContextState(Enum):
    """The life of a context; `StreamingContext.getState` says where it is."""

    INITIALIZED = "initialized"
    ACTIVE = "started"
    STOPPED = "stopped"


LIFE: Table[StreamingContextState, Literal["start", "fail", "stop"]] = Table(
    "the StreamingContext",
    StreamingContextState.INITIALIZED,
    {
        (StreamingContextState.INITIALIZED, "start"): StreamingContextState.ACTIVE,
        (StreamingContextState.INITIALIZED, "fail"): StreamingContextState.STOPPED,  # start() refused the program
        (StreamingContextState.INITIALIZED, "stop"): StreamingContextState.STOPPED,
        (StreamingContextState.ACTIVE, "stop"): StreamingContextState.STOPPED,
    },
)

_ADDING_REFUSED = {
    state: f"Adding new inputs, transformations, and output operations after {what} a context is not supported"
    for state, what in ((StreamingContextState.ACTIVE, "starting"), (StreamingContextState.STOPPED, "stopping"))
}


class StreamingContext(InputStreams):
    """The entry point of streaming: makes input streams, and starts and stops the whole.

    Args:
        sparkContext: where jobs run.
        batchDuration: seconds between batches, at least 0.001. Batch times are multiples of it since the epoch.
        jssc: only for PySpark's signature: there is no JVM.
        clock: when batches are due; for tests, see `headwater.clock.ManualClock`. None takes the machine's time.

    Raises:
        ValueError: no SparkContext, or a duration that is missing, no number, zero or negative.
    """

    kept_as = "StreamingContext"  # a checkpoint leaves it out: see graph/program.py
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
        self.batch_ms = duration_ms(batchDuration, "batch duration")  # never changed
        self._sc = sparkContext
        conf = sparkContext.conf
        self._checkpoint_directory: str | None = None
        self._found: Found | None = None  # what the context goes on from
        self._setup: Callable[[], StreamingContext] | None = None  # the function of getOrCreate that made the streams
        self._goes_on = False  # whether its streams are those of a checkpoint
        if clock is None:
            clock = ManualClock() if conf.read("spark.streaming.clock").endswith("ManualClock") else SystemClock()
        if conf.read("spark.streaming.checkpoint.directory"):
            self.checkpoint(conf.read("spark.streaming.checkpoint.directory"))
        self._clock = clock
        self._life = LIFE.begin()
        self._graph = Graph(self.batch_ms)
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
        return f"<StreamingContext: batches of {self.batch_ms / 1000:g} s, {self._state.value}, on {self._sc!r}>"

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
        check_function("setupFunc", setupFunc)
        logs.show()  # what is read is spoken of before there is a context
        active = SparkContext._active_spark_context
        found = find(qualify(checkpointPath), None if active is None else active.conf)
        if found is None:
            return _set_up(setupFunc, checkpointPath)
        try:
            ssc = cls._going_on(found, checkpointPath, setupFunc, upgrade=upgrade)
            refuse_another_key(found, ssc._sc.application.key)
        except BaseException:
            found.lock.close()
            raise
        ssc._found = found
        return ssc

    @classmethod
    def _going_on(
        cls, found: Found, directory: str, setup: Callable[[], StreamingContext], *, upgrade: bool
    ) -> StreamingContext:
        """The context that goes on from what was found: with the streams of `setup`, or those that were stored."""
        ledger = found.checkpoint.ledger
        text = "Going on from %s at batch %d ms, with its batch interval of %d ms"
        logger.info(text, found.directory, ledger.generated_ms, ledger.batch_ms)
        changed = changed_files(found.checkpoint.code, fingerprint(setup))
        if not upgrade and not SparkConf().read("headwater.streaming.recovery.upgrade"):
            warn_if_changed(found, changed)
            return cls._stored(found)
        ssc = _set_up(setup, directory)
        if ssc.batch_ms != ledger.batch_ms:
            raise SparkException(
                f"the checkpoint in {directory} has a batch interval of {ledger.batch_ms} ms, the new program one "
                f"of {ssc.batch_ms} ms: batch times would not match. Keep the interval, or use another directory."
            )
        logger.info("The program is that of the script, of which has changed: %s", ", ".join(changed) or "nothing")
        return ssc

    @classmethod
    def _stored(cls, found: Found) -> StreamingContext:
        """The context of a checkpoint, with the streams that were stored in it."""
        active = SparkContext._active_spark_context
        sc = active or SparkContext(conf=recovered_conf(found.checkpoint))
        try:
            ssc = cls(sc, found.checkpoint.ledger.batch_ms / 1000)
            ssc.checkpoint(found.directory)
            placed = {each.kept_as: each for each in (sc, ssc, ssc._waiter)}
            ssc._graph = load_graph(found.program, sc, placed)
        except Exception as error:
            if active is None:
                sc.stop()
            raise SparkException(
                f"Failed to read checkpoint from directory {found.directory}: the program in it can't be loaded: "
                f"{type(error).__name__}: {error}. If the code has changed since, "
                "getOrCreate(path, setup, upgrade=True) takes the new code and the checkpoint's data."
            ) from error
        ssc._unstarted.detach()
        ssc._unstarted = unstarted.watch(ssc, ssc._graph, ssc._created_at)
        ssc._goes_on = True
        return ssc

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
                )
            try:
                self._graph.validate(self._sc.checkpoint_directory, self._checkpoint_directory)
                self._graph.identify()
                if self._sc.conf.read("headwater.streaming.persistShared"):
                    self._graph.persist_shared()
                running = Running(
                    self._sc,
                    self._graph,
                    self._clock,
                    bus=self._bus,
                    waiter=self._waiter,
                    properties=self._sc.job_properties,
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
        first_ms = next_multiple_ms(self._clock.now_ms(), self.batch_ms)
        ledger = Ledger(self.batch_ms, first_ms - self.batch_ms) if found is None else found.checkpoint.ledger
        if directory is None:
            return Keeping(self._sc.application.directory, ledger)
        upgraded = found is not None and not self._goes_on
        program = dump_graph(self._graph, upgraded=upgraded)
        lock = None if found is None else found.lock
        code = found.checkpoint.code if found is not None and self._goes_on else fingerprint(self._setup)
        keeping = Safekeeping(self._sc, directory, program, ledger, lock, code)
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
        gracefully: bool = self._sc.conf.read("spark.streaming.stopGracefullyOnShutdown")
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

    @property
    def _state(self) -> StreamingContextState:
        return self._life.state

    def _move(self, step: Literal["start", "fail", "stop"]) -> None:
        self._life.move(step)
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
            self._sc.checkpoint_directory = self._checkpoint_directory = None
        else:
            key = self._sc.application.key
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
        if len({stream.node.slide_ms for stream in dstreams}) > 1:
            raise ValueError("All DStreams should have same slide duration")
        self.check_can_add()
        return DStream(United(self._sc, [stream.node for stream in dstreams]), self)

    def transform(
        self, dstreams: Iterable[DStream[Any]], transformFunc: Callable[[list[Any]], RDD[T] | None]
    ) -> DStream[T]:
        """The RDDs that `transformFunc(list of the streams' RDDs)` returns."""
        self.check_can_add()
        check_function("transformFunc", transformFunc)
        nodes = [stream.node for stream in _streams(dstreams, "transform")]
        if not nodes:
            raise ValueError("should have at least one DStream to transform")
        return DStream(TransformedAll(self._sc, nodes, transformFunc), self)

    # -------------------------------------------------------------------------------------------- for connectors, tools
    @property
    def graph(self) -> Graph:
        """The streams and outputs."""
        return self._graph

    @property
    def clock(self) -> Clock:
        """Says when batches are due."""
        return self._clock

    @property
    def has_started(self) -> bool:
        """Whether it has; also once it has stopped."""
        return self._state is not StreamingContextState.INITIALIZED

    def check_can_add(self) -> None:
        """See to it that streams and outputs can be added.

        Raises:
            IllegalStateException: the context has started, or has its streams from a checkpoint.
        """
        if self._state in _ADDING_REFUSED:
            raise IllegalStateException(_ADDING_REFUSED[self._state])
        if self._goes_on:
            raise IllegalStateException(
                "Adding new inputs, transformations, and output operations to a context that goes on from a checkpoint "
                "is not supported: it has those of the checkpoint. Define all of them in the function that is passed "
                "to getOrCreate; if that has changed, getOrCreate(path, setup, upgrade=True) takes the new ones."
            )

    def add_input(self, make: Callable[[int], InputNode]) -> InputNode:
        """Add the input that `make(stream id)` returns; a `DStream` of its node is its public face.

        Raises:
            IllegalStateException: as `check_can_add`.
        """
        self.check_can_add()
        return self._graph.add_input(make)

    def add_output(self, output: Output) -> None:
        """Add an output operation.

        Raises:
            IllegalStateException: as `check_can_add`.
            IllegalArgumentException: another one of its kind has its name.
        """
        self.check_can_add()
        self._graph.add_output(output)

    def _input(self, make: Callable[[int], InputNode]) -> DStream[Any]:
        return DStream(self.add_input(make), self)


def _streams(given: Iterable[Any], method: str) -> list[DStream[Any]]:
    streams = list(given)
    for stream in streams:
        if not isinstance(stream, DStream):
            raise TypeError(f"{method}: expected DStreams, got {stream!r} of type {type(stream).__name__}")
    return streams


def _set_up(setup: Callable[[], StreamingContext], directory: str) -> StreamingContext:
    ssc = setup()
    ssc.checkpoint(directory)
    ssc._setup = setup
    return ssc
