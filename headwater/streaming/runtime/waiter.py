"""What `awaitTermination` waits for: the end of the context, or an error of it."""

from __future__ import annotations

import threading


class Waiter:
    """Holds the latest error, and whether the context has stopped. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._stopped = False

    def report(self, error: BaseException) -> None:
        """Every wait from now on raises this."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

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
            self._changed.wait_for(lambda: self._stopped or self._error is not None, seconds)
            error, stopped = self._error, self._stopped
        if error is not None:
            raise error.with_traceback(error.__traceback__)
        return stopped
