"""Workers that are threads of the driver's process, for master `local`: a debugger sees what they run."""

from __future__ import annotations

import queue
from functools import partial

from headwater.base.threads import WatchedThread
from headwater.engine.events import FailureKind, TaskFailure
from headwater.engine.failures import description
from headwater.engine.interrupt import Interrupt
from headwater.engine.loop import mark_interruptible
from headwater.engine.worker import Message, Worker
from headwater.engine.workers import WorkerHandle, Workers


class WorkerThread(WorkerHandle):
    """A worker on a thread of its own; what kills its task is an exception that is thrown into the thread."""

    def __init__(self, number: int, slot: int) -> None:
        super().__init__(number, slot)
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()  # None: end
        self.interrupt = Interrupt()

    def send(self, message: Message) -> None:
        self.messages.put(message)

    def is_dying(self) -> bool:
        return False

    def close(self) -> None:
        self.messages.put(None)


class WorkerThreads(Workers[WorkerThread]):
    """The workers of an executor in the driver's process."""

    def start(self) -> None:
        with self._lock:
            for slot in range(self._slots):
                self._start(slot)

    def _start(self, slot: int) -> None:
        thread = WorkerThread(next(self._numbers), slot)
        self._add(thread)
        work = partial(self._work, thread, Worker(self._settings, thread.interrupt))
        WatchedThread(work, name=f"worker-{thread.number}", on_failure=partial(self._failed, thread)).start()
        self._next(thread)

    def _work(self, thread: WorkerThread, worker: Worker) -> None:
        """The life of a thread."""
        mark_interruptible()  # by `_kill`
        while (message := thread.messages.get()) is not None:
            reply = worker.apply(message)
            if reply is not None:
                self._replied(thread, reply)

    def _kill(self, worker: WorkerThread) -> None:
        if worker.task is not None:
            worker.interrupt.throw(worker.task.task_id)

    def _failed(self, thread: WorkerThread, failure: BaseException) -> None:
        """A thread has ended: another takes its place."""
        with self._lock:
            self._remove(thread)
            if not self._closing:
                self._start(thread.slot)
        if thread.task is not None:
            self._lost(thread.task, TaskFailure(FailureKind.LOST, f"its thread has failed: {description(failure)}"))
