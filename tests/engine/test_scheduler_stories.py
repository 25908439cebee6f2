"""What the scheduler's core says when it is told, or does, what can't be: the story of the task.

How tasks are named is said in `cores`.
"""

from __future__ import annotations

import pytest

from headwater.base.lives import IllegalMove
from headwater.clock import ManualClock
from headwater.engine.events import SchedulerAction, SchedulerEvent, TaskEnded, TaskReply
from headwater.engine.loop import Loop
from tests.engine.cores import (
    Core,
    ids_from_zero,  # noqa: F401
    received,
    shuffled,
    source,
)


def ended_elsewhere(core: Core, task: str, executor: str) -> str:
    """The text of the bug that an executor reports the end of a task that runs on another one."""
    reply = TaskReply(core.specs[task].task_id, None, b"", b"", (), {})
    with pytest.raises(IllegalMove) as invalid:
        core.handle(TaskEnded(executor, reply))
    return str(invalid.value)


def test_task_that_ends_where_it_does_not_run_tells_what_happened_to_its_attempts() -> None:
    core = Core("a b", task_failures=3)
    core.submit(source(2))
    core.now_ms = 1200
    assert core.failed("0.1") == ["b runs 0.1#1"]
    core.now_ms = 1300
    assert core.failed("0.1", "lost", "the worker died") == ["b runs 0.1#2"]
    assert ended_elsewhere(core, "0.1", "a") == (
        "task 1 in stage 0: attempt 2 ended on a, but it runs on b\n"
        "  1000 ms: the run of stage 0 began\n"
        "  1000 ms: attempt 0 launched on b\n"
        "  1200 ms: attempt 0 failed on b: raised, ValueError: no\n"
        "  1200 ms: attempt 1 launched on b\n"
        "  1300 ms: attempt 1 failed on b: lost, the worker died\n"
        "  1300 ms: attempt 2 launched on b"
    )


def test_event_that_cannot_be_changes_nothing() -> None:
    core = Core("a b")
    core.submit(source(2))
    ended_elsewhere(core, "0.0", "b")
    core.scheduler.check()
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0"]
    assert core.ended("0.1") == ["job 0 gets result 1: 0.1", "job 0 succeeded"]


def test_story_tells_of_which_executors_a_core_was_waited_for() -> None:
    core = Core("a b c", locality_wait_ms=3000)
    core.submit(received(("a", "b"), ("a", "b")))
    core.submit(received(("a", "b")))
    assert core.woken(after_ms=3000) == ["c runs 1.0"]
    assert ended_elsewhere(core, "1.0", "a") == (
        "task 0 in stage 1: attempt 0 ended on a, but it runs on c\n"
        "  1000 ms: the run of stage 1 began\n"
        "  1000 ms: attempt 0 waits for a core on a or b\n"
        "  4000 ms: attempt 0 launched on c"
    )


def test_story_tells_which_outputs_were_lost() -> None:
    core = Core("a*2 b*2")
    core.submit(shuffled(source(2), 1))
    core.ended("0.0", file=True)
    core.now_ms = 1500
    assert core.leave("a") == ["b runs 0.0#1"]
    assert ended_elsewhere(core, "0.0", "a") == (
        "task 0 in stage 0: attempt 1 ended on a, but it runs on b\n"
        "  1000 ms: the run of stage 0 began\n"
        "  1000 ms: attempt 0 launched on a\n"
        "  1000 ms: attempt 0 succeeded on a\n"
        "  1500 ms: attempt 0 lost its output\n"
        "  1500 ms: attempt 1 launched on b"
    )


def test_story_tells_of_an_attempt_that_takes_too_long() -> None:
    core = Core("a b", task_ms=500)
    assert core.submit(source(1)) == ["a runs 0.0", "wake at 1500"]
    assert core.woken(after_ms=500) == ["a kills 0.0"]
    assert ended_elsewhere(core, "0.0", "b").endswith("\n  1500 ms: attempt 0 takes too long, and is killed on a")


def test_story_is_in_the_log_when_the_bug_ends_the_schedulers_loop(caplog: pytest.LogCaptureFixture) -> None:
    core = Core("a b")
    core.submit(source(1))
    crashes: list[BaseException] = []
    loop: Loop[SchedulerEvent, SchedulerAction] = Loop(
        "scheduler", core.scheduler, lambda _action: None, ManualClock(), crashes.append
    )
    loop.start()
    loop.post(TaskEnded("b", TaskReply(core.specs["0.0"].task_id, None, b"", b"", (), {})))
    loop.stop()
    assert [type(crash) for crash in crashes] == [IllegalMove]
    assert "  1000 ms: attempt 0 launched on a" in caplog.text
