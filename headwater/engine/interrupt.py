"""How a task that runs on a thread of the driver is killed: an exception is thrown into the thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from headwater.engine.events import FailureKind, TaskFailure, TaskReply, TaskSpec
from headwater.engine.task import TaskKilled

Run = Callable[[TaskSpec, bytes | None], TaskReply]  # with the program, if it comes along

# Turns of a loop in each of which the interpreter looks for an exception that was thrown into the thread.
_LOOKS = 100


class Interrupt:
    """Throws `TaskKilled` into the thread that runs a task, as long as it does, and never later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._task_id: int | None = None  # what may be killed
        self._thrown = False
        self._thread_id = 0

    def guard(self, run: Run, spec: TaskSpec, program: bytes | None) -> TaskReply:
        """Run a task on this thread, where `throw` can reach it."""
        try:
            try:
                with self._lock:
                    self._task_id, self._thread_id, self._thrown = spec.task_id, threading.get_ident(), False
                reply = run(spec, program)
            finally:
                thrown = self._end()
            # What was thrown and hasn't come yet comes at the interpreter's next look; taking it back by
            # PyThreadState_SetAsyncExc(None) would leave CPython 3.11 looking for ever when it is traced.
            for _ in range(_LOOKS if thrown else 0):
                pass
            return reply
        except TaskKilled:  # thrown a moment before or after the task's own code
            self._end()
            return TaskReply(spec.task_id, TaskFailure(FailureKind.KILLED, "killed on request"), None, b"", (), {})

    def throw(self, task_id: int) -> None:
        """Throw, if that task is still running."""
        import ctypes

        with self._lock:
            if self._task_id == task_id and not self._thrown:
                self._thrown = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread_id), ctypes.py_object(TaskKilled)
                )

    def _end(self) -> bool:
        with self._lock:
            self._task_id = None
            return self._thrown
