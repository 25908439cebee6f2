"""Workers that are processes, forked by the executor's warden: their start, their replies, their deaths.

One thread (`_io`) reads all that they and the warden say. A worker that dies is replaced, and so are all when the
warden dies; where they die at once, again and again, the executor gives up.
"""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import socket
import threading
from collections.abc import Callable, Collection
from functools import partial

from headwater.base.exhaustive import assert_never
from headwater.base.threads import WatchedThread
from headwater.engine.backend import Post
from headwater.engine.blocks import BlockStore
from headwater.engine.events import FailureKind, TaskFailure, TaskReply
from headwater.engine.failures import description
from headwater.engine.settings import WorkerSettings
from headwater.engine.warden import signal_text
from headwater.engine.wardenlink import WardenLink
from headwater.engine.wardenmessages import Ended, Forked
from headwater.engine.wire import Channel
from headwater.engine.worker import Message
from headwater.engine.workers import WorkerHandle, Workers

logger = logging.getLogger(__name__)

# Deaths in a row, of workers before their first task is done or of wardens: then something is wrong with the machine.
FRUITLESS_MAX = 10


class WorkerProcess(WorkerHandle):
    """A worker process, and our end of its socket."""

    def __init__(self, number: int, slot: int, channel: Channel) -> None:
        super().__init__(number, slot)
        self.channel = channel
        self.pid = 0  # 0 until the warden has reported it
        self.useful = False  # has finished a task
        self.ended = False  # its channel has, and is read no more; the warden will say how

    def send(self, message: Message) -> None:
        self.channel.send(message)

    def is_dying(self) -> bool:
        return self.ended or self.doom is not None  # a signal is under way, which must not hit another task

    def close(self) -> None:
        self.channel.close()


class WorkerProcesses(Workers[WorkerProcess]):
    """The worker processes of an executor.

    Args:
        settings, slots, store, post: see `Workers`.
        owner_directories: what the warden removes when this process is gone.
        lock_fds: the locks of these, which it holds as well.
        give_up: is called, once or more, when no task can run here any more, with the reason.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        slots: int,
        store: BlockStore,
        post: Post,
        *,
        owner_directories: Collection[str],
        lock_fds: Collection[int],
        give_up: Callable[[str], None],
    ) -> None:
        super().__init__(settings, slots, store, post)
        self._start_warden = partial(WardenLink, settings, directories=owner_directories, lock_fds=lock_fds)
        self._give_up = give_up
        self._warden: WardenLink | None = None  # until the start; guarded by the lock, as what is registered below
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._fruitless = 0  # see `FRUITLESS_MAX`; the I/O thread alone uses it
        name = f"executor-{settings.executor_id}-io"
        self._io_thread = WatchedThread(self._io, name=name, on_failure=self._io_failed)

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        with self._lock:
            self._start_all()
        self._io_thread.start()

    def _start_all(self) -> None:
        self._warden = self._start_warden()
        self._selector.register(self._warden, selectors.EVENT_READ, self._warden)
        for slot in range(self._slots):
            self._start(slot)

    def _start(self, slot: int) -> None:
        assert self._warden is not None
        ours, theirs = socket.socketpair()
        worker = WorkerProcess(next(self._numbers), slot, Channel(ours))
        self._warden.fork(worker.number, theirs)
        theirs.close()
        self._add(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        self._next(worker)

    def _kill(self, worker: WorkerProcess) -> None:
        if worker.pid and self._warden is not None:
            self._warden.kill(worker.pid)

    def _end(self, workers: list[WorkerProcess]) -> None:
        os.write(self._wake_writer, b".")
        if self._io_thread.is_alive() and threading.current_thread() is not self._io_thread:
            self._io_thread.join()
        super()._end(workers)
        if self._warden is not None:
            self._warden.stop()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # -------------------------------------------------------------------------------------------- the I/O thread
    def _io(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                if isinstance(key.data, WorkerProcess):
                    self._read_worker(key.data)
                elif isinstance(key.data, WardenLink):
                    self._read_warden(key.data)

    def _io_failed(self, failure: BaseException) -> None:
        if not self._closing:
            self._give_up(f"its I/O thread has failed: {description(failure)}")

    def _read_worker(self, worker: WorkerProcess) -> None:
        if worker.ended:
            return  # its end was reported in the same breath
        replies, ended = self._said(worker)
        for reply in replies:
            self._replied(worker, reply)
        if ended:
            with self._lock:
                self._leave(worker)
                self._queue.remove(worker)

    def _said(self, worker: WorkerProcess) -> tuple[list[TaskReply], bool]:
        """What a worker has said, and whether nothing more comes; one of which that can't be read is killed."""
        try:
            messages, ended = worker.channel.drain()
            return [pickle.loads(message) for message in messages], ended
        except Exception as error:
            text = f"its reply could not be read: {description(error)}"
            if isinstance(error, MemoryError):
                text += " (a result has to fit into the memory of this process several times over: collect less)"
            with self._lock:
                self._doom(worker, TaskFailure(FailureKind.REFUSED, text))
            return [], True

    def _replied(self, worker: WorkerProcess, reply: TaskReply) -> None:
        worker.useful = True
        self._fruitless = 0
        super()._replied(worker, reply)

    def _leave(self, worker: WorkerProcess) -> None:
        """Read nothing more of a worker. Under the lock."""
        if not worker.ended:
            worker.ended = True
            self._selector.unregister(worker.channel)

    # -------------------------------------------------------------------------------------------- what the warden says
    def _read_warden(self, warden: WardenLink) -> None:
        report = warden.receive()
        match report:
            case None:
                self._warden_ended()
            case Forked(number, pid):
                self._worker_forked(number, pid)
            case Ended(pid, status):
                self._worker_ended(pid, status)
            case _:
                assert_never(report, "a report of the warden")

    def _worker_forked(self, number: int, pid: int) -> None:
        with self._lock:
            worker = self._workers[number]
            worker.pid = pid
            if worker.doom is not None:
                self._kill(worker)  # asked for before its pid was known

    def _worker_ended(self, pid: int, status: int) -> None:
        with self._lock:
            worker = next((w for w in self._workers.values() if w.pid == pid), None)
            if worker is None or self._closing:
                return
            replies = [] if worker.ended else self._said(worker)[0]  # before it died: that counts
            self._leave(worker)
            worker.close()
            self._remove(worker)
        for reply in replies:
            self._replied(worker, reply)
        spec, doom = worker.task, worker.doom
        # One that dies of its task says nothing about the machine.
        self._fruitless = 0 if worker.useful or spec is not None or doom is not None else self._fruitless + 1
        if self._fruitless > FRUITLESS_MAX:
            self._give_up(f"its workers die at once, the last one {signal_text(status)}")
        else:
            with self._lock:
                if not self._closing:
                    self._start(worker.slot)
        if spec is not None:
            what = f"the worker process (pid {pid}) {signal_text(status)}"
            if doom is None:
                logger.warning("task %d of stage %d: %s", spec.partition, spec.stage_id, what)
            self._lost(spec, doom or TaskFailure(FailureKind.LOST, what))

    def _warden_ended(self) -> None:
        """The warden was killed, and the workers with it: start anew."""
        with self._lock:
            if self._closing or self._warden is None:
                return
            self._selector.unregister(self._warden)
            self._warden.stop()
            lost = list(self._workers.values())
            for worker in lost:
                self._leave(worker)
                worker.close()
                self._remove(worker)
            self._fruitless += 1
            if self._fruitless > FRUITLESS_MAX:
                self._give_up("its warden dies at once")
                return
            self._start_all()
        logger.warning("the warden of executor %s died; its workers were started anew", self._settings.executor_id)
        for worker in lost:
            if worker.task is not None:
                self._lost(worker.task, TaskFailure(FailureKind.LOST, "the worker died with its warden"))
