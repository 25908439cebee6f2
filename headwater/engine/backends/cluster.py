"""The cluster backend: executors in processes of their own, which share only authenticated sockets with the driver.

Master `local-cluster[n,c,m]` starts them on this machine; a cluster manager may start them elsewhere. The control
connection of an executor is its life: its end is the executor's death to the driver, and the driver's to the executor.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import secrets
import subprocess
import sys
import threading
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from headwater.base import logs
from headwater.base.threads import WatchedThread
from headwater.clock import SystemClock
from headwater.engine import interpreter, wire
from headwater.engine.backends.protocol import ExecutorHandle, Post
from headwater.engine.backends.watch import (
    PAUSE_MS_MAX,
    Deaths,
    Fence,
    Gone,
    Joined,
    Look,
    Looked,
    Replace,
    Start,
    Started,
    Suspect,
    Trust,
    Watch,
)
from headwater.engine.events import (
    CancelJobs,
    ExecutorJoined,
    ExecutorLeft,
    ExecutorSuspected,
    ExecutorTrusted,
    FailureKind,
    Heartbeat,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
)
from headwater.engine.executor import Executor, ExecutorSettings
from headwater.engine.failures import description
from headwater.engine.handshakes import PeerListener
from headwater.engine.loop import Loop

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
# Replies that are larger are announced, so that the driver knows whose they are without reading them.
ANNOUNCED_BYTES = 1 << 20


class ClusterBackend:
    """The driver's side. One thread accepts, one reads each executor's connection; one lock guards the tables."""

    def __init__(self, executors: int, settings: ExecutorSettings, *, silence_ms_max: int) -> None:
        self._count = executors
        self._settings = settings
        self._secret = settings.secret or secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._ids = count()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._handles: dict[str, FarExecutor] = {}
        self._addresses: dict[str, tuple[str, int]] = {}  # block servers
        self._met: set[str] = set()  # the executors that have ever connected: their connection tells of their end
        self._fenced: dict[str, str] = {}  # executors that are given up, and why, until their end is posted
        self._deaths = Deaths(executors)
        self._silence_ms_max = silence_ms_max
        watch = Watch(settings.heartbeat_ms, silence_ms_max)
        self._watch = Loop("executors-watch", watch, self._perform, SystemClock(), self._watch_failed)
        self._unwatched: str | None = None  # why nobody watches them any more: the next death ends the application
        self._stopping = False
        self._listener: PeerListener | None = None  # until the start

    def start(self, post: Post) -> None:
        self._post = post
        self._watch.start()
        self._listener = PeerListener(self._settings.host, self._secret, name="cluster", serve=self._serve)
        for _ in range(self._count):
            self._launch()

    def executors(self) -> dict[str, ExecutorHandle]:
        with self._lock:
            return dict(self._handles)

    def left(self, executor_id: str, reason: str) -> str | None:
        with self._lock:
            if self._stopping:
                return None
            if self._unwatched is not None:
                return self._unwatched
            pause_ms = self._deaths.add()
            if pause_ms is None and not self._handles:
                return f"{self._deaths}, the last one: {reason}"
        self._watch.post(Replace(PAUSE_MS_MAX if pause_ms is None else pause_ms))
        return None

    def stop(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            handles, processes = list(self._handles.values()), list(self._processes.values())
        self._watch.stop()
        for handle in handles:
            handle.close()
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
                interpreter.command("headwater.engine.backends.cluster"),
                stdin=subprocess.PIPE,
                env=interpreter.environment(),
                start_new_session=True,  # only the driver sees Ctrl-C
            )
            self._processes[executor_id] = process
        self._watch.post(Started(executor_id))
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
    def _perform(self, action: Any) -> None:
        match action:
            case Look():
                with self._lock:
                    handles = list(self._handles.items())
                self._watch.post(Looked(frozenset(i for i, handle in handles if handle.was_heard())))
            case Start():
                try:
                    self._launch()
                except OSError as error:
                    log.warning("no executor can be started at the moment: %s", error)
                    self._watch.post(Replace(PAUSE_MS_MAX))
            case Suspect(executor_id, silent_ms):
                log.warning(
                    "executor %s has been silent for %d ms (spark.executor.heartbeatInterval is %d ms): it gets no "
                    "tasks until it is heard again, and is replaced if it isn't within %d ms (spark.network.timeout)",
                    executor_id, silent_ms, self._settings.heartbeat_ms, self._silence_ms_max,
                )  # fmt: skip
                self._post(ExecutorSuspected(executor_id))
            case Trust(executor_id, silent_ms):
                log.warning("executor %s is heard again, after %d ms of silence", executor_id, silent_ms)
                self._post(ExecutorTrusted(executor_id))
            case Fence(executor_id, silent_ms):
                self._fence(executor_id, f"it was silent for {silent_ms} ms, longer than spark.network.timeout allows")

    def _fence(self, executor_id: str, reason: str) -> None:
        """Close an executor's connection, so that nothing of it counts any more, and kill its process."""
        with self._lock:
            handle, process = self._handles.get(executor_id), self._processes.get(executor_id)
            if handle is None and executor_id in self._met:
                return  # it has just left
            self._fenced[executor_id] = reason
        log.warning("executor %s is given up: %s. Its process is killed", executor_id, reason)
        if handle is not None:
            handle.close()
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
            executor_id, host, cores, address = channel.receive()
        except (OSError, EOFError):
            channel.close()
            return  # it has died, which its process tells
        handle = FarExecutor(channel)
        with self._lock:
            if self._stopping or executor_id in self._met or executor_id in self._fenced:  # it has had its life
                channel.close()
                return
            self._met.add(executor_id)
            self._handles[executor_id] = handle
            self._addresses[executor_id] = address
        self._watch.post(Joined(executor_id))
        end = ExecutorLeft(executor_id, "its connection ended")
        try:
            self._tell_peers()
            self._post(ExecutorJoined(executor_id, host, cores))
            end = self._listen(executor_id, handle, channel) or end
        except BaseException as failure:
            end = ExecutorLeft(executor_id, f"what it says can't be read: {description(failure)}")
            raise
        finally:
            handle.close()
            with self._lock:
                del self._handles[executor_id], self._addresses[executor_id]
                stopping = self._stopping
            self._watch.post(Gone(executor_id))
            if not stopping:
                try:
                    self._tell_peers()
                finally:
                    self._post(self._end_of(executor_id, end.reason))

    def _listen(self, executor_id: str, handle: FarExecutor, channel: wire.Channel) -> ExecutorLeft | None:
        """Pass on what an executor says until it is gone; returns its own word of why, if it gave one."""
        announced = _Announced(-1, -1)
        try:
            while True:
                try:
                    message = channel.receive()
                except wire.Unreceived as error:
                    if error.size != announced.size:
                        raise
                    message = _unreadable(executor_id, announced.task_id, f"received: {description(error)}")
                if type(message) is _Announced:
                    announced = message
                elif type(message) is _Answer:
                    handle.answered(message)
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
            addresses, handles = dict(self._addresses), list(self._handles.values())
        for handle in handles:
            handle.call("set_peers", addresses)


class _Announced(NamedTuple):
    """A message of that size follows, a task's reply."""

    task_id: int
    size: int


class _Answer:
    """The result of a call that was asked for one."""

    __slots__ = ("number", "value")

    def __init__(self, number: int, value: Any) -> None:
        self.number = number
        self.value = value


class FarExecutor:
    """The handle of an executor in another process. Any thread."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}  # calls without an answer yet
        self._heard_bytes = 0  # what had come when this was last asked

    def was_heard(self) -> bool:
        """Whether anything has come since this was last asked, also if nobody has read it yet. One thread asks."""
        before, self._heard_bytes = self._heard_bytes, self._channel.received
        return self._heard_bytes != before or self._channel.readable()

    def call(self, method: str, *arguments: Any) -> None:
        """Have a method called; an executor that is gone doesn't care."""
        with contextlib.suppress(OSError):
            self._channel.send((0, method, arguments))

    def ask(self, method: str, *arguments: Any) -> Any:
        """Have a method called and wait for what it returns; None if the executor is gone."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = answer
        try:
            self._channel.send((number, method, arguments))
        except OSError:
            self.answered(_Answer(number, None))
        return answer.get()

    def answered(self, answer: _Answer) -> None:
        """Hand an answer to who waits for it."""
        with self._lock:
            waiting = self._waiting.pop(answer.number, None)
        if waiting is not None:
            waiting.put(answer.value)

    def close(self) -> None:
        """Close the connection, upon which the executor ends; open questions are answered with None."""
        self._channel.close()
        with self._lock:
            numbers = list(self._waiting)
        for number in numbers:
            self.answered(_Answer(number, None))

    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        self.call("submit", tasks, program)

    def kill(self, task_id: int, reason: str) -> None:
        self.call("kill", task_id, reason)

    def put_block(self, block_id: str, data: bytes) -> None:
        self.call("put_block", block_id, data)

    def get_block(self, block_id: str) -> bytes | None:
        return self.ask("get_block", block_id)  # type: ignore[no-any-return]

    def remove_blocks(self, block_ids: list[str]) -> None:
        self.call("remove_blocks", block_ids)

    def forget_broadcast(self, broadcast_id: int) -> None:
        self.call("forget_broadcast", broadcast_id)

    def forget_state(self, state_id: int) -> None:
        self.call("forget_state", state_id)

    def remove_prefix(self, prefix: str) -> None:
        self.call("remove_prefix", prefix)

    def add_file(self, name: str, data: bytes, importable: bool) -> None:
        self.call("add_file", name, data, importable)

    def start_receiver(self, receiver_id: int, factory: bytes) -> None:
        self.call("start_receiver", receiver_id, factory)

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        self.call("send_to_receiver", receiver_id, message)

    def stop_receiver(self, receiver_id: int) -> None:
        self.ask("stop_receiver", receiver_id)


# ------------------------------------------------------------------------------------------------ the executor's side
def serve(settings: ExecutorSettings, driver: tuple[str, int]) -> None:
    """The life of an executor's process: do what the driver says, until its connection ends."""
    try:
        channel = wire.connect(driver, settings.secret)
    except ConnectionRefusedError:
        return  # the driver has ended meanwhile

    def post(event: Any) -> None:
        with contextlib.suppress(OSError):  # the driver is gone, which the loop below will notice
            if type(event) is TaskEnded:
                _send_reply(channel, event)
            else:
                channel.send(event)

    executor = Executor(settings, post)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(settings.heartbeat_ms / 1000):
            post(Heartbeat())

    try:
        executor.start()
        methods: dict[str, Any] = {
            "set_peers": executor.set_peers,
            "submit": executor.submit,
            "kill": executor.kill,
            "put_block": executor.put_block,
            "get_block": executor.get_block,
            "remove_blocks": executor.remove_blocks,
            "forget_broadcast": executor.forget_broadcast,
            "forget_state": executor.forget_state,
            "remove_prefix": executor.remove_prefix,
            "add_file": executor.add_file,
            "start_receiver": executor.receivers.start,
            "send_to_receiver": executor.receivers.send,
            "stop_receiver": executor.receivers.stop_one,
        }
        channel.send((settings.executor_id, settings.host, settings.cores, executor.address))
        WatchedThread(
            beat,
            name="heartbeat",
            on_failure=lambda failure: post(
                ExecutorLeft(settings.executor_id, f"its heartbeats ended: {description(failure)}")
            ),
        ).start()
        try:
            _obey(channel, methods)
        except (EOFError, OSError):
            pass  # the driver ended or died
        except BaseException as failure:
            post(ExecutorLeft(settings.executor_id, f"it can't do what it is told: {description(failure)}"))
            raise
    finally:
        over.set()
        executor.stop()
        channel.close()


def _send_reply(channel: wire.Channel, event: TaskEnded) -> None:
    """Tell of a task's end; should there be no memory for a large reply on either side, only its task fails."""
    task_id = event.reply.task_id
    try:
        body = pickle.dumps(event, 5)
    except Exception as error:
        channel.send(_unreadable(event.executor_id, task_id, f"sent: {description(error)}"))
        return
    if len(body) > ANNOUNCED_BYTES:
        channel.send(_Announced(task_id, len(body)))
    channel.send_bytes(body)


def _unreadable(executor_id: str, task_id: int, why: str) -> TaskEnded:
    failure = TaskFailure(FailureKind.REFUSED, f"its reply could not be {why}. Collect less at once")
    return TaskEnded(executor_id, TaskReply(task_id, failure, None, b"", (), {}))


def _obey(channel: wire.Channel, methods: dict[str, Any]) -> None:
    """Do what the driver says, as long as it's there."""
    while True:
        number, method, arguments = channel.receive()
        if method == "stop_receiver":  # may take a while, and must not hold up the rest
            call = partial(_call, channel, number, methods[method], arguments)
            unanswered = partial(_failed, channel, number)
            WatchedThread(call, name="stop-receiver", on_failure=unanswered).start()
        elif method == "submit":
            methods[method](*arguments)  # tasks that can't be taken would be waited for, so we must end
        else:
            _call(channel, number, methods[method], arguments)


def _call(channel: wire.Channel, number: int, method: Any, arguments: tuple[Any, ...]) -> None:
    value = None
    try:
        value = method(*arguments)
    except Exception:
        log.exception("%s failed", method)
    _answer(channel, number, value)


def _failed(channel: wire.Channel, number: int, _failure: BaseException) -> None:
    _answer(channel, number, None)


def _answer(channel: wire.Channel, number: int, value: Any) -> None:
    if number:
        with contextlib.suppress(OSError):  # nobody is left to hear it
            channel.send(_Answer(number, value))


def main() -> None:
    """Entry point of the executor's process: settings come on standard input."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings, driver = pickle.load(sys.stdin.buffer)
    sys.path[:] = [*settings.sys_path, *(path for path in sys.path if path not in settings.sys_path)]
    logs.show(f"executor {settings.executor_id}")
    serve(settings, driver)


if __name__ == "__main__":
    # Under its own name, so that what it pickles is found under that name by the driver.
    from headwater.engine.backends.cluster import main as entry

    entry()
