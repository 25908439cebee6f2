"""Threads for calls that may have to be made while the interpreter ends.

The standard library's executors refuse calls once the main thread has ended, before functions of `atexit` are called.
A context that is stopped by one of those still commits offsets, gives leases back and stores what it has received.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from headwater.base.threads import WatchedThread

T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class DaemonPool:
    """Runs calls on daemon threads of its own, which start as calls come. Safe to use from any thread.

    Args:
        threads_max: how many calls run at once, at least 1.
        name: of the threads, before their number.

    >>> pool = DaemonPool(2, "example")
    >>> pool.submit(pow, 2, 5).result()
    32
    >>> pool.shutdown()
    """

    def __init__(self, threads_max: int, name: str) -> None:
        self._threads_max = threads_max
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # threads that wait, less the calls that are meant for them
        self._lock = threading.Lock()  # guards both below
        self._threads: list[threading.Thread] = []
        self._is_shut = False

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a call made; whatever it raises is the future's, also SystemExit.

        Raises:
            RuntimeError: the pool is shut down.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_shut:
                raise RuntimeError(f"{self._name}: the pool is shut down")
            self._calls.put((future, call, arguments))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._threads_max:
                self._start_thread()
        return future

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        self._threads.append(WatchedThread(self._run, name=name, on_failure=self._thread_failed))
        self._threads[-1].start()

    def _thread_failed(self, _failure: BaseException) -> None:
        """Between two calls, as what a call raises is its future's: another thread makes those that wait."""
        with self._lock:
            self._threads.remove(threading.current_thread())
            if not self._calls.empty():
                self._start_thread()

    def shutdown(self, *, wait: bool = True) -> None:
        """Take no more calls. Those that were submitted are made and waited for, or else cancelled unless they run."""
        with self._lock:
            self._is_shut = True
            while not wait and not self._calls.empty():
                if (queued := self._calls.get()) is not None:
                    queued[0].cancel()
            self._calls.put(None)
        for thread in self._threads if wait else ():
            if thread is not threading.current_thread():
                thread.join()

    def _run(self) -> None:
        while (queued := self._calls.get()) is not None:
            future, call, arguments = queued
            if future.set_running_or_notify_cancel():
                try:
                    result = call(*arguments)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del queued, future, call, arguments  # what they hold is let go before the thread waits
            self._idle.release()
        self._calls.put(None)  # for the next thread
