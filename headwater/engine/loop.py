"""The loop: feeds a core with events, one at a time, and performs the actions that it returns.

- The core is called by one thread at a time and never waits. It may run user code.
- Each loop has a thread of its own. One made with `by_poster` also lets a thread that posts an event handle it, and
  what is queued, if no other thread is at it: that spares a switch of threads, which costs as much as handling does.
- To the events and actions of its core, a loop adds one of each: it performs `Wake` itself, by giving `Woken`.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from headwater.base.threads import WatchedThread
from headwater.clock import Clock
from headwater.engine.events import Wake, Woken

logger = logging.getLogger(__name__)

E = TypeVar("E")  # a core's events
A = TypeVar("A")  # its actions
E_contra = TypeVar("E_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)


class Core(Protocol[E_contra, A_co]):
    """A state machine without I/O: its own events in, its own actions out, and what each loop adds to both."""

    def handle(self, event: E_contra | Woken, now_ms: int) -> Sequence[A_co | Wake]:
        """Take an event that happened now; returns the actions to perform, in order."""


class _Stop:
    """Among the events: the last one that is looked at."""


class _Interruptible(threading.local):
    here = False


_interruptible = _Interruptible()


def mark_interruptible() -> None:
    """This thread may have an exception thrown into it at any moment, which must not hit a core at work."""
    _interruptible.here = True


def _may_handle() -> bool:
    """Whether the thread that calls this may handle events, and not only post them.

    Not where an exception may come between any two instructions, which in the main thread is Ctrl-C. Say it posts a job
    and handles that itself: the core takes a free core for a task, and notes that the task runs; there
    KeyboardInterrupt hits it. The action that would have started the task is never returned, and by the books the task
    runs for ever. With such books the loop can only end, as by a bug, and with it every job, where Ctrl-C should have
    cancelled one.
    """
    return not _interruptible.here and threading.current_thread() is not threading.main_thread()


class Loop(Generic[E, A]):
    """Runs a core. `post` may be called from any thread; `perform` is called by one thread at a time.

    Args:
        name: its thread's.
        perform: does what an action says; must not raise.
        on_crash: is called with what the core or `perform` raised, on the thread that was at work. No event is handled
            after that.
        by_poster: whether a thread that posts may handle events.
    """

    def __init__(
        self,
        name: str,
        core: Core[E, A],
        perform: Callable[[A], None],
        clock: Clock,
        on_crash: Callable[[BaseException], None],
        *,
        by_poster: bool = False,
    ) -> None:
        self._core = core
        self._perform = perform
        self._clock = clock
        self._on_crash = on_crash
        self._by_poster = by_poster
        self._events: queue.SimpleQueue[E | _Stop] = queue.SimpleQueue()
        self._turn = threading.Lock()  # held by the thread that handles events; guards the wakes
        self._wakes: list[int] = []  # a heap
        self._alarm_ms: int | None = None  # the first wake; an earlier one comes with a signal to the thread
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()  # what wakes the thread before that
        self._over = False
        self._thread = WatchedThread(self._run, name=name, on_failure=self._crash)

    def start(self) -> None:
        """Start the thread: what was posted before is handled now."""
        self._thread.start()

    def post(self, event: E) -> None:
        """Hand over an event; in a `by_poster` loop it may be handled on the way, and others with it."""
        self._events.put(event)
        if self._by_poster and _may_handle():
            self._work()
        else:
            self._signals.put(None)

    def post_later(self, event: E) -> None:
        """Hand over an event and return at once; also from finalizers, which run wherever the collector does."""
        self._events.put(event)
        self._signals.put(None)

    def stop(self) -> None:
        """Handle what was posted before, then end; waits for that unless called from the loop's own thread."""
        self._events.put(_Stop())
        self._signals.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._over:
            self._clock.get(self._signals, self._alarm_ms)
            self._work(wait=True)  # a poster that is at it may miss what woke us

    def _work(self, *, wait: bool = False) -> None:
        """Handle what is queued and due; if another thread is at it, `wait` or leave it to that one, which sees it."""
        while self._turn.acquire(blocking=wait):
            try:
                self._handle_all()
            finally:
                self._turn.release()
            if self._over or self._events.empty():
                return

    def _handle_all(self) -> None:
        try:
            while not self._over:
                try:
                    event: E | Woken | _Stop = self._events.get_nowait()
                except queue.Empty:
                    if not self._due():
                        self._alarm_ms = self._wakes[0] if self._wakes else None
                        return
                    event = Woken()
                if isinstance(event, _Stop):
                    self._over = True
                else:
                    self._handle(event)
        except BaseException as crash:
            self._crash(crash)
            logger.exception("%s: a bug, the loop ends", self._thread.name)

    def _crash(self, crash: BaseException) -> None:
        self._over = True
        self._on_crash(crash)

    def _handle(self, event: E | Woken) -> None:
        for action in self._core.handle(event, self._clock.now_ms()):
            if isinstance(action, Wake):
                heapq.heappush(self._wakes, action.at_ms)
                if self._alarm_ms is None or action.at_ms < self._alarm_ms:
                    self._alarm_ms = action.at_ms
                    self._signals.put(None)  # the thread must wait for this one instead
            else:
                self._perform(action)

    def _due(self) -> bool:
        """Whether a wake-up's time has come; all that are due count as one."""
        if not self._wakes or self._wakes[0] > self._clock.now_ms():
            return False
        now_ms = self._clock.now_ms()
        while self._wakes and self._wakes[0] <= now_ms:
            heapq.heappop(self._wakes)
        return True
