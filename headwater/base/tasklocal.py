"""What belongs to the task that a thread runs, and how the threads that a task starts come by it.

A thread has what its starter had at that moment, and work that is given to a `ThreadPoolExecutor` what the giver had:
a pool may outlive the task that made it. Python has no place to hook this in, so in a process that runs tasks
`Thread.start` and `ThreadPoolExecutor.submit` are wrapped. Outside of tasks they do what they always did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_OF_STARTER = "_headwater_task"  # attribute of a Thread


class _Running(threading.local):
    """The task of each thread; None in the driver, and between tasks."""

    context: Any  # a TaskContext
    updates: Any  # accumulators.Updates

    def __init__(self) -> None:  # when a thread first asks
        self.context, self.updates = getattr(threading.current_thread(), _OF_STARTER, (None, None))


running = _Running()


@cache
def let_threads_inherit() -> None:
    """From here on, a task's threads in this process belong to the task. Called where tasks are run."""
    from concurrent.futures import ThreadPoolExecutor

    start, submit = threading.Thread.start, cast("Callable[..., Future[Any]]", ThreadPoolExecutor.submit)

    @wraps(start)
    def start_of_task(self: threading.Thread) -> None:
        if running.context is not None:
            setattr(self, _OF_STARTER, (running.context, running.updates))
        start(self)

    @wraps(submit)
    def submit_of_task(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return submit(self, partial(_within, running.context, running.updates, fn), *args, **kwargs)

    threading.Thread.start = start_of_task  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_of_task  # type: ignore[method-assign,assignment]


def _within(context: Any, updates: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    before = running.context, running.updates
    running.context, running.updates = context, updates
    try:
        return fn(*args, **kwargs)
    finally:
        running.context, running.updates = before
