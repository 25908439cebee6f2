"""How a StreamingContext is started and stopped: once each, from any thread.

- Its states are the table `LIFE`. One lock of the process guards them all: one context is active at a time.
- The first `stop` of a started context carries it out; other callers wait for its end, and hurry it unless they are
  graceful themselves.
- On a thread whose end it would wait for (that of an output, a transform function or a listener) `stop` returns at
  once, and goes on in the background.
- As the program ends, by a signal or without one, what still runs is stopped.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Literal, Protocol

from headwater.base.callsite import place
from headwater.base.lives import Table
from headwater.base.threads import WatchedThread
from headwater.base.tracebacks import call_site
from headwater.errors import IllegalStateException, see
from headwater.streaming import unstarted
from headwater.streaming.graph.graph import Graph
from headwater.streaming.termination import Course, Termination
from headwater.streaming.waiter import Waiter

logger = logging.getLogger("headwater.streaming.context")


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


class Threads(Protocol):
    """What works while a context is started, as it is seen here; see `Running`."""

    def runs_here(self) -> bool:
        """Whether the caller is one of them, which must not wait for their end."""

    def hurry(self) -> None:
        """Turn a graceful stop that is under way into one that isn't. Any thread, also a signal's handler."""

    def stop(self, *, gracefully: bool) -> None:
        """End them; called once, on none of them."""


class Lifecycle:
    """The state of a context, and what brings it from one to the next.

    Args:
        context: whose it is.
        graph: its streams; if there are outputs and it is never started, that is said.
        waiter: what waits for its end.
        stop_spark_context: called for each caller of `stop` that wants it.
        give_up: called once if the context ends without having run.
        gracefully: whether the end of the program stops it gracefully.
    """

    lock: ClassVar[threading.RLock] = threading.RLock()
    active: ClassVar[Lifecycle | None] = None  # that of the started context; guarded by `lock`

    def __init__(
        self,
        context: Any,
        graph: Graph,
        waiter: Waiter,
        *,
        stop_spark_context: Callable[[], None],
        give_up: Callable[[], None],
        gracefully: bool,
    ) -> None:
        self.context = context
        self._life = LIFE.begin()  # guarded by `lock`
        self._waiter = waiter
        self._stop_spark_context = stop_spark_context
        self._give_up = give_up
        self._gracefully = gracefully
        self._threads: Threads | None = None  # set once, by start
        self._stopping: threading.Event | None = None  # set when stop has begun; the event when it has ended
        self._stopper: threading.Thread | None = None  # who stops it
        self._termination = Termination(self._course, self._hurry, gracefully=gracefully)
        self._started_at = ""  # call site of start, for errors of other contexts
        self._created_at = place().partition(" at ")[2]
        self._unstarted = unstarted.watch(context, graph, self._created_at)

    @property
    def state(self) -> StreamingContextState:
        """Where the context is."""
        return self._life.state

    def watch(self, graph: Graph) -> None:
        """The context has other streams than those that it was made with."""
        self._unstarted.detach()
        self._unstarted = unstarted.watch(self.context, graph, self._created_at)

    # -------------------------------------------------------------------------------------------- start
    def start(self, begin: Callable[[], Threads]) -> None:
        """Start the context; one that has started only warns.

        Args:
            begin: starts its threads; if that raises, the context is stopped.

        Raises:
            IllegalStateException: it was stopped, or another context is active in this process.
        """
        with self.lock:
            if self.state is StreamingContextState.ACTIVE:
                logger.warning("StreamingContext has already been started")
                return
            if self.state is StreamingContextState.STOPPED:
                raise IllegalStateException("StreamingContext has already been stopped")
            if Lifecycle.active is not None:
                raise IllegalStateException(
                    "Only one StreamingContext may be started in this process. Currently running StreamingContext was "
                    f"started at {Lifecycle.active._started_at}. Stop it first, or use StreamingContext.getActive()."
                    + see("only-one-context")
                )
            try:
                self._threads = begin()
            except BaseException:
                self._end_unstarted("fail")
                raise
            self._started_at = call_site("start")[0].removeprefix("start at ")
            self._move("start")
            Lifecycle.active = self
            atexit.register(self._at_exit)
            self._termination.install()

    # -------------------------------------------------------------------------------------------- stop
    def stop(self, *, stop_spark_context: bool, gracefully: bool) -> None:
        """Stop the context; one that was never started can't be started then."""
        with self.lock:
            threads, state = self._threads, self.state
            if state is StreamingContextState.INITIALIZED:
                logger.warning("StreamingContext has not been started yet")
                self._end_unstarted("stop")
            elif state is StreamingContextState.STOPPED:
                logger.warning("StreamingContext has already been stopped")
            first = self._stopping is None
            if state is StreamingContextState.ACTIVE and first:
                self._stopping = threading.Event()
        if state is not StreamingContextState.ACTIVE or threads is None:
            if stop_spark_context:
                self._stop_spark_context()
        elif not first:
            self._join_stop(threads, stop_spark_context=stop_spark_context, gracefully=gracefully)
        elif threads.runs_here():
            # Not a daemon: the interpreter must not end before the context has.
            stop = partial(self._stop, threads, stop_spark_context=stop_spark_context, gracefully=gracefully)
            WatchedThread(stop, name="streaming-stop", on_failure=self._waiter.report, daemon=False).start()
        else:
            self._stop(threads, stop_spark_context=stop_spark_context, gracefully=gracefully)
            self._termination.settle()

    def _stop(self, threads: Threads, *, stop_spark_context: bool, gracefully: bool) -> None:
        self._stopper = threading.current_thread()
        try:
            threads.stop(gracefully=gracefully or self._termination.wants_grace)
        finally:
            with self.lock:
                self._move("stop")
                if Lifecycle.active is self:
                    Lifecycle.active = None
            atexit.unregister(self._at_exit)
            self._termination.restore()
            try:
                if stop_spark_context:
                    self._stop_spark_context()
            finally:
                self._waiter.stop()
                assert self._stopping is not None
                self._stopping.set()

    def _join_stop(self, threads: Threads, *, stop_spark_context: bool, gracefully: bool) -> None:
        """Another thread is stopping the context."""
        if not gracefully:
            threads.hurry()
        if threads.runs_here():
            return
        assert self._stopping is not None
        self._stopping.wait()
        if stop_spark_context:
            self._stop_spark_context()

    def _end_unstarted(self, step: Literal["fail", "stop"]) -> None:
        self._move(step)
        self._give_up()
        self._waiter.stop()

    def _at_exit(self) -> None:
        if self.state is StreamingContextState.ACTIVE:
            with contextlib.suppress(SystemExit):  # of a signal that comes now: the program ends anyway
                self.stop(stop_spark_context=False, gracefully=self._gracefully)

    def _course(self) -> Course:
        if self.state is StreamingContextState.STOPPED:
            return Course.IS_OVER
        return Course.STOPS if self._stopper is threading.main_thread() else Course.RUNS

    def _hurry(self) -> None:
        if self._threads is not None:
            self._threads.hurry()

    def _move(self, step: Literal["start", "fail", "stop"]) -> None:
        self._life.move(step)
        self._unstarted.detach()

    # -------------------------------------------------------------------------------------------- wait
    def wait(self, seconds: float | None) -> bool:
        """`Waiter.wait`, which soon says so if the context has not been started.

        Raises:
            BaseException: what the context has failed with.
            IllegalStateException: the caller is one of its threads.
        """
        if self._threads is not None and self._threads.runs_here():
            raise IllegalStateException(
                "awaitTermination() was called by a function of the stream itself (of foreachRDD, transform or a "
                "listener): it would wait for its own end. Call it once, after start(), on the program's thread; "
                "stop() may be called here."
            )
        if self.state is not StreamingContextState.INITIALIZED:
            return self._waiter.wait(seconds)
        patience = unstarted.START_SECONDS_MAX if seconds is None else min(seconds, unstarted.START_SECONDS_MAX)
        if self._waiter.wait(patience):
            return True
        if self.state is StreamingContextState.INITIALIZED:
            unstarted.say_it_waits()
        return self._waiter.wait(None if seconds is None else seconds - patience)
