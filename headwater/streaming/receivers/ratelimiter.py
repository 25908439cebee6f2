"""The rate limiter: how fast a receiver may store records."""

from __future__ import annotations

import math
import queue
import threading
from typing import Any

from headwater.clock import Clock

# What sums of fractions of a record may be wrong by.
ROUNDING_RECORDS = 1e-3

_WAKE: Any = object()


class RateLimiter:
    """Lets `per_second` records pass each second; what was not used is saved up for a second.

    A change of the rate holds at once, also for records that wait: what is owed is counted in records, not in time.

    Args:
        per_second: the rate; None, or 0 and less: no limit.
        clock: waits.
    """

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self.per_second = _limit_of(per_second)
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._asked = 0  # records that have asked to pass, in order
        self._allowed = 0.0  # how many of them may pass, as of `_at_ms`; more than `_asked` if some are saved up
        self._at_ms = clock.now_ms()
        self._waiting: set[queue.SimpleQueue[Any]] = set()
        self._closed = False

    def acquire(self, records: int = 1) -> None:
        """Wait until earlier records are paid for, then let these pass; the next pays for them."""
        if self.per_second is None:
            return
        signals: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            self._bring_up_to_date()
            before = self._asked
            self._asked += records
            deadline_ms = self._deadline_ms(before)
            if deadline_ms is None:
                return
            self._waiting.add(signals)
        while deadline_ms is not None:
            self._clock.get(signals, deadline_ms)
            with self._lock:
                self._bring_up_to_date()
                deadline_ms = self._deadline_ms(before)
                if deadline_ms is None:
                    self._waiting.discard(signals)

    def limit(self, per_second: float | None) -> None:
        """Change the rate."""
        with self._lock:
            self._bring_up_to_date()
            self.per_second = _limit_of(per_second)
            self._wake_all()

    def close(self) -> None:
        """Let all records that wait pass, and limit no more."""
        with self._lock:
            self._closed = True
            self._wake_all()

    # -------------------------------------------------------------------------------------------- under the lock
    def _bring_up_to_date(self) -> None:
        now_ms, rate = self._clock.now_ms(), self.per_second
        if rate is None:
            self._allowed = float(self._asked)
        else:
            passed_ms = max(now_ms - self._at_ms, 0)  # a machine's clock may be set back
            self._allowed = min(self._allowed + rate * passed_ms / 1000, self._asked + rate)
        self._at_ms = now_ms

    def _deadline_ms(self, before: int) -> int | None:
        """The instant at which a request preceded by `before` records may pass; None: at once."""
        missing = before - self._allowed
        if missing <= ROUNDING_RECORDS or self._closed or self.per_second is None:
            return None
        return self._at_ms + math.ceil((missing - ROUNDING_RECORDS) * 1000 / self.per_second)

    def _wake_all(self) -> None:
        for signals in self._waiting:
            signals.put(_WAKE)


def _limit_of(per_second: float | None) -> float | None:
    return per_second if per_second is not None and per_second > 0 else None
