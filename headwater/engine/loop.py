"""The loop: one thread that feeds a core with events and performs the actions that it returns.

The core owns its state and is called from this thread alone; it never waits. `Wake` is the one action that the loop
performs itself.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from headwater.clock import EXPIRED, Clock
from headwater.engine.events import Wake, Woken

log = logging.getLogger(__name__)

_STOP = object()


class Core(Protocol):
    """A state machine without I/O."""

    def handle(self, event: Any, now_ms: int) -> list[Any]:
        """Take an event that happened now; returns the actions to perform, in order."""


class Loop:
    """Runs a core. `post` may be called from any thread; `perform` is called on the loop's thread."""

    def __init__(
        self,
        name: str,
        core: Core,
        perform: Callable[[Any], None],
        clock: Clock,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._core = core
        self._perform = perform
        self._clock = clock
        self._on_crash = on_crash
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wakes: list[int] = []  # a heap; the loop's thread only
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def post(self, event: Any) -> None:
        """Hand over an event; returns at once."""
        self._events.put(event)

    def stop(self) -> None:
        """Handle what was posted before, then end; waits for that unless called from the loop's own thread."""
        self._events.put(_STOP)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while (event := self._next()) is not _STOP:
                for action in self._core.handle(event, self._clock.now_ms()):
                    if type(action) is Wake:
                        heapq.heappush(self._wakes, action.at_ms)
                    else:
                        self._perform(action)
        except BaseException as crash:
            log.exception("%s: a bug, the loop ends", self._thread.name)
            self._on_crash(crash)

    def _next(self) -> Any:
        event = self._clock.get(self._events, self._wakes[0] if self._wakes else None)
        if event is not EXPIRED:
            return event
        now = self._clock.now_ms()
        while self._wakes and self._wakes[0] <= now:
            heapq.heappop(self._wakes)
        return Woken()
