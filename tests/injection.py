"""Exceptions thrown into threads, wherever these are: the fault that no code can foresee."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Collection

from headwater.base.threads import WatchedThread


class Injected(BaseException):
    """No code of ours knows it."""


def watched_threads(but: Collection[threading.Thread] = ()) -> set[str]:
    """The names of the threads that Headwater runs in this process, but for these."""
    running = (thread for thread in threading.enumerate() if isinstance(thread, WatchedThread))
    return {thread.name for thread in running if thread not in but}


def inject(name: str) -> None:
    """Throw an exception into the threads of that name; it comes when they next run."""
    threads = [thread for thread in threading.enumerate() if thread.name == name]
    assert threads, f"no thread {name} in {sorted(thread.name for thread in threading.enumerate())}"
    for thread in threads:
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Injected))
