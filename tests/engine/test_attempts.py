from __future__ import annotations

import pytest

from headwater.base.lives import IllegalMove
from headwater.engine.attempts import Attempts, Endings
from headwater.engine.events import JobFailure
from headwater.engine.runs import Attempt
from tests.engine.test_runs import run_of

FAILURE = JobFailure("no")


def begun(attempts: Attempts, task_id: int, *, at: str = "a", now_ms: int = 1000) -> Attempt:
    run = run_of(0)
    run.pending.take(frozenset())
    attempt = run.launched(0, task_id=task_id, executor_id=at, now_ms=now_ms)
    attempts.add(attempt)
    attempts.check()
    return attempt


def test_attempt_ends_once() -> None:
    attempts = Attempts(None)
    attempt = begun(attempts, 5)
    assert attempts.ended(5, "a") is attempt
    assert attempts.ended(5, "a") is None
    assert attempt not in attempts


def test_attempt_cannot_end_on_an_executor_where_it_does_not_run() -> None:
    attempts = Attempts(None)
    attempt = begun(attempts, 5)
    with pytest.raises(IllegalMove, match="attempt 0 ended on b, but it runs on a"):
        attempts.ended(5, "b")
    assert attempt in attempts


def test_attempts_are_known_by_their_executor() -> None:
    attempts = Attempts(None)
    first, second, _ = begun(attempts, 1), begun(attempts, 2), begun(attempts, 3, at="b")
    assert attempts.at("a") == [first, second]
    assert attempts.by_executor() == {"a": 2, "b": 1}
    attempts.drop(first)
    assert attempts.at("a") == [second]


def test_attempt_that_takes_too_long_is_found_once() -> None:
    attempts = Attempts(500)
    first, second = begun(attempts, 1, now_ms=1000), begun(attempts, 2, now_ms=1200)
    assert attempts.next_look_ms() == 1500
    assert attempts.next_look_ms() is None
    assert attempts.late(1499) == []
    assert attempts.late(1500) == [first]
    assert attempts.next_look_ms() == 1700
    assert attempts.late(1700) == [second]
    assert attempts.next_look_ms() is None


def test_no_attempt_is_late_when_any_time_is_allowed() -> None:
    attempts = Attempts(None)
    begun(attempts, 1)
    assert attempts.next_look_ms() is None
    assert attempts.late(1 << 60) == []


def test_job_ends_with_the_last_of_its_killed_tasks() -> None:
    endings = Endings()
    endings.begin(7, FAILURE, {1: "a", 2: "b", 3: "b"}, until_ms=1500)
    assert endings.task_ended(1) == []
    assert endings.task_ended(99) == []
    endings.check(active=[8])
    assert endings.executor_left("b") == [(7, FAILURE)]
    assert endings.executor_left("b") == []


def test_job_ends_when_its_tasks_have_been_waited_for_long_enough() -> None:
    endings = Endings()
    endings.begin(7, FAILURE, {1: "a"}, until_ms=1500)
    endings.begin(8, FAILURE, {2: "a"}, until_ms=2500)
    assert endings.expired(1499) == []
    assert endings.expired(1500) == [(7, FAILURE)]
    assert endings.task_ended(1) == []
