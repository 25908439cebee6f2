"""The threads that Headwater owns: the end of each is heard of.

A thread's work may end by any exception, MemoryError and SystemExit included. What waits for the thread would then wait
for ever, so each thread is made with a function that fails, replaces or ends what depends on it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


def nothing_depends(_failure: BaseException) -> None:
    """For a thread on which nothing depends: that it has failed is logged, and that's all."""


class WatchedThread(threading.Thread):
    """A thread whose failure is an event.

    Args:
        work: what it does; it returns when the thread is to end.
        name: as logs and debuggers show it.
        on_failure: is called once, on the thread, with what `work` raised. It must end the waiting of all who depend on
            the thread.
        daemon: whether the interpreter may end without it.

    >>> failures = []
    >>> thread = WatchedThread(lambda: [][0], name="first", on_failure=failures.append)
    >>> thread.start(); thread.join()
    >>> failures
    [IndexError('list index out of range')]
    """

    def __init__(
        self,
        work: Callable[[], object],
        *,
        name: str,
        on_failure: Callable[[BaseException], object],
        daemon: bool = True,
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        self._work: Callable[[], object] | None = work
        self._on_failure: Callable[[BaseException], object] | None = on_failure

    def run(self) -> None:
        work, on_failure = self._work, self._on_failure
        self._work = self._on_failure = None  # what they hold goes when they are done
        assert work is not None and on_failure is not None
        try:
            work()
        except BaseException as failure:
            try:
                on_failure(failure)  # first: what follows needs memory, which may be what there is none of
            finally:
                logger.error("thread %s has failed", self.name, exc_info=failure)
