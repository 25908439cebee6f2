"""An executor's control connection: the driver's calls go one way; answers, and what happens, come back the other.

Here are both ends. The messages are `Hello`, then `Call` one way, and the other way `Answer`, `BackendEvent`,
`Heartbeat`, and `Announced` before a large one.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import threading
from functools import partial
from itertools import count
from typing import Any, NamedTuple, cast

from headwater.base.threads import WatchedThread
from headwater.engine import wire
from headwater.engine.backend import SURFACE, WAITED_FOR, ExecutorHandle
from headwater.engine.events import BackendEvent, FailureKind, Heartbeat, TaskEnded, TaskFailure, TaskReply
from headwater.engine.failures import description

logger = logging.getLogger(__name__)

# Replies that are larger are announced, so that the driver knows whose they are without reading them.
ANNOUNCED_BYTES = 1 << 20
_SUBMIT = ExecutorHandle.submit.__name__
_STOP_RECEIVER = ExecutorHandle.stop_receiver.__name__


class Hello(NamedTuple):
    """The first message, from the executor: who it is, and where its block server listens."""

    executor_id: str
    host: str
    cores: int
    address: wire.Address


class Call(NamedTuple):
    """Call a method of `ExecutorHandle`; if the number isn't 0, answer with it and what the method returns."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """What a call has returned; None if it failed."""

    number: int
    value: Any


class Announced(NamedTuple):
    """A message of `size` bytes follows, a task's reply."""

    task_id: int
    size: int


# ------------------------------------------------------------------------------------------------ the driver's end
class FarExecutor:
    """The driver's end; `handle` is the executor as the application uses it. Any thread."""

    def __init__(self, channel: wire.Channel) -> None:
        self.handle = cast(ExecutorHandle, _Calls(self))
        self._channel = channel
        self._lock = threading.Lock()  # guards both below
        self._numbers = count(1)
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}  # calls without an answer yet
        self._heard_bytes = 0  # what had come when this was last asked

    def was_heard(self) -> bool:
        """Whether anything has come since this was last asked, also if it has not been read yet. One thread asks."""
        before, self._heard_bytes = self._heard_bytes, self._channel.received
        return self._heard_bytes != before or self._channel.readable()

    def tell(self, method: str, *arguments: Any) -> None:
        """Have a method called; an executor that is gone doesn't care."""
        with contextlib.suppress(OSError):
            self._channel.send(Call(0, method, arguments))

    def ask(self, method: str, *arguments: Any) -> Any:
        """Have a method called and wait for what it returns; None if the executor is gone."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = answer
        try:
            self._channel.send(Call(number, method, arguments))
        except OSError:
            self.answered(Answer(number, None))
        return answer.get()

    def answered(self, answer: Answer) -> None:
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
            self.answered(Answer(number, None))


class _Calls:
    """Each method of `ExecutorHandle`, as a call."""

    def __init__(self, executor: FarExecutor) -> None:
        for method in SURFACE:
            call = executor.ask if method in WAITED_FOR else executor.tell
            setattr(self, method, partial(call, method))


# ------------------------------------------------------------------------------------------------ the executor's end
def obey(channel: wire.Channel, executor: ExecutorHandle) -> None:
    """Do what the driver calls for, as long as it's there.

    Raises:
        EOFError, OSError: it's gone.
    """
    while True:
        number, name, arguments = channel.receive()
        assert name in SURFACE, name
        method = getattr(executor, name)
        if name == _STOP_RECEIVER:  # may take a while, and must not hold up the rest
            call = partial(_call, channel, number, method, arguments)
            unanswered = partial(_failed, channel, number)
            WatchedThread(call, name="stop-receiver", on_failure=unanswered).start()
        elif name == _SUBMIT:
            method(*arguments)  # tasks that can't be taken would be waited for, so we must end
        else:
            _call(channel, number, method, arguments)


def _call(channel: wire.Channel, number: int, method: Any, arguments: tuple[Any, ...]) -> None:
    value = None
    try:
        value = method(*arguments)
    except Exception:
        logger.exception("%s failed", method)
    _answer(channel, number, value)


def _failed(channel: wire.Channel, number: int, _failure: BaseException) -> None:
    _answer(channel, number, None)


def _answer(channel: wire.Channel, number: int, value: Any) -> None:
    if number:
        with contextlib.suppress(OSError):  # the other end has gone
            channel.send(Answer(number, value))


def send_event(channel: wire.Channel, event: BackendEvent | Heartbeat) -> None:
    """Tell the driver of an event; should there be no memory for a large reply on either side, only its task fails.

    Raises:
        OSError: the driver is gone.
    """
    if type(event) is not TaskEnded:
        channel.send(event)
        return
    task_id = event.reply.task_id
    try:
        body = pickle.dumps(event, 5)
    except Exception as error:
        channel.send(unreadable(event.executor_id, task_id, f"sent: {description(error)}"))
        return
    if len(body) > ANNOUNCED_BYTES:
        channel.send(Announced(task_id, len(body)))
    channel.send_bytes(body)


def unreadable(executor_id: str, task_id: int, why: str) -> TaskEnded:
    """The end of a task whose reply didn't reach the driver."""
    failure = TaskFailure(FailureKind.REFUSED, f"its reply could not be {why}. Collect less at once")
    return TaskEnded(executor_id, TaskReply(task_id, failure, None, b"", (), {}))
