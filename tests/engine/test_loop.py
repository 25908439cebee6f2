from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater.clock import ManualClock
from headwater.engine.events import Wake, Woken
from headwater.engine.loop import Loop

PATIENCE_SECONDS = 10.0


class Script:
    """A core that answers each event by what was written for it, and notes when it came."""

    def __init__(self, answers: dict[Any, Any]) -> None:
        self._answers = answers
        self.seen: list[tuple[Any, int]] = []

    def handle(self, event: Any, now_ms: int) -> list[Any]:
        self.seen.append((event, now_ms))
        answer: Any = self._answers.get(event, [])
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


class WatchedClock(ManualClock):
    """Tells when the loop's thread waits again."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.waits = threading.Semaphore(0)

    def get(self, items: queue.SimpleQueue[Any], deadline_ms: int | None) -> Any:
        self.waits.release()
        return super().get(items, deadline_ms)

    def await_wait(self) -> None:
        assert self.waits.acquire(timeout=PATIENCE_SECONDS)


class Stage:
    """A loop with its script, whose performed actions are waited for."""

    def __init__(
        self, answers: dict[Any, Any], perform: Callable[[Any], None] | None = None, *, by_poster: bool = False
    ) -> None:
        self.clock = WatchedClock(1000)
        self.core = Script(answers)
        self.performed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.crashes: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.loop: Loop[Any, Any] = Loop(
            "script", self.core, perform or self.performed.put, self.clock, self.crashes.put, by_poster=by_poster
        )
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
def test_crash_is_reported_and_ends_the_loop(where: str, caplog: pytest.LogCaptureFixture) -> None:
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


# ------------------------------------------------------------------------------------------------ by the poster
def on_another_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="poster", daemon=True)
    thread.start()
    return thread


def test_poster_handles_its_event_itself_when_no_other_thread_is_at_it() -> None:
    threads: list[str] = []
    stage = Stage({"a": [1]}, lambda _action: threads.append(threading.current_thread().name), by_poster=True)
    on_another_thread(lambda: stage.loop.post("a")).join(PATIENCE_SECONDS)
    assert threads == ["poster"]
    stage.loop.stop()


def test_main_thread_leaves_its_event_to_the_loop_as_ctrl_c_may_hit_it_at_any_moment() -> None:
    threads: queue.SimpleQueue[str] = queue.SimpleQueue()
    stage = Stage({"a": [1]}, lambda _action: threads.put(threading.current_thread().name), by_poster=True)
    stage.loop.post("a")
    assert threads.get(timeout=PATIENCE_SECONDS) == "script"
    stage.loop.stop()


def test_event_posted_later_is_left_to_the_loop() -> None:
    threads: queue.SimpleQueue[str] = queue.SimpleQueue()
    stage = Stage({"a": [1]}, lambda _action: threads.put(threading.current_thread().name), by_poster=True)
    on_another_thread(lambda: stage.loop.post_later("a"))
    assert threads.get(timeout=PATIENCE_SECONDS) == "script"
    stage.loop.stop()


def test_event_that_is_posted_by_an_action_is_handled_after_it() -> None:
    done: list[str] = []

    def perform(action: Any) -> None:
        if action == "first":
            stage.loop.post("b")
        done.append(action)

    stage = Stage({"a": ["first", "second"], "b": ["third"]}, perform, by_poster=True)
    on_another_thread(lambda: stage.loop.post("a")).join(PATIENCE_SECONDS)
    stage.loop.stop()
    assert done == ["first", "second", "third"]


def test_core_is_called_by_one_thread_at_a_time_when_many_post() -> None:
    inside = threading.Lock()
    overlaps = []

    def perform(_action: Any) -> None:
        if inside.acquire(blocking=False):
            inside.release()
        else:
            overlaps.append(threading.current_thread().name)

    def post() -> None:
        for _ in range(500):
            stage.loop.post("a")

    stage = Stage({"a": [1, 2]}, perform, by_poster=True)
    posters = [on_another_thread(post) for _ in range(4)]
    for poster in posters:
        poster.join(PATIENCE_SECONDS)
    stage.loop.stop()
    assert len(stage.core.seen) == 2000
    assert not overlaps


class Held:
    """A loop whose poster is held fast while it performs, until `let_go`."""

    def __init__(self, *before: Any) -> None:
        self.holds, self.released = threading.Event(), threading.Event()
        self.performed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stage = Stage({"a": [*before, "hold"], Woken(): ["awake"]}, self._perform, by_poster=True)
        self.stage.clock.await_wait()
        self.poster = on_another_thread(lambda: self.stage.loop.post("a"))
        assert self.holds.wait(PATIENCE_SECONDS)

    def _perform(self, action: Any) -> None:
        if action == "hold":
            self.holds.set()
            assert self.released.wait(PATIENCE_SECONDS)
        else:
            self.performed.put(action)

    def let_go(self) -> None:
        self.released.set()
        self.poster.join(PATIENCE_SECONDS)


def test_wake_up_is_not_lost_when_a_poster_asks_for_it() -> None:
    held = Held(Wake(1500))
    # The loop's thread may be told of the wake-up at once, find the poster still at work, and wait again.
    held.stage.clock.waits.acquire(timeout=0.5)
    held.let_go()
    held.stage.clock.advance(500)
    assert held.performed.get(timeout=PATIENCE_SECONDS) == "awake"
    held.stage.loop.stop()


def test_stop_returns_when_a_poster_handles_it() -> None:
    held = Held()
    stopping = on_another_thread(held.stage.loop.stop)
    held.let_go()
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()


def test_crash_in_a_posters_turn_ends_the_loop_for_all() -> None:
    stage = Stage({"a": ValueError("a bug")}, by_poster=True)
    stage.clock.await_wait()
    on_another_thread(lambda: stage.loop.post("a")).join(PATIENCE_SECONDS)
    assert str(stage.crashes.get(timeout=PATIENCE_SECONDS)) == "a bug"
    stopping = on_another_thread(stage.loop.stop)
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
