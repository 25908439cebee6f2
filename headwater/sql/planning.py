"""When queries of a session may be planned: beside each other, and never while a view is being replaced.

A query that names a view twice is so planned over one of its states. Planning takes milliseconds; what a query does
then, however long, keeps nobody waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Planning"]


class Planning:
    """Of a session. Any thread may use it; a thread that replaces a view plans no query meanwhile.

    >>> planning = Planning()
    >>> planning.begin(); planning.end()
    >>> with planning.interrupted():
    ...     print("nobody plans")
    nobody plans
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards both below
        self._planned = 0  # queries that are just now
        self._interrupted = False

    @property
    def is_interrupted(self) -> bool:
        """Whether a view is being replaced, or waits for that."""
        with self._changed:
            return self._interrupted

    def begin(self) -> None:
        """A query is being planned from now on; waits while a view is being replaced."""
        with self._changed:
            self._changed.wait_for(lambda: not self._interrupted)
            self._planned += 1

    def end(self) -> None:
        """A query that `begin` was called for is planned, or won't be."""
        with self._changed:
            self._planned -= 1
            self._changed.notify_all()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Within the block no query is planned."""
        with self._changed:
            self._changed.wait_for(lambda: not self._interrupted)
            self._interrupted = True
            self._changed.wait_for(lambda: not self._planned)
        try:
            yield
        finally:
            with self._changed:
                self._interrupted = False
                self._changed.notify_all()
