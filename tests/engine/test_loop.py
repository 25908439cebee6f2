from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater.clock import ManualClock
from headwater.engine.events import Wake, Woken
from headwater.engine.loop import Loop

PATIENCE_SECONDS = 20.0


class Script:
    """A core that answers each event by what was written for it, and notes when it came."""

    def __init__(self, answers: dict[Any, list[Any]]) -> None:
        self._answers = answers
        self.seen: list[tuple[Any, int]] = []

    def handle(self, event: Any, now_ms: int) -> list[Any]:
        self.seen.append((event, now_ms))
        answer = self._answers.get(event, [])
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stage:
    """A loop with its script, whose performed actions are waited for."""

    def __init__(self, answers: dict[Any, Any], perform: Callable[[Any], None] | None = None) -> None:
        self.clock = ManualClock(1000)
        self.core = Script(answers)
        self.performed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.crashes: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.loop = Loop("script", self.core, perform or self.performed.put, self.clock, self.crashes.put)
        self.loop.start()

    def next_performed(self) -> Any:
        return self.performed.get(timeout=PATIENCE_SECONDS)


def test_events_are_handled_in_the_order_of_posting() -> None:
    stage = Stage({})
    for i in range(100):
        stage.loop.post(i)
    stage.loop.stop()
    assert [event for event, _ in stage.core.seen] == list(range(100))


def test_actions_are_performed_in_their_order_before_the_next_event() -> None:
    stage = Stage({"a": [1, 2], "b": [3]})
    stage.loop.post("a")
    stage.loop.post("b")
    stage.loop.stop()
    assert [stage.next_performed() for _ in range(3)] == [1, 2, 3]


def test_actions_are_performed_on_the_loops_thread() -> None:
    threads = []
    stage = Stage({"a": [1]}, lambda _action: threads.append(threading.current_thread().name))
    stage.loop.post("a")
    stage.loop.stop()
    assert threads == ["script"]


def test_event_is_stamped_with_the_time_at_which_it_is_handled() -> None:
    stage = Stage({"a": ["performed a"], "b": ["performed b"]})
    stage.loop.post("a")
    stage.next_performed()
    stage.clock.advance(500)
    stage.loop.post("b")
    stage.next_performed()
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000), ("b", 1500)]


def test_wake_up_comes_at_its_time_and_is_not_performed() -> None:
    stage = Stage({"a": [Wake(1300), "asleep"], "too early": ["still asleep"], Woken(): ["awake"]})
    stage.loop.post("a")
    assert stage.next_performed() == "asleep"
    stage.clock.advance(299)
    stage.loop.post("too early")
    assert stage.next_performed() == "still asleep"
    stage.clock.advance(1)
    assert stage.next_performed() == "awake"
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000), ("too early", 1299), (Woken(), 1300)]


def test_wake_ups_come_in_the_order_of_their_times() -> None:
    stage = Stage({"a": [Wake(1300), Wake(1100), "asleep"], Woken(): ["awake"]})
    stage.loop.post("a")
    stage.next_performed()
    stage.clock.advance(100)
    assert stage.next_performed() == "awake"
    stage.clock.advance(200)
    assert stage.next_performed() == "awake"
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000), (Woken(), 1100), (Woken(), 1300)]


def test_one_wake_up_serves_all_whose_time_has_come() -> None:
    stage = Stage({"a": [Wake(1100), Wake(1100), Wake(1200), "asleep"], Woken(): ["awake"]})
    stage.loop.post("a")
    stage.next_performed()
    stage.clock.advance(500)
    stage.next_performed()
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000), (Woken(), 1500)]


def test_wake_up_in_the_past_comes_at_once() -> None:
    stage = Stage({"a": [Wake(1)], Woken(): ["awake"]})
    stage.loop.post("a")
    assert stage.next_performed() == "awake"
    stage.loop.stop()


@pytest.mark.parametrize("where", ["core", "performer"])
def test_crash_is_told_and_ends_the_loop(where: str, caplog: pytest.LogCaptureFixture) -> None:
    bug = ValueError("a bug")

    def perform(action: Any) -> None:
        raise bug

    stage = Stage({"a": bug} if where == "core" else {"a": [1]}, perform)
    stage.loop.post("a")
    assert stage.crashes.get(timeout=PATIENCE_SECONDS) is bug
    stage.loop.post("never handled")
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000)]
    assert "script: a bug, the loop ends" in caplog.text


def test_stop_handles_what_was_posted_before_and_nothing_after() -> None:
    stage = Stage({})
    stage.loop.post("before")
    stage.loop.stop()
    stage.loop.post("after")
    assert stage.core.seen == [("before", 1000)]


def test_stop_does_not_wait_for_itself_when_it_comes_from_the_loops_own_thread() -> None:
    stopped = threading.Event()

    def perform(_action: Any) -> None:
        stage.loop.stop()
        stopped.set()

    stage = Stage({"a": [1]}, perform)
    stage.loop.post("a")
    assert stopped.wait(PATIENCE_SECONDS)
    stage.loop.stop()
    assert stage.core.seen == [("a", 1000)]


def test_stop_twice_does_nothing_more() -> None:
    stage = Stage({})
    stage.loop.stop()
    stage.loop.stop()


def test_stop_of_a_loop_that_was_never_started_returns() -> None:
    Loop("idle", Script({}), print, ManualClock(), print).stop()
