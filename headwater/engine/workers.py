"""An executor's workers: they get its tasks and what they must know besides, and their replies are passed on.

What a worker is, stands apart: a process (`workerprocesses`) or a thread of this process (`workerthreads`). Each has a
slot, below the number of cores, which a successor takes when it dies. Any thread may call; one lock guards the tables.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import count
from typing import Generic, TypeVar

from headwater.engine import blockids
from headwater.engine.backend import Post
from headwater.engine.blocks import BlockStore
from headwater.engine.events import BlocksDropped, FailureKind, MapOutput, TaskEnded, TaskFailure, TaskReply, TaskSpec
from headwater.engine.failures import description
from headwater.engine.settings import WorkerSettings
from headwater.engine.task import Programs, spill_directory
from headwater.engine.taskqueue import TaskQueue
from headwater.engine.wire import Address
from headwater.engine.worker import AddPaths, Message, RunTask, SetPeers

logger = logging.getLogger(__name__)


class WorkerHandle(ABC):
    """A worker as its executor sees it; the lock of its `Workers` guards it."""

    def __init__(self, number: int, slot: int) -> None:
        self.number = number  # no other worker of the executor has it
        self.slot = slot
        self.task: TaskSpec | None = None  # what it runs; None: it's idle
        self.doom: TaskFailure | None = None  # it's being killed, or is to be: what its task will have failed of
        self._programs = Programs()
        self._later: list[Message] = []  # what it's told before its next task

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: the worker is gone.
        """

    @abstractmethod
    def is_dying(self) -> bool:
        """Whether it has died, or will before it has done anything that it's told now."""

    @abstractmethod
    def close(self) -> None:
        """Have it end when it has done what it does."""

    def tell_later(self, message: Message) -> None:
        """Send a message before its next task."""
        self._later.append(message)

    def tell(self, message: Message) -> None:
        """Send a message; if it's busy before its next task: it doesn't read now, and we must not wait for it."""
        if self.task is not None:
            self.tell_later(message)
            return
        with contextlib.suppress(OSError):  # it's gone; its successor is greeted with all that matters
            self.send(message)

    def give(self, spec: TaskSpec, program: bytes) -> None:
        """Have it run a task, whose stage's pickled program is `program`.

        Raises:
            OSError: the worker is gone.
        """
        self.task = spec
        known = self._programs.knows(spec.program)
        self._programs.use(spec.program, True)
        for message in self._later:
            self.send(message)
        self._later.clear()
        self.send(RunTask(spec, None if known else program))


W = TypeVar("W", bound=WorkerHandle)


class Workers(ABC, Generic[W]):
    """Construct, `start`, then use; `close` ends them.

    Args:
        settings: what each must know.
        slots: how many there are.
        store: the books of the executor's blocks, in which those of a reply are entered before it's posted.
        post: tells the driver.
    """

    def __init__(self, settings: WorkerSettings, slots: int, store: BlockStore, post: Post) -> None:
        self._settings = settings
        self._slots = slots
        self._store = store
        self._post = post
        self._lock = threading.RLock()  # guards all below, and the workers
        self._workers: dict[int, W] = {}  # by number
        self._queue: TaskQueue[W] = TaskQueue(slots)
        self._numbers = count()
        self._peers: Mapping[str, Address] = {}
        self._importable: tuple[str, ...] = ()
        self._closing = False

    # -------------------------------------------------------------------------------------------- life
    @abstractmethod
    def start(self) -> None:
        """Start a worker a slot; returns before they're up, tasks wait for them."""

    @abstractmethod
    def _kill(self, worker: W) -> None:
        """Have a worker process killed, upon which it's replaced, or a thread's task ended. Under the lock."""

    def close(self) -> None:
        """End all, the busy ones included. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            workers = list(self._workers.values())
        self._end(workers)

    def _end(self, workers: list[W]) -> None:
        """End these workers, the last ones that there are. Not under the lock."""
        for worker in workers:
            worker.close()

    def _add(self, worker: W) -> None:
        """A worker has been started: it's told what all were told. Under the lock."""
        self._workers[worker.number] = worker
        if self._peers:
            worker.tell_later(SetPeers(self._peers))
        if self._importable:
            worker.tell_later(AddPaths(self._importable))

    def _remove(self, worker: W) -> None:
        """A worker has died. Under the lock."""
        del self._workers[worker.number]
        self._queue.remove(worker)

    # -------------------------------------------------------------------------------------------- tasks
    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        """Run tasks of one stage, whose pickled program is `program`; each ends in one `TaskEnded`."""
        with self._lock:
            for spec in tasks:
                worker = self._queue.add(spec, program)
                if worker is not None:
                    self._give(worker, spec, program)

    def _next(self, worker: W) -> None:
        """A worker can run a task. Under the lock."""
        task = self._queue.next_of(worker)
        if task is not None:
            self._give(worker, *task)

    def _give(self, worker: W, spec: TaskSpec, program: bytes) -> None:
        try:
            worker.give(spec, program)
        except OSError:
            logger.debug("worker %d is gone; its end will be reported", worker.number)
        except Exception as error:  # such as no memory to pickle it in
            text = f"it could not be sent to its worker: {description(error)}"
            self._doom(worker, TaskFailure(FailureKind.REFUSED, text))

    def kill(self, task_id: int, reason: str) -> None:
        """End a task that is queued or runs."""
        failure = TaskFailure(FailureKind.KILLED, reason)
        with self._lock:
            was_queued = self._queue.withdraw(task_id)
            for worker in self._workers.values():
                if worker.task is not None and worker.task.task_id == task_id:
                    self._doom(worker, failure)
        if was_queued:
            self._ended_badly(task_id, failure)

    def _doom(self, worker: W, failure: TaskFailure) -> None:
        """End a worker's task, which will have failed of this. Under the lock."""
        worker.doom = failure
        self._kill(worker)

    def _replied(self, worker: W, reply: TaskReply) -> None:
        """A task is over: its blocks are in the store's books before anybody hears of it."""
        dropped = self._entered(worker.task, reply)
        with self._lock:
            worker.task = None
            if not worker.is_dying():
                worker.doom = None
                self._next(worker)
        self._post(TaskEnded(self._settings.executor_id, reply))
        if dropped:
            self._post(BlocksDropped(self._settings.executor_id, tuple(dropped)))

    def _entered(self, spec: TaskSpec | None, reply: TaskReply) -> list[str]:
        """Enter a reply's blocks into the store's books; returns the ids of those that were dropped for them."""
        dropped: list[str] = []
        for stored in reply.stored:
            dropped += self._store.added(
                stored.block_id, stored.size, stored.in_memory, use_disk=stored.use_disk, evictable=True
            )
        if spec is not None and isinstance(reply.value, MapOutput):
            for block_id, size in reply.value.blocks:
                in_memory = block_id not in reply.value.on_disk
                self._store.added(block_id, size, in_memory, use_disk=True, evictable=False)
        if spec is not None and spec.cached:
            self._store.used(ref.block_id for ref in spec.cached.values())
        return dropped

    def _lost(self, spec: TaskSpec, failure: TaskFailure) -> None:
        """A task has died with its worker: the spill files and map outputs go that it left without a word."""
        shutil.rmtree(spill_directory(self._settings.scratch, spec.task_id), ignore_errors=True)
        if spec.shuffle_id >= 0:
            prefix = blockids.map_output_prefix(spec.shuffle_id, partition=spec.partition, task_id=spec.task_id)
            self._settings.places.remove_prefix(prefix)
        self._ended_badly(spec.task_id, failure)

    def _ended_badly(self, task_id: int, failure: TaskFailure) -> None:
        """A task ended without a word of its own."""
        self._post(TaskEnded(self._settings.executor_id, TaskReply(task_id, failure, None, b"", (), {})))

    # -------------------------------------------------------------------------------------------- what they're told
    def tell(self, message: Message) -> None:
        """Tell all workers; none is waited for."""
        with self._lock:
            for worker in self._workers.values():
                worker.tell(message)

    def set_peers(self, peers: Mapping[str, Address]) -> None:
        """Tell all workers, those to come included, the block servers of all executors."""
        with self._lock:
            self._peers = dict(peers)
            self.tell(SetPeers(self._peers))

    def add_path(self, path: str) -> None:
        """Have all workers, those to come included, import from a directory or a package."""
        with self._lock:
            self._importable = (*self._importable, path)
            self.tell(AddPaths(self._importable))

    @property
    def peers(self) -> Mapping[str, Address]:
        """The block servers of all executors, by id."""
        return self._peers
