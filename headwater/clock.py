"""The clock: how the time is read and waited for, so that tests can hold it still.

- What decides by time (when a batch, an image, a restart, a cleaning is due) is given a `Clock`, and asks no other.
- The module `time` is read where a test that held the time still would prove nothing: how long something took, and how
  long another process, the kernel or a service is waited for. `tests/test_clock.py` lists these places, with reasons.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

#: What `Clock.get` returns when its deadline came before an item.
EXPIRED: Any = object()


class Clock(Protocol):
    """A source of time. Safe to use from any thread."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def ahead_ms(self) -> int:
        """By how much it's ahead of the clock that files are stamped by, since that was set back; else 0."""

    def get(self, items: queue.SimpleQueue[Any], deadline_ms: int | None) -> Any:
        """The next item of a queue, or `EXPIRED` once the deadline (None: never) has come without one."""


class SystemClock:
    """The machine's time, but that it never goes back.

    If the machine's clock is set forward, or the machine has slept, this one follows. If it's set back, this one goes
    on at its pace, ahead of it: what was to happen in a second happens in a second, and no instant comes twice.

    Args:
        wall: the machine's time in nanoseconds since the epoch.
        steady: nanoseconds by a clock that is never set.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall = wall
        self._steady = steady
        self._offset_ns = wall() - steady()  # the largest that was seen

    def now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def ahead_ms(self) -> int:
        """By how much the machine's clock has been set back since, and hasn't caught up."""
        return max(0, self.now_ms() - self._wall() // 1_000_000)

    def get(self, items: queue.SimpleQueue[Any], deadline_ms: int | None) -> Any:
        if deadline_ms is None:
            return items.get()
        try:
            return items.get(timeout=max(0.0, deadline_ms / 1e3 - self._now_ns() / 1e9))
        except queue.Empty:
            return EXPIRED

    def _now_ns(self) -> int:
        # In this order: a pause between the two must not put us ahead.
        wall_ns = self._wall()
        steady_ns = self._steady()
        self._offset_ns = max(self._offset_ns, wall_ns - steady_ns)
        return steady_ns + self._offset_ns


class ManualClock:
    """A clock that stands still until it is told to move; for tests.

    >>> clock = ManualClock()
    >>> clock.advance(1500)
    >>> clock.now_ms()
    1500
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._lock = threading.Lock()  # guards both fields below
        self._now_ms = now_ms
        self._waiting: list[tuple[int, int, queue.SimpleQueue[Any], object]] = []  # a heap by deadline
        self._order = count()

    def now_ms(self) -> int:
        """Milliseconds since the epoch, as far as the clock has been moved."""
        with self._lock:
            return self._now_ms

    def ahead_ms(self) -> int:
        """Zero: it is never set back."""
        return 0

    def advance(self, ms: int) -> None:
        """Move the time on by `ms` milliseconds and wake those who waited for an instant in between."""
        with self._lock:
            self._now_ms += ms
            due = []
            while self._waiting and self._waiting[0][0] <= self._now_ms:
                due.append(heapq.heappop(self._waiting))
        for _deadline, _order, items, ticket in due:
            items.put(_Expiry(ticket))

    def get(self, items: queue.SimpleQueue[Any], deadline_ms: int | None) -> Any:
        """The next item of a queue, or `EXPIRED` once the clock has been moved to the deadline without one."""
        ticket = object()
        if deadline_ms is not None:
            with self._lock:
                if deadline_ms > self._now_ms:
                    heapq.heappush(self._waiting, (deadline_ms, next(self._order), items, ticket))
                else:
                    items.put(_Expiry(ticket))
        while True:
            item = items.get()
            if not isinstance(item, _Expiry):
                return item
            if item.ticket is ticket:
                return EXPIRED  # a ticket of an earlier wait has no meaning any more


class _Expiry:
    """Put into a waiting queue when its deadline has come."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: object) -> None:
        self.ticket = ticket
