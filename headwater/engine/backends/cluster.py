"""The cluster backend: executors in processes of their own, which share only authenticated sockets with the driver.

Master `local-cluster[n,c,m]` starts them on this machine; a cluster manager may start them elsewhere. The control
connection of an executor is its life: its end is the executor's death to the driver, and the driver's to the executor.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import secrets
import subprocess
import threading
from functools import partial
from itertools import count

from headwater.base.threads import WatchedThread
from headwater.clock import SystemClock
from headwater.engine import interpreter, wire
from headwater.engine.backend import ExecutorHandle, Post
from headwater.engine.backends.connection import Announced, Answer, FarExecutor, Hello, unreadable
from headwater.engine.backends.watch import (
    PAUSE_MS_MAX,
    Deaths,
    ExecutorStarted,
    Fence,
    Gone,
    Joined,
    Look,
    Looked,
    Replace,
    Start,
    Suspect,
    Trust,
    Watch,
    WatchAction,
    WatchEvent,
)
from headwater.engine.events import (
    CancelJobs,
    ExecutorJoined,
    ExecutorLeft,
    ExecutorSuspected,
    ExecutorTrusted,
    Heartbeat,
    TaskEnded,
)
from headwater.engine.failures import description
from headwater.engine.handshakes import PeerListener
from headwater.engine.loop import Loop
from headwater.engine.settings import ExecutorSettings

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0


class ClusterBackend:
    """The driver's side. One thread accepts, one reads each executor's connection; one lock guards the tables."""

    def __init__(self, executors: int, settings: ExecutorSettings, *, silence_ms_max: int) -> None:
        self._count = executors
        self._settings = settings
        self._secret = settings.secret or secrets.token_bytes(32)
        self._silence_ms_max = silence_ms_max
        watch = Watch(settings.heartbeat_ms, silence_ms_max)
        self._watch: Loop[WatchEvent, WatchAction] = Loop(
            "executors-watch", watch, self._perform, SystemClock(), self._watch_failed
        )
        self._listener: PeerListener | None = None  # until the start
        self._ids = count()
        self._lock = threading.Lock()  # guards all below
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._executors: dict[str, FarExecutor] = {}  # those that are connected
        self._addresses: dict[str, tuple[str, int]] = {}  # block servers
        self._met: set[str] = set()  # the executors that have ever connected: their connection tells of their end
        self._fenced: dict[str, str] = {}  # executors that are given up, and why, until their end is posted
        self._deaths = Deaths(executors)
        self._unwatched: str | None = None  # why nobody watches them any more: the next death ends the application
        self._stopping = False

    def start(self, post: Post) -> None:
        self._post = post
        self._watch.start()
        self._listener = PeerListener(self._settings.host, self._secret, name="cluster", serve=self._serve)
        for _ in range(self._count):
            self._launch()

    def executors(self) -> dict[str, ExecutorHandle]:
        with self._lock:
            return {executor_id: far.handle for executor_id, far in self._executors.items()}

    def left(self, executor_id: str, reason: str) -> str | None:
        with self._lock:
            if self._stopping:
                return None
            if self._unwatched is not None:
                return self._unwatched
            pause_ms = self._deaths.add()
            if pause_ms is None and not self._executors:
                return f"{self._deaths}, the last one: {reason}"
        self._watch.post(Replace(PAUSE_MS_MAX if pause_ms is None else pause_ms))
        return None

    def stop(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            executors, processes = list(self._executors.values()), list(self._processes.values())
        self._watch.stop()
        for far in executors:
            far.close()
        if self._listener is not None:
            self._listener.close()
        for process in processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -------------------------------------------------------------------------------------------- processes
    def _launch(self) -> None:
        with self._lock:
            if self._stopping:
                return
            executor_id = str(next(self._ids))
            settings = self._settings._replace(executor_id=executor_id, secret=self._secret)
            process = subprocess.Popen(
                interpreter.command("headwater.engine.backends.executorprocess"),
                stdin=subprocess.PIPE,
                env=interpreter.environment(),
                start_new_session=True,  # only the driver sees Ctrl-C
            )
            self._processes[executor_id] = process
        self._watch.post(ExecutorStarted(executor_id))
        assert process.stdin is not None and self._listener is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # the secret is not for the process table
            pickle.dump((settings, self._listener.address), pipe)
        WatchedThread(
            partial(self._await_start, executor_id, process),
            name=f"executor-{executor_id}-process",
            on_failure=partial(self._not_awaited, executor_id),
        ).start()

    def _await_start(self, executor_id: str, process: subprocess.Popen[bytes]) -> None:
        """Reap the process; one that died before it connected has to be reported from here."""
        code = process.wait()
        with self._lock:
            self._processes.pop(executor_id, None)
            known = executor_id in self._met or self._stopping
        if not known:
            self._watch.post(Gone(executor_id))
            self._post(self._end_of(executor_id, f"its process ended with code {code}"))

    def _end_of(self, executor_id: str, reason: str) -> ExecutorLeft:
        with self._lock:
            return ExecutorLeft(executor_id, self._fenced.pop(executor_id, reason))

    # -------------------------------------------------------------------------------------------- the watch
    def _perform(self, action: WatchAction) -> None:
        match action:
            case Look():
                with self._lock:
                    executors = list(self._executors.items())
                self._watch.post(Looked(frozenset(i for i, far in executors if far.was_heard())))
            case Start():
                try:
                    self._launch()
                except OSError as error:
                    logger.warning("no executor can be started at the moment: %s", error)
                    self._watch.post(Replace(PAUSE_MS_MAX))
            case Suspect(executor_id, silent_ms):
                logger.warning(
                    "executor %s has been silent for %d ms (spark.executor.heartbeatInterval is %d ms): it gets no "
                    "tasks until it is heard again, and is replaced if it isn't within %d ms (spark.network.timeout)",
                    executor_id, silent_ms, self._settings.heartbeat_ms, self._silence_ms_max,
                )  # fmt: skip
                self._post(ExecutorSuspected(executor_id))
            case Trust(executor_id, silent_ms):
                logger.warning("executor %s is heard again, after %d ms of silence", executor_id, silent_ms)
                self._post(ExecutorTrusted(executor_id))
            case Fence(executor_id, silent_ms):
                self._fence(executor_id, f"it was silent for {silent_ms} ms, longer than spark.network.timeout allows")

    def _fence(self, executor_id: str, reason: str) -> None:
        """Close an executor's connection, so that nothing of it counts any more, and kill its process."""
        with self._lock:
            far, process = self._executors.get(executor_id), self._processes.get(executor_id)
            if far is None and executor_id in self._met:
                return  # it has just left
            self._fenced[executor_id] = reason
        logger.warning("executor %s is given up: %s. Its process is killed", executor_id, reason)
        if far is not None:
            far.close()
        if process is not None:
            process.kill()  # also of one that is stopped; its warden sees its end, and ends the workers

    def _watch_failed(self, crash: BaseException) -> None:
        with self._lock:
            self._unwatched = f"the watch over the executors failed: {crash!r}"
        self._post(CancelJobs(self._unwatched))

    def _not_awaited(self, executor_id: str, failure: BaseException) -> None:
        with self._lock:
            known = executor_id in self._met or self._stopping
        if not known:
            self._watch.post(Gone(executor_id))
            self._post(self._end_of(executor_id, f"its process can't be awaited: {description(failure)}"))

    # -------------------------------------------------------------------------------------------- connections
    def _serve(self, channel: wire.Channel) -> None:
        """The connection of an executor, on a thread of its own; however it ends, the executor has left."""
        try:
            hello: Hello = channel.receive()
        except (OSError, EOFError):
            channel.close()
            return  # it has died, which its process tells
        far, executor_id = FarExecutor(channel), hello.executor_id
        with self._lock:
            if self._stopping or executor_id in self._met or executor_id in self._fenced:  # it has had its life
                channel.close()
                return
            self._met.add(executor_id)
            self._executors[executor_id] = far
            self._addresses[executor_id] = hello.address
        self._watch.post(Joined(executor_id))
        end = ExecutorLeft(executor_id, "its connection ended")
        try:
            self._tell_peers()
            self._post(ExecutorJoined(executor_id, hello.host, hello.cores))
            end = self._listen(executor_id, far, channel) or end
        except BaseException as failure:
            end = ExecutorLeft(executor_id, f"what it says can't be read: {description(failure)}")
            raise
        finally:
            far.close()
            with self._lock:
                del self._executors[executor_id], self._addresses[executor_id]
                stopping = self._stopping
            self._watch.post(Gone(executor_id))
            if not stopping:
                try:
                    self._tell_peers()
                finally:
                    self._post(self._end_of(executor_id, end.reason))

    def _listen(self, executor_id: str, far: FarExecutor, channel: wire.Channel) -> ExecutorLeft | None:
        """Pass on what an executor says until it is gone; returns its own word of why, if it gave one."""
        announced = Announced(-1, -1)
        try:
            while True:
                try:
                    message = channel.receive()
                except wire.Unreceived as error:
                    if error.size != announced.size:
                        raise
                    message = unreadable(executor_id, announced.task_id, f"received: {description(error)}")
                if type(message) is Announced:
                    announced = message
                elif type(message) is Answer:
                    far.answered(message)
                elif type(message) is ExecutorLeft:
                    return message
                elif type(message) is not Heartbeat:
                    if type(message) is TaskEnded and message.reply.failure is None:
                        self._deaths.worked()
                    self._post(message)
        except (OSError, EOFError):
            return None  # it died, or we stop

    def _tell_peers(self) -> None:
        with self._lock:
            addresses, executors = dict(self._addresses), list(self._executors.values())
        for far in executors:
            far.handle.set_peers(addresses)
