"""Both ends of an executor's connection, without an executor."""

from __future__ import annotations

import inspect
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from headwater.engine.backend import SURFACE, WAITED_FOR, ExecutorHandle
from headwater.engine.backends.connection import ANNOUNCED_BYTES, Announced, Answer, FarExecutor, obey, send_event
from headwater.engine.events import FailureKind, Heartbeat, TaskEnded, TaskReply
from headwater.engine.executor import Executor
from headwater.engine.wire import Channel
from tests.engine.told import Told
from tests.waiting import PATIENCE_SECONDS


class Slow(Told):
    """Fails to kill, and takes its time to stop a receiver."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def answer(self, name: str) -> str:
        if name == "kill":
            raise ValueError("no such task")
        if name == "stop_receiver":
            assert self.go_on.wait(PATIENCE_SECONDS)
        return super().answer(name)


class Ends:
    """The driver's and the executor's end, each with a thread that reads it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.executors_channel = Channel(theirs)
        self.told = Slow()
        self.far = FarExecutor(self.channel)
        self.handle: ExecutorHandle = self.far.handle
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._obey, self._listen)]
        for thread in self._threads:
            thread.start()

    def _obey(self) -> None:
        with suppress(EOFError, OSError):
            obey(self.executors_channel, self.told.handle)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                answer = self.channel.receive()
                assert isinstance(answer, Answer)
                self.far.answered(answer)

    def close(self) -> None:
        self.far.close()
        self.executors_channel.close()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.told.go_on.set()
    ends.close()


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_executor_takes_each_call_of_the_protocol_as_it_stands_there(name: str) -> None:
    asked, taken = (inspect.signature(getattr(of, name), eval_str=False) for of in (ExecutorHandle, Executor))
    assert str(asked) == str(taken)


@pytest.mark.parametrize("name", sorted(SURFACE - {"kill"}))
def test_call_arrives_with_its_arguments_and_is_answered_if_it_is_waited_for(ends: Ends, name: str) -> None:
    ends.told.go_on.set()
    answer = getattr(ends.handle, name)("first", 2)
    assert ends.told.calls.get(timeout=PATIENCE_SECONDS) == (name, "first", 2)
    assert answer == (f"{name} is done" if name in WAITED_FOR else None)


def test_calls_arrive_in_their_order(ends: Ends) -> None:
    for number in range(50):
        ends.handle.forget_state(number)
    calls = [ends.told.calls.get(timeout=PATIENCE_SECONDS) for _ in range(50)]
    assert calls == [("forget_state", number) for number in range(50)]


def test_call_that_fails_holds_up_none_after_it(ends: Ends) -> None:
    ends.handle.kill(1, "it's late")
    assert ends.far.ask("get_block", "a") == "get_block is done"


def test_receiver_that_takes_long_to_stop_holds_up_nobody(ends: Ends) -> None:
    stopping = threading.Thread(target=ends.handle.stop_receiver, args=(1,), daemon=True)
    stopping.start()
    assert ends.told.calls.get(timeout=PATIENCE_SECONDS) == ("stop_receiver", 1)
    assert ends.far.ask("get_block", "a") == "get_block is done"
    assert stopping.is_alive()
    ends.told.go_on.set()
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()


def test_question_without_an_answer_is_answered_with_none_when_the_connection_ends(ends: Ends) -> None:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asking = threading.Thread(target=lambda: answers.put(ends.far.ask("stop_receiver", 1)), daemon=True)
    asking.start()
    ends.told.calls.get(timeout=PATIENCE_SECONDS)
    ends.far.close()
    assert answers.get(timeout=PATIENCE_SECONDS) is None
    assert ends.handle.get_block("a") is None
    ends.handle.forget_state(1)


def test_large_reply_is_announced_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    driver, executor = Channel(ours), Channel(theirs)
    events: list[Heartbeat | TaskEnded] = [
        Heartbeat(),
        TaskEnded("0", TaskReply(1, None, b"small", b"", (), {})),
        TaskEnded("0", TaskReply(2, None, bytes(ANNOUNCED_BYTES), b"", (), {})),
    ]

    def send() -> None:
        for event in events:
            send_event(executor, event)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    assert [driver.receive(), driver.receive()] == events[:2]
    announced = driver.receive()
    assert isinstance(announced, Announced)
    assert announced.task_id == 2
    assert len(driver.receive_bytes()) == announced.size
    sending.join(PATIENCE_SECONDS)
    driver.close()
    executor.close()


def test_reply_that_cannot_be_pickled_becomes_the_failure_of_its_task() -> None:
    ours, theirs = socket.socketpair()
    driver, executor = Channel(ours), Channel(theirs)
    send_event(executor, TaskEnded("0", TaskReply(1, None, threading.Lock(), b"", (), {})))
    reply = driver.receive().reply
    assert (reply.task_id, reply.failure.kind) == (1, FailureKind.REFUSED)
    assert "its reply could not be sent: TypeError" in reply.failure.text
    driver.close()
    executor.close()
