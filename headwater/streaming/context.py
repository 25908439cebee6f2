"""StreamingContext: where a streaming program begins, is started and stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from headwater.base import logs
from headwater.clock import Clock, ManualClock, SystemClock
from headwater.conf import SparkConf as SparkConf
from headwater.context import SparkContext as SparkContext
from headwater.engine.successors import Successors
from headwater.errors import IllegalArgumentException, IllegalStateException, SparkException, see
from headwater.filesystem import qualify
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function
from headwater.streaming.dstream import DStream
from headwater.streaming.durations import duration_ms, next_multiple_ms
from headwater.streaming.graph.graph import Graph
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.graph.joined import TransformedAll, United
from headwater.streaming.graph.output import Output
from headwater.streaming.graph.program import dump_graph, load_graph
from headwater.streaming.inputs import InputStreams
from headwater.streaming.lifecycle import Lifecycle
from headwater.streaming.lifecycle import StreamingContextState as StreamingContextState
from headwater.streaming.listener import StreamingListener, StreamingListenerBus
from headwater.streaming.recovery.code import changed_files, fingerprint
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.restart import find, recovered_conf, refuse_another_key, warn_if_changed
from headwater.streaming.recovery.safekeeping import Found, Safekeeping
from headwater.streaming.running import Running
from headwater.streaming.waiter import Waiter

logger = logging.getLogger(__name__)


T = TypeVar("T")


_ADDING_REFUSED = {
    state: f"Adding new inputs, transformations, and output operations after {what} a context is not supported"
    + see("added-after-the-start")
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

    >>> words = []
    >>> ssc = StreamingContext(sc, 0.1)
    >>> ssc.queueStream([["to be", "or"]]).flatMap(str.split).foreachRDD(lambda rdd: words.extend(rdd.collect()))
    >>> ssc.start()
    >>> ssc.stop(stopSparkContext=False, stopGraceFully=True)
    >>> words
    ['to', 'be', 'or']
    """

    kept_as = "StreamingContext"  # a checkpoint leaves it out: see graph/program.py

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
        self._graph = Graph(self.batch_ms)
        self._bus = StreamingListenerBus()
        self._waiter = Waiter()
        self._running: Running | None = None  # set once, by start
        self._lifecycle = Lifecycle(
            self,
            self._graph,
            self._waiter,
            stop_spark_context=sparkContext.stop,
            give_up=self._release_found,
            gracefully=conf.read("spark.streaming.stopGracefullyOnShutdown"),
        )

    def __repr__(self) -> str:
        return f"<StreamingContext: batches of {self.batch_ms / 1000:g} s, {self.getState().value}, on {self._sc!r}>"

    def __enter__(self) -> StreamingContext:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, if that hasn't happened yet; the SparkContext, which others may use, goes on."""
        if self.getState() is not StreamingContextState.STOPPED:
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

        >>> def setup():
        ...     ssc = StreamingContext(sc, 1)
        ...     ssc.socketTextStream("localhost", 9999).countByValue().pprint()
        ...     return ssc
        >>> ssc = StreamingContext.getOrCreate(directory, setup)  # then ssc.start() and ssc.awaitTermination()
        >>> ssc.stop(stopSparkContext=False)
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
        logger.info("The program is that of the script; files that have changed: %s", ", ".join(changed) or "nothing")
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
        ssc._lifecycle.watch(ssc._graph)
        ssc._goes_on = True
        return ssc

    @classmethod
    def getActive(cls) -> StreamingContext | None:
        """The context of this process that was started and has not been stopped, or None.

        >>> harness.stream().pprint()
        >>> ssc.start()
        >>> StreamingContext.getActive() is ssc
        True
        """
        with Lifecycle.lock:
            return None if Lifecycle.active is None else Lifecycle.active.context

    @classmethod
    def getActiveOrCreate(
        cls, checkpointPath: str | None, setupFunc: Callable[[], StreamingContext]
    ) -> StreamingContext:
        """The active context if there is one, else a new one, or one that goes on from a checkpoint.

        Args:
            checkpointPath: as for `getOrCreate`; None: `setupFunc` makes the context.
            setupFunc: as for `getOrCreate`.

        Raises:
            ValueError: no `setupFunc`.
            IllegalStateException: as for `getOrCreate`.
            SparkException: as for `getOrCreate`.

        >>> ssc = StreamingContext.getActiveOrCreate(None, lambda: StreamingContext(sc, 1))
        >>> ssc.stop(stopSparkContext=False)
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
        """The SparkContext that its jobs run on.

        >>> ssc.sparkContext is sc
        True
        """
        return self._sc

    def getState(self) -> StreamingContextState:
        """Where in its life it is.

        >>> ssc.getState()
        <StreamingContextState.INITIALIZED: 'initialized'>
        """
        return self._lifecycle.state

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

        >>> harness.stream().pprint()
        >>> ssc.start()
        >>> ssc.getState()
        <StreamingContextState.ACTIVE: 'started'>
        """
        self._lifecycle.start(self._begin)

    def _begin(self) -> Running:
        """Check the streams, and start the threads that run them."""
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
        self._running = running
        return running

    def _keeping(self) -> Keeping:
        """What keeps what a restart needs."""
        directory, found = self._checkpoint_directory, self._found
        first_ms = next_multiple_ms(self._clock.now_ms(), self.batch_ms)
        ledger = Ledger(self.batch_ms, first_ms - self.batch_ms) if found is None else found.checkpoint.ledger
        if directory is None:
            return Keeping(self._sc.application.directory, ledger)
        upgraded = found is not None and not self._goes_on
        program = dump_graph(self._graph, upgraded=upgraded)
        lock = None if found is None else found.lock
        code = found.checkpoint.code if found is not None and self._goes_on else fingerprint(self._setup)
        keeping = Safekeeping(self._sc, directory, program, ledger, lock, code, clock=self._clock)
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

        >>> harness.stream([["the end"]]).foreachRDD(lambda rdd: ssc.stop(stopSparkContext=False))
        >>> ssc.start()
        >>> harness.clock.advance(1000)  # milliseconds: the first batch is due
        >>> ssc.awaitTermination()
        """
        self._wait(timeout)

    def awaitTerminationOrTimeout(self, timeout: float) -> bool:
        """Wait until the context stops; returns whether it has within the time.

        Args:
            timeout: seconds to wait at most.

        Raises:
            BaseException: as `awaitTermination`.

        >>> harness.stream().pprint()
        >>> ssc.start()
        >>> ssc.awaitTerminationOrTimeout(0.01)
        False
        """
        return self._wait(timeout)

    def _wait(self, seconds: float | None) -> bool:
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise TypeError(f"timeout should be a number of seconds or None, got {seconds!r}")
        return self._lifecycle.wait(seconds)

    def stop(self, stopSparkContext: bool = True, stopGraceFully: bool = False) -> None:
        """Stop receiving and processing; a stopped context can't be started again.

        Called from an output operation, a transform function or a listener it returns at once, and the stop goes on
        in the background: `awaitTermination` returns at its end. Another call waits for the end of a stop that is under
        way.

        Args:
            stopSparkContext: whether to stop the SparkContext too, also if this context was stopped before.
            stopGraceFully: finish first what receivers have received and what batches wait; at most
                `spark.streaming.gracefulStopTimeout` for the former. Another call without it cuts that short.

        >>> harness.stream().pprint()
        >>> ssc.start()
        >>> ssc.stop(stopSparkContext=False)
        >>> ssc.getState()
        <StreamingContextState.STOPPED: 'stopped'>
        """
        self._lifecycle.stop(stop_spark_context=stopSparkContext, gracefully=stopGraceFully)

    # -------------------------------------------------------------------------------------------- settings
    def remember(self, duration: float) -> None:
        """Have each stream keep its RDDs, for `DStream.slice` or for threads of your own that work on them.

        Args:
            duration: seconds, at least 0.001; streams that need them for longer, such as for windows, keep them longer.

        Raises:
            IllegalArgumentException: it was set before.
            ValueError: not a duration.

        >>> ssc.remember(3600)
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

        >>> ssc.checkpoint(directory)
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
        """Tell a listener of all that happens from now on; before or after the start.

        Args:
            streamingListener: its methods are called on one thread, in the order of the events.

        >>> from headwater.streaming import StreamingListener
        >>> done = []
        >>> class Times(StreamingListener):
        ...     def onBatchCompleted(self, batchCompleted):
        ...         done.append(str(batchCompleted.batchInfo().batchTime()))
        >>> ssc.addStreamingListener(Times())
        >>> _ = harness.results(harness.stream([["a"], ["b"]]))
        >>> ssc.stop(stopSparkContext=False)  # all listeners have heard of all then
        >>> done
        ['1000000000 ms', '1000001000 ms']
        """
        self._bus.add(streamingListener)

    # -------------------------------------------------------------------------------------------- several streams
    def union(self, *dstreams: DStream[T]) -> DStream[T]:
        """The records of all these streams.

        Args:
            dstreams: at least one; all have the same slide.

        Raises:
            ValueError: there is none, or their slides differ.
            TypeError: one is no stream.

        >>> harness.results(ssc.union(*(harness.stream([[n]]) for n in (1, 2, 3))))
        [[1, 2, 3]]
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
        """The RDDs that a function makes of the RDDs of several streams.

        Args:
            dstreams: at least one.
            transformFunc: list of the streams' RDDs, in their order -> an RDD, or None for none in this batch; called
                in the driver when a batch is generated.

        Raises:
            ValueError: there is no stream.
            TypeError: one is no stream, or `transformFunc` no function.

        >>> many, few = harness.stream([[1, 2, 3]]), harness.stream([[3]])
        >>> harness.results(ssc.transform([many, few], lambda rdds: rdds[0].subtract(rdds[1])), sorted)
        [[1, 2]]
        """
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
        return self.getState() is not StreamingContextState.INITIALIZED

    def check_can_add(self) -> None:
        """See to it that streams and outputs can be added.

        Raises:
            IllegalStateException: the context has started, or has its streams from a checkpoint.
        """
        if (refused := _ADDING_REFUSED.get(self.getState())) is not None:
            raise IllegalStateException(refused)
        if self._goes_on:
            raise IllegalStateException(
                "Adding new inputs, transformations, and output operations to a context that goes on from a checkpoint "
                "is not supported: it has those of the checkpoint. Define all of them in the function that is passed "
                "to getOrCreate; if that has changed, getOrCreate(path, setup, upgrade=True) takes the new ones."
                + see("added-after-the-start")
            )

    def add_input(self, make: Callable[[int], InputNode]) -> InputNode:
        """Add an input; a `DStream` of its node is its public face.

        Args:
            make: the stream's id -> the input's node.

        Raises:
            IllegalStateException: as `check_can_add`.
        """
        self.check_can_add()
        return self._graph.add_input(make)

    def add_output(self, output: Output) -> None:
        """Add an output operation.

        Args:
            output: knows its stream.

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
