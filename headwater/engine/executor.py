"""An executor: one machine's share of an application: its blocks, its workers and its receivers.

It runs in the driver's process (masters `local...`) or in a process of its own (`local-cluster`, a cluster) and is the
same class in both. It decides nothing: it runs what it's told on an idle worker and posts what happened. One thread
(`_io`) reads all connections; any thread may call the public methods, one lock guards the tables.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import selectors
import shutil
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from headwater import broadcast, filesystem
from headwater.base.cipher import KeySource
from headwater.base.threads import WatchedThread
from headwater.engine import interpreter
from headwater.engine.blocks import BlockStore, Places
from headwater.engine.events import (
    BlocksDropped,
    ExecutorLeft,
    FailureKind,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
)
from headwater.engine.failures import description
from headwater.engine.interrupt import Interrupt
from headwater.engine.loop import mark_interruptible
from headwater.engine.peers import BlockServer
from headwater.engine.receivers import Receivers
from headwater.engine.scratch import ScratchDirectory, free_bytes, local_root, memory_root, total_bytes
from headwater.engine.task import Programs, TaskRunner
from headwater.engine.warden import signal_text
from headwater.engine.wire import Channel
from headwater.engine.worker import ExecutorSurroundings, WorkerSettings, apply_paths

log = logging.getLogger(__name__)

# Workers that die before their first task is done: after so many in a row something is wrong with the machine.
FRUITLESS_WORKERS_MAX = 10
WARDEN_STOP_SECONDS = 5.0
# Of the memory file system, for all executors of an application on this host.
MEMORY_SHARE_MAX = 0.75
# What stays free there: a part of it, or so many bytes; others use it as well.
MEMORY_RESERVE_PART, MEMORY_RESERVE_MAX = 16, 64 << 20


class ExecutorSettings(NamedTuple):
    """What an executor must know from the start; sizes in bytes."""

    executor_id: str
    host: str
    cores: int
    in_process: bool  # tasks run on threads of this process
    secret: bytes
    local_dir: str | None
    store_limit: int  # of blocks in memory
    executors_on_host: int  # which share what memory file system there is
    worker_memory: int
    inline_limit: int
    result_limit: int
    compress: bool
    state_limit: int  # of live state in a worker's heap
    received_memory: int  # of received blocks in memory, before they go to disk
    received_disk: int  # of received blocks on disk, before receivers wait
    serve_blocks: bool  # other executors may ask for blocks
    sys_path: tuple[str, ...]
    environment: dict[str, str]
    conf: dict[str, str]
    heartbeat_ms: int = 10_000  # how often it tells the driver that it lives, if it is a process of its own
    owner_directories: tuple[str, ...] = ()  # what else the warden removes when this process dies
    key: KeySource | None = None  # of what is written to disk; None: that isn't encrypted


@dataclass(eq=False)
class _Worker:
    """A worker as its executor sees it."""

    number: int
    slot: int  # below the number of cores; a successor takes it
    send: Callable[[tuple[Any, ...]], None]
    channel: Channel | None = None  # None: a thread of this process
    pid: int = 0  # 0 until the warden has reported it
    task: TaskSpec | None = None  # what it runs; None: it's idle
    programs: Programs = field(default_factory=Programs)
    useful: bool = False  # has finished a task
    doom: TaskFailure | None = None  # it's being killed, or is to be: what its task will have failed of
    ended: bool = False  # its channel has; the warden will say how
    later: list[tuple[Any, ...]] = field(default_factory=list)  # what it's told before its next task


class Executor:
    """Construct, `start`, then use; `stop` closes all that it opened."""

    def __init__(self, settings: ExecutorSettings, post: Callable[[Any], None]) -> None:
        self.settings = settings
        filesystem.configure(settings.conf)  # receivers' logs are written here
        self._post = post
        self._disk = ScratchDirectory(local_root(settings.local_dir))
        memory = memory_root()
        self._memory = ScratchDirectory(memory) if memory else self._disk
        room, reserve = free_bytes(self._disk.path), 0
        if memory:
            # Of the whole: what others have there now may go, and what they will have is looked at with each block.
            room = total_bytes(memory)
            reserve = min(room // MEMORY_RESERVE_PART, MEMORY_RESERVE_MAX)
        share = int(room * MEMORY_SHARE_MAX) // settings.executors_on_host
        self.places = Places(
            os.path.join(self._memory.path, "memory"),
            os.path.join(self._disk.path, "disk"),
            reserve=reserve,
            key=settings.key,
            memory_is_disk=memory is None,
        )
        self.store = BlockStore(self.places, min(settings.store_limit, share))
        self.files = os.path.join(self._disk.path, "files")
        os.makedirs(self.files)
        self._worker_settings = WorkerSettings(
            settings.executor_id,
            settings.secret,
            self.places,
            os.path.join(self._disk.path, "spill"),
            settings.worker_memory,
            settings.inline_limit,
            settings.result_limit,
            settings.compress,
            settings.state_limit,
            self.files,
            settings.sys_path,
            settings.environment,
            filesystem.relevant(settings.conf),
            settings.key,
        )
        self._lock = threading.RLock()  # guards all below
        self._workers: dict[int, _Worker] = {}
        self._idle: deque[_Worker] = deque()
        self._queued: deque[tuple[TaskSpec, bytes]] = deque()  # tasks for which a worker is being started
        self._homes: dict[int, int] = {}  # pin -> the slot whose worker holds its live state
        self._awaiting: list[deque[tuple[TaskSpec, bytes]]] = [deque() for _ in range(settings.cores)]  # by slot
        self._numbers = count()
        self._fruitless = 0
        self._peers: dict[str, tuple[str, int]] = {}
        self._importable: tuple[str, ...] = ()
        self._closing = False
        self._warden: _Warden | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        name = f"executor-{settings.executor_id}-io"
        self._io_thread = WatchedThread(self._io, name=name, on_failure=self._io_failed)
        self._block_server = BlockServer(self.store, settings.secret, settings.host) if settings.serve_blocks else None
        self.receivers = Receivers(self)
        self._replicating = threading.Lock()  # one thread at a time talks to the peers
        self._surroundings = ExecutorSurroundings(self._worker_settings)

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Start the warden and the workers; returns before they're up, tasks wait for them."""
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        with self._lock:
            if self.settings.in_process:
                for slot in range(self.settings.cores):
                    self._start_thread(slot)
            else:
                self._start_warden()
                for slot in range(self.settings.cores):
                    self._start_worker(slot)
        self._io_thread.start()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where other executors may ask for blocks."""
        return self._block_server.address if self._block_server else None

    def post(self, event: Any) -> None:
        """Tell the driver."""
        self._post(event)

    def stop(self) -> None:
        """End receivers and workers and remove the blocks. Idempotent."""
        self.receivers.stop()
        with self._lock:
            if self._closing:
                return
            self._closing = True
            workers = list(self._workers.values())
        if self._block_server:
            self._block_server.close()
        os.write(self._wake_writer, b".")
        if self._io_thread.is_alive() and threading.current_thread() is not self._io_thread:
            self._io_thread.join()
        for worker in workers:
            if worker.channel is not None:
                worker.channel.close()
            else:
                worker.send(("stop",))
        if self._warden is not None:
            self._warden.stop()
        self._surroundings.close()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._memory.close()
        if self._disk is not self._memory:
            self._disk.close()

    # -------------------------------------------------------------------------------------------- tasks
    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        """Run tasks of one stage; each ends in one `TaskEnded`."""
        with self._lock:
            for spec in tasks:
                if spec.pin >= 0:
                    self._submit_pinned(spec, program)
                elif self._idle:
                    self._give(self._idle.popleft(), spec, program)
                else:
                    self._queued.append((spec, program))

    def _submit_pinned(self, spec: TaskSpec, program: bytes) -> None:
        """Run a task on the worker that has its live state, even where another one is idle."""
        slot = self._homes.setdefault(spec.pin, len(self._homes) % self.settings.cores)
        worker = next((worker for worker in self._idle if worker.slot == slot), None)
        if worker is None:
            self._awaiting[slot].append((spec, program))
        else:
            self._idle.remove(worker)
            self._give(worker, spec, program)

    def _give(self, worker: _Worker, spec: TaskSpec, program: bytes) -> None:
        worker.task = spec
        known = worker.programs.knows(spec.program)
        worker.programs.use(spec.program, True)
        try:
            for message in worker.later:
                worker.send(message)
            worker.later.clear()
            worker.send(("task", spec, None if known else program))
        except OSError:
            log.debug("worker %d is gone; its end will be reported", worker.number)
        except Exception as error:  # such as no memory to pickle it in
            text = f"it could not be sent to its worker: {description(error)}"
            self._doom(worker, TaskFailure(FailureKind.REFUSED, text))

    def kill(self, task_id: int, reason: str) -> None:
        """End a task that is queued or runs; a worker process is killed and replaced."""
        with self._lock:
            waiting = [self._queued, *self._awaiting]
            queued = [(entry, line) for line in waiting for entry in line if entry[0].task_id == task_id]
            for entry, line in queued:
                line.remove(entry)
            for worker in self._workers.values():
                if worker.task is not None and worker.task.task_id == task_id:
                    self._doom(worker, TaskFailure(FailureKind.KILLED, reason))
        for _ in queued:
            self._ended_badly(task_id, TaskFailure(FailureKind.KILLED, reason))

    def _doom(self, worker: _Worker, failure: TaskFailure) -> None:
        """Have a worker process killed and replaced, or a thread's task ended. Under the lock."""
        worker.doom = failure
        if worker.channel is None and worker.task is not None:
            worker.send(("kill", worker.task.task_id))
        elif worker.pid and self._warden is not None:
            self._warden.send("kill", worker.pid)

    def _replied(self, worker: _Worker, reply: TaskReply) -> None:
        """A task is over: its blocks are in the store's books before anybody hears of it."""
        spec = worker.task
        dropped: list[str] = []
        for stored in reply.stored:
            dropped += self.store.added(
                stored.block_id,
                stored.size,
                stored.in_memory,
                use_disk=stored.use_disk,
                evictable=True,
            )
        if spec is not None and reply.failure is None and spec.shuffle_id >= 0:
            for block_id, size in reply.value.blocks:
                in_memory = block_id not in reply.value.on_disk
                self.store.added(block_id, size, in_memory, use_disk=True, evictable=False)
        if spec is not None and spec.cached:
            self.store.used(ref.block_id for ref in spec.cached.values())
        with self._lock:
            worker.task, worker.useful = None, True
            self._fruitless = 0
            doomed = worker.ended or (worker.doom is not None and worker.channel is not None)
            if not doomed:  # dead, or a signal is under way, which must not hit another task
                worker.doom = None
                self._next(worker)
        self._post(TaskEnded(self.settings.executor_id, reply))
        if dropped:
            self._post(BlocksDropped(self.settings.executor_id, tuple(dropped)))

    def _ended_badly(self, task_id: int, failure: TaskFailure) -> None:
        """A task ended without a word of its own."""
        self._post(TaskEnded(self.settings.executor_id, TaskReply(task_id, failure, None, b"", (), {})))

    def _next(self, worker: _Worker) -> None:
        if self._awaiting[worker.slot]:
            self._give(worker, *self._awaiting[worker.slot].popleft())
        elif self._queued:
            self._give(worker, *self._queued.popleft())
        else:
            # The one used last is used first: its caches are warm, and a tiny job stays in one process.
            self._idle.appendleft(worker)

    # -------------------------------------------------------------------------------------------- workers
    def _start_warden(self) -> None:
        locks = {self._memory.lock_fd, self._disk.lock_fd}
        directories = {self._memory.path, self._disk.path, *self.settings.owner_directories}
        self._warden = _Warden(tuple(locks), (self._worker_settings, directories))
        self._selector.register(self._warden.socket, selectors.EVENT_READ, self._warden)

    def _start_worker(self, slot: int) -> None:
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        worker = _Worker(next(self._numbers), slot, channel.send, channel)
        self._workers[worker.number] = worker
        assert self._warden is not None
        self._warden.send("fork", worker.number, theirs)
        theirs.close()
        self._greet(worker)
        self._selector.register(channel, selectors.EVENT_READ, worker)
        self._next(worker)

    def _greet(self, worker: _Worker) -> None:
        if self._peers:
            worker.later.append(("peers", self._peers))
        if self._importable:
            worker.later.append(("paths", self._importable))

    def _worker_started(self, number: int, pid: int) -> None:
        with self._lock:
            worker = self._workers[number]
            worker.pid = pid
            if worker.doom is not None and self._warden is not None:
                self._warden.send("kill", pid)  # asked for before its pid was known

    def _worker_ended(self, pid: int, status: int) -> None:
        with self._lock:
            worker = next((w for w in self._workers.values() if w.pid == pid), None)
            if worker is None or worker.channel is None or self._closing:
                return
            replies = [] if worker.ended else self._said(worker)[0]  # before it died: that counts
            if not worker.ended:
                self._selector.unregister(worker.channel)
            worker.ended = True
            worker.channel.close()
            del self._workers[worker.number]
            with contextlib.suppress(ValueError):
                self._idle.remove(worker)
        for reply in replies:
            self._replied(worker, reply)
        with self._lock:
            spec, doom = worker.task, worker.doom
            # One that dies of its task says nothing about the machine.
            self._fruitless = 0 if worker.useful or spec is not None or doom is not None else self._fruitless + 1
            if self._fruitless <= FRUITLESS_WORKERS_MAX:
                self._start_worker(worker.slot)
            else:
                self._give_up(f"its workers die at once, the last one {signal_text(status)}")
        if spec is not None:
            what = f"the worker process (pid {pid}) {signal_text(status)}"
            self._clear_up(spec)
            if doom is None:
                log.warning("task %d of stage %d: %s", spec.partition, spec.stage_id, what)
            self._ended_badly(spec.task_id, doom or TaskFailure(FailureKind.LOST, what))

    def _clear_up(self, spec: TaskSpec) -> None:
        """Remove what a task left that died with its worker: spill files, and map outputs that nobody knows of."""
        shutil.rmtree(os.path.join(self._worker_settings.scratch, f"spill-{spec.task_id}"), ignore_errors=True)
        if spec.shuffle_id >= 0:
            self.places.remove_prefix(f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_")

    def _warden_ended(self) -> None:
        """The warden was killed, and the workers with it: start anew."""
        with self._lock:
            if self._closing or self._warden is None:
                return
            self._selector.unregister(self._warden.socket)
            self._warden.stop()
            lost = [worker for worker in self._workers.values() if worker.channel is not None]
            for worker in lost:
                assert worker.channel is not None
                if not worker.ended:
                    self._selector.unregister(worker.channel)
                worker.ended = True
                worker.channel.close()
            self._workers.clear()
            self._idle.clear()
            self._fruitless += 1
            if self._fruitless > FRUITLESS_WORKERS_MAX:
                self._give_up("its warden dies at once")
                return
            self._start_warden()
            for slot in range(self.settings.cores):
                self._start_worker(slot)
        log.warning("the warden of executor %s died; its workers were started anew", self.settings.executor_id)
        for worker in lost:
            if worker.task is not None:
                self._clear_up(worker.task)
                self._ended_badly(worker.task.task_id, TaskFailure(FailureKind.LOST, "the worker died with its warden"))

    def _give_up(self, reason: str) -> None:
        """No task can run here any more."""
        log.error("executor %s: %s", self.settings.executor_id, reason)
        self._post(ExecutorLeft(self.settings.executor_id, reason))

    def _start_thread(self, slot: int) -> None:
        """A worker that is a thread of this process, for `local`: a debugger sees what it runs."""
        messages: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        worker = _Worker(next(self._numbers), slot, messages.put)
        self._workers[worker.number] = worker
        surroundings = ExecutorSurroundings(self._worker_settings)
        broadcast.set_reader(surroundings.read_broadcast)
        apply_paths(self.files, ())

        def run() -> None:
            mark_interruptible()  # by `kill`
            runner = TaskRunner(surroundings)
            while (message := messages.get())[0] != "stop":
                if message[0] == "task":
                    self._replied(worker, interrupt.guard(message[1], partial(runner.run, message[1], message[2])))
                elif message[0] == "paths":
                    apply_paths(self.files, message[1])
                elif message[0] == "forget":
                    broadcast.forget(message[1])
                elif message[0] == "forget state":
                    surroundings.states.forget(message[1])

        interrupt = Interrupt()
        failed = partial(self._thread_failed, worker)
        WatchedThread(run, name=f"worker-{worker.number}", on_failure=failed).start()

        def send(message: tuple[Any, ...]) -> None:
            if message[0] == "kill":
                interrupt.throw(message[1])
            else:
                messages.put(message)

        worker.send = send
        self._next(worker)

    def _thread_failed(self, worker: _Worker, failure: BaseException) -> None:
        """A thread that was a worker has ended: another takes its place."""
        with self._lock:
            del self._workers[worker.number]
            with contextlib.suppress(ValueError):
                self._idle.remove(worker)
            spec = worker.task
            if not self._closing:
                self._start_thread(worker.slot)
        if spec is not None:
            self._clear_up(spec)
            text = f"its thread has failed: {description(failure)}"
            self._ended_badly(spec.task_id, TaskFailure(FailureKind.LOST, text))

    # -------------------------------------------------------------------------------------------- the I/O thread
    def _io(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                self._ready(key.data)

    def _io_failed(self, failure: BaseException) -> None:
        if not self._closing:
            self._give_up(f"its I/O thread has failed: {description(failure)}")

    def _ready(self, source: Any) -> None:
        if isinstance(source, _Worker) and source.channel is not None:
            if source.ended:
                return  # its end was reported in the same breath
            replies, ended = self._said(source)
            for reply in replies:
                self._replied(source, reply)
            if ended:
                with self._lock, contextlib.suppress(ValueError):
                    source.ended = True
                    self._selector.unregister(source.channel)
                    self._idle.remove(source)
        elif isinstance(source, _Warden):
            report = source.receive()
            if report is None:
                self._warden_ended()
            elif report[0] == "started":
                self._worker_started(report[1], report[2])
            else:
                self._worker_ended(report[1], report[2])

    def _said(self, worker: _Worker) -> tuple[list[TaskReply], bool]:
        """What a worker has said, and whether nothing more comes; one of which that can't be read is killed."""
        assert worker.channel is not None
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

    # -------------------------------------------------------------------------------------------- blocks, files, peers
    def put_block(self, block_id: str, data: bytes) -> None:
        """Keep a block that the driver sends (a broadcast)."""
        self.store.put(block_id, [data], use_memory=True, use_disk=True, evictable=False)

    def get_block(self, block_id: str) -> bytes | None:
        """A block's bytes; None if it isn't here."""
        return self.store.get(block_id)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int) -> tuple[str, ...]:
        """Put copies of a received block on other executors; returns the ids of those that took one."""
        with self._replicating:
            self._surroundings.set_peers(self._peers)
            return self._surroundings.replicate(block_id, pieces, copies, in_memory=True)

    def remove_blocks(self, block_ids: list[str]) -> None:
        """Remove received blocks."""
        self.store.remove(block_ids)
        self.receivers.removed(block_ids)

    def forget_broadcast(self, broadcast_id: int) -> None:
        """Remove a broadcast, its value in the workers included."""
        self.store.remove([f"broadcast_{broadcast_id}"])
        with self._lock:
            self._tell(("forget", broadcast_id))

    def forget_state(self, state_id: int) -> None:
        """Drop a state's partitions from the workers' heaps."""
        with self._lock:
            self._tell(("forget state", state_id))

    def remove_prefix(self, prefix: str) -> None:
        """Remove blocks by the start of their id."""
        self.store.remove_prefix(prefix)

    def add_file(self, name: str, data: bytes, importable: bool) -> None:
        """A file for SparkFiles; an importable one goes on the workers' path."""
        path = os.path.join(self.files, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".tmp", "wb") as file:
            file.write(data)
        os.rename(path + ".tmp", path)
        if importable:
            with self._lock:
                entry = path if name.endswith((".zip", ".egg", ".whl")) else self.files
                self._importable = (*self._importable, entry)
                self._tell(("paths", self._importable))

    def set_peers(self, peers: Mapping[str, tuple[str, int]]) -> None:
        """The block servers of all executors."""
        with self._lock:
            self._peers = dict(peers)
            self._tell(("peers", self._peers))

    @property
    def peers(self) -> dict[str, tuple[str, int]]:
        return self._peers

    def _tell(self, message: tuple[Any, ...]) -> None:
        """Tell all workers; one that is busy before its next task: it doesn't read now, and we must not wait for it."""
        for worker in self._workers.values():
            if worker.task is not None:
                worker.later.append(message)
                continue
            with contextlib.suppress(OSError):  # it's gone; its successor is greeted with all that matters
                worker.send(message)


class _Warden:
    """The executor's end of its warden."""

    def __init__(self, lock_fds: tuple[int, ...], first_message: object) -> None:
        # Datagrams for small messages; the first one, of any size, goes by its standard input.
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            interpreter.command("headwater.engine.warden", str(theirs.fileno()), *map(str, lock_fds)),
            stdin=subprocess.PIPE,
            pass_fds=(theirs.fileno(), *lock_fds),
            env={**interpreter.environment(), "PYTHONHASHSEED": "0"},
            start_new_session=True,  # only the driver sees Ctrl-C
        )
        theirs.close()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # it has ended: about to be noticed
            pickle.dump(first_message, pipe)

    def send(self, command: str, argument: int, attached: socket.socket | None = None) -> None:
        message = pickle.dumps((command, argument))
        with contextlib.suppress(OSError):  # it has ended, which is about to be noticed, or we have closed the socket
            if attached is None:
                self.socket.send(message)
            else:
                socket.send_fds(self.socket, [message], [attached.fileno()])

    def receive(self) -> tuple[str, int, int] | None:
        """The next report; None when the warden is gone."""
        try:
            message = self.socket.recv(4096)
        except ConnectionResetError:
            message = b""
        return pickle.loads(message) if message else None

    def stop(self) -> None:
        """Close the socket, upon which it ends, and wait for that."""
        self.socket.close()
        try:
            self._process.wait(WARDEN_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
