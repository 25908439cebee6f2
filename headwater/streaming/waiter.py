"""What `awaitTermination` waits for: the end of the context, or an error of it."""

from __future__ import annotations

import threading
from types import TracebackType

# A wait without an end is made of such slices: Python sees a Ctrl-C that comes just before a wait only after it.
SLICE_SECONDS = 1.0


class Waiter:
    """Holds the latest error, and whether the context has stopped. Safe to use from any thread."""

    kept_as = "Waiter"  # a checkpoint leaves it out: see graph/program.py

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None  # the error's own: each raise would lengthen it
        self._stopping = False  # the error is why the context stops: it is raised once it has
        self._stopped = False
        self._waiting = 0  # threads that wait at the moment

    @property
    def is_awaited(self) -> bool:
        """Whether a thread waits, and so is given what is reported next."""
        return self._waiting > 0

    def report(self, error: BaseException) -> None:
        """Every wait from now on raises this."""
        with self._changed:
            self._error, self._traceback = error, error.__traceback__
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """The context stops because of this; every wait raises it once that has happened, or its time is over."""
        with self._changed:
            self._stopping = True
            self.report(error)

    def stop(self) -> None:
        """Every wait from now on returns at once, or raises."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; returns whether it has come within `seconds` (None: wait for ever).

        Raises:
            BaseException: what was reported last, itself: with its own type, text and traceback.
        """
        with self._changed:
            self._waiting += 1
            try:
                over = self._changed.wait_for(self._is_over, SLICE_SECONDS if seconds is None else seconds)
                while seconds is None and not over:
                    over = self._changed.wait_for(self._is_over, SLICE_SECONDS)
            finally:
                self._waiting -= 1
            if self._error is not None:
                raise self._error.with_traceback(self._traceback)
            return over

    def _is_over(self) -> bool:
        return self._stopped or (self._error is not None and not self._stopping)
