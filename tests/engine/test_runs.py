from __future__ import annotations

from collections.abc import Callable

import pytest

from headwater.base.lives import IllegalMove
from headwater.engine.events import FailureKind, StageChanged, TaskFailure
from headwater.engine.lineage import Action
from headwater.engine.runs import (
    FAILED,
    LAUNCHED,
    OUTPUT_LOST,
    STORY_MAX,
    SUCCEEDED,
    TASK,
    Attempt,
    Pending,
    Runs,
    StageRun,
    TaskState,
)
from headwater.engine.stages import Job, Stage
from tests.engine.cores import never, source

DIED = TaskFailure(FailureKind.LOST, "the worker died")


def run_of(*partitions: int, stage_id: int = 0) -> StageRun:
    run = StageRun(Stage(stage_id, source(9), Action(never)), partitions, {}, begun_ms=1000)
    run.jobs[0] = job(0)
    return run


def job(job_id: int) -> Job:
    return Job(job_id, Stage(100 + job_id, source(1), Action(never)), [0])


def launched(run: StageRun) -> Attempt:
    """The first of the pending partitions runs."""
    task_id = sum(run.attempts.values())
    return run.launched(run.pending.take(frozenset()), task_id=task_id, executor_id="a", now_ms=1000)


# ------------------------------------------------------------------------------------------------ moves
def test_moves_lead_from_pending_to_done_and_back() -> None:
    pending, running, done = TaskState
    way = [TASK.first]
    for event in (LAUNCHED, FAILED, LAUNCHED, SUCCEEDED, OUTPUT_LOST):
        after = TASK.after(way[-1], event)
        assert after is not None
        way.append(after)
    assert way == [pending, running, pending, running, done, pending]
    assert TASK.after(done, FAILED) is None


def test_task_runs_again_when_it_fails_or_its_output_is_lost() -> None:
    run = run_of(7)
    run.failed(launched(run), DIED, 1000)
    run.check()
    run.succeeded(launched(run), 1000)
    run.check()
    assert (list(run.pending), run.done) == ([], 1)
    run.output_lost(7, 1000)
    run.check()
    assert (list(run.pending), run.done) == ([7], 0)
    assert launched(run).number == 2


def test_output_of_an_earlier_run_that_is_lost_is_made_by_this_one() -> None:
    run = run_of(1)
    run.output_lost(0, 1200)
    run.check()
    assert list(run.pending) == [1, 0]
    assert run.story(0)[-1] == "1200 ms: an earlier run lost its output"


def succeed_twice(run: StageRun, attempt: Attempt) -> None:
    run.succeeded(attempt, 1000)
    run.succeeded(attempt, 1000)


@pytest.mark.parametrize(
    ("bug", "text"),
    [
        (succeed_twice, "attempt 0 succeeded on a, but the task is done"),
        (
            lambda run, _: run.launched(7, task_id=1, executor_id="b", now_ms=1000),
            "attempt 1 launched on b, but the task is running",
        ),
        (
            lambda run, _: run.launched(8, task_id=1, executor_id="b", now_ms=1000),
            "attempt 0 launched on b, but the task is none of this run's",
        ),
        (lambda run, _: run.output_lost(7, 1000), "attempt 0 lost its output, but the task is running"),
    ],
    ids=["done twice", "launched twice", "not of this run", "lost before it was made"],
)
def test_move_that_is_not_allowed_raises(bug: Callable[[StageRun, Attempt], None], text: str) -> None:
    run = run_of(7)
    with pytest.raises(IllegalMove, match=f"in stage 0: {text}\n  1000 ms: the run of stage 0 began"):
        bug(run, launched(run))


def test_story_is_of_one_task_alone() -> None:
    run = run_of(7, 8)
    launched(run), launched(run)
    assert run.story(8) == ["1000 ms: the run of stage 0 began", "1000 ms: attempt 0 launched on a"]


def test_story_has_an_end_to_its_length_and_says_so() -> None:
    run = run_of(7)
    for _ in range(STORY_MAX):
        run.failed(launched(run), TaskFailure(FailureKind.RAISED, "x" * 10_000), 1000)
    story = run.story(7)
    assert story[1] == "(only the latest of what happened then is remembered)"
    assert len(story) == STORY_MAX + 2
    assert max(map(len, story)) < 300


def test_report_counts_the_tasks_of_each_state() -> None:
    run = run_of(5, 6, 7, 8)
    run.succeeded(launched(run), 1000)
    launched(run)
    assert run.report(over=False) == StageChanged(
        0, "stage 0", fetch_rounds=0, tasks=4, active=1, completed=1, failed=0, over=False
    )


# ------------------------------------------------------------------------------------------------ pending partitions
def test_pending_partitions_are_taken_in_order_and_those_added_later_last() -> None:
    pending = Pending([7, 2])
    pending.add(5)
    assert [pending.take(frozenset()) for _ in range(3)] == [7, 2, 5]
    assert not pending


def test_partition_that_waits_for_executors_keeps_its_place() -> None:
    pending = Pending([7, 2])
    ((place, anywhere),) = pending.lines()
    pending.put(place, pending.take(anywhere), ["b", "a"])
    assert pending.lines() == [(0, frozenset("ab")), (1, frozenset())]
    assert pending.first(frozenset("ab")) == 0
    assert pending.first(frozenset("c")) is None
    pending.look_again()
    assert [pending.take(frozenset()) for _ in range(2)] == [7, 2]


# ------------------------------------------------------------------------------------------------ whose turn it is
def runs_of(*runs: tuple[StageRun, Job]) -> Runs:
    book = Runs()
    for run, needed_by in runs:
        run.jobs.clear()
        book.join(run, needed_by)
        book.lacks(run, set())
        book.check()
    return book


def test_runs_are_ready_by_their_oldest_job_then_by_stage() -> None:
    late, second, first = run_of(0, stage_id=1), run_of(0, stage_id=3), run_of(0, stage_id=2)
    book = runs_of((late, job(5)), (second, job(4)), (first, job(4)))
    assert list(book.ready()) == [first, second, late]
    book.join(late, job(1))
    book.update(late)
    book.check()
    assert list(book.ready()) == [late, first, second]


def test_run_may_cease_to_be_ready_while_those_that_are_are_looked_at() -> None:
    runs = [run_of(0, stage_id=i) for i in range(3)]
    book = runs_of(*((run, job(0)) for run in runs))
    seen = []
    for run in book.ready():
        seen.append(run)
        launched(run)
        book.update(run)
    book.check()
    assert seen == runs
    assert list(book.ready()) == []


def test_run_is_not_ready_until_the_last_shuffle_that_it_lacks_is_made() -> None:
    run = run_of(0)
    book = runs_of((run, job(0)))
    book.lacks(run, {3, 4})
    book.check()
    assert list(book.ready()) == []
    assert book.made(3) == []
    assert book.made(4) == [run]
    book.update(run)
    book.check()
    assert list(book.ready()) == [run]


def test_run_that_its_last_job_leaves_is_handed_back_to_be_removed() -> None:
    shared, own = run_of(0, stage_id=1), run_of(0, stage_id=2)
    book = runs_of((shared, job(0)), (own, job(0)))
    book.join(shared, job(1))
    assert book.leave(job(0)) == [own]
    book.remove(own)
    book.check()
    assert (own in book, shared in book) == (False, True)
    assert (book.of_stage(2), book.of_stage(1)) == (None, shared)
    assert list(book) == list(book.ready()) == [shared]


def test_run_that_is_removed_lacks_nothing() -> None:
    run = run_of(0)
    book = runs_of((run, job(0)))
    book.lacks(run, {3})
    book.remove(run)
    book.check()
    assert book.made(3) == []
