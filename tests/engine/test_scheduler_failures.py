"""The scheduler's core when tasks fail, map outputs or executors are lost, and replies come too late.

How tasks are named is said in `cores`.
"""

from __future__ import annotations

from headwater.engine.events import (
    EndJob,
    FailureKind,
    ForgetShuffle,
    JobFailure,
    JobOver,
    TaskEnded,
    TaskFailure,
    TaskReply,
)
from headwater.engine.lineage import BlockRef, StoredBlocks
from headwater.engine.scheduler import DEATHS_MAX, FETCH_ROUNDS_MAX
from tests.engine.cores import (
    Core,
    cached,
    ids_from_zero,  # noqa: F401
    mapped,
    received,
    shuffled,
    source,
)


# ------------------------------------------------------------------------------------------------ failures of tasks
def test_task_that_raises_fails_its_job_when_one_failure_is_allowed() -> None:
    core = Core("a")
    core.submit(source(1))
    assert core.failed("0.0") == [
        "job 0 failed: task 0 in stage 0 failed 1 time, most recently on executor a: ValueError: no"
    ]


def test_task_that_raises_runs_again_until_its_failures_are_used_up() -> None:
    core = Core("a b", task_failures=3)
    core.submit(source(1))
    assert core.failed("0.0") == ["a runs 0.0#1"]
    assert core.failed("0.0") == ["a runs 0.0#2"]
    assert core.failed("0.0", text="KeyError: 7") == [
        "job 0 failed: task 0 in stage 0 failed 3 times, most recently on executor a: KeyError: 7"
    ]


def test_failures_are_counted_a_partition() -> None:
    core = Core("a*2", task_failures=2)
    core.submit(source(2))
    assert core.failed("0.0") == ["a runs 0.0#1"]
    assert core.failed("0.1") == ["a runs 0.1#1"]
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0"]


def test_failure_names_the_place_and_the_users_exception() -> None:
    core = Core("a", task_failures=2)
    core.submit(source(2), partitions=[1])
    core.failed("0.1")
    task = TaskFailure(FailureKind.RAISED, "ValueError: no", "Traceback ...", b"pickled")
    text = "task 1 in stage 0 failed 2 times, most recently on executor a: ValueError: no"
    assert core.actions(TaskEnded("a", TaskReply(1, task, None, b"", (), {})))[-2:] == [
        EndJob(0, JobFailure(text, cancelled=False, task=task, stage_id=0, partition=1, attempt=1)),
        JobOver(0, "FAILED", 1000),
    ]


def test_failed_job_kills_its_other_tasks_frees_their_cores_and_is_over_when_they_have_ended() -> None:
    core = Core("a*3")
    core.submit(source(2))
    core.submit(source(3))
    assert core.failed("0.0") == ["a kills 0.1", "wake at 11000", "a runs 1.1 1.2"]
    assert core.killed("0.1") == [
        "job 0 failed: task 0 in stage 0 failed 1 time, most recently on executor a: ValueError: no"
    ]


def test_failed_map_task_fails_all_jobs_that_wait_for_its_shuffle() -> None:
    core = Core("a")
    dataset = shuffled(source(1), 1)
    core.submit(dataset)
    core.submit(mapped(dataset))
    text = "failed: task 0 in stage 0 failed 1 time, most recently on executor a: ValueError: no"
    assert core.failed("0.0") == [f"job 0 {text}", f"job 1 {text}"]


def test_workers_death_is_retried_though_one_failure_is_allowed() -> None:
    core = Core("a", task_failures=1)
    core.submit(source(1))
    death = "the worker process (pid 7) was killed by SIGKILL (signal -9)"
    for attempt in range(1, DEATHS_MAX):
        assert core.failed("0.0", "lost", death) == [f"a runs 0.0#{attempt}"]
    assert core.failed("0.0", "lost", death) == [
        f"job 0 failed: task 0 in stage 0 failed {DEATHS_MAX} times, most recently on executor a: {death}"
    ]


def test_workers_deaths_may_be_as_many_as_failures_when_more_are_allowed() -> None:
    core = Core("a", task_failures=DEATHS_MAX + 2)
    core.submit(source(1))
    for attempt in range(1, DEATHS_MAX + 2):
        assert core.failed("0.0", "lost", "gone") == [f"a runs 0.0#{attempt}"]
    assert core.failed("0.0", "lost", "gone")[0].startswith("job 0 failed")


def test_deaths_and_exceptions_are_counted_apart() -> None:
    core = Core("a", task_failures=2)
    core.submit(source(1))
    for kind in ("lost", "lost", "lost", "raised"):
        (retry,) = core.failed("0.0", kind)
        assert retry.startswith("a runs 0.0#")
    assert "failed 2 times" in core.failed("0.0", "raised")[0]


def test_refused_result_fails_the_job_at_once() -> None:
    core = Core("a", task_failures=4)
    core.submit(source(1))
    assert core.failed("0.0", "refused", "can't pickle a lock") == [
        "job 0 failed: task 0 in stage 0 failed 1 time, most recently on executor a: can't pickle a lock"
    ]


# ------------------------------------------------------------------------------------------------ lost map outputs
def test_lost_map_output_alone_is_made_again_before_the_reduce_task_runs_again() -> None:
    core = Core("a*2")
    core.submit(shuffled(source(2), 2))
    core.ended("0.0", file=True)
    core.ended("0.1", file=True)
    assert core.fetch_failed("1.0", shuffle=0, map_partition=1) == ["a runs 0.1"]
    assert core.ended("0.1", file=True) == ["a runs 1.0#1"]
    assert core.ended("1.0") == ["job 0 gets result 0: 1.0"]
    assert core.ended("1.1") == ["job 0 gets result 1: 1.1", "job 0 succeeded"]


def test_lost_map_output_is_made_again_once_when_two_reduce_tasks_miss_it() -> None:
    core = Core("a*2")
    core.submit(shuffled(source(1), 2))
    core.ended("0.0", file=True)
    assert core.fetch_failed("1.0", shuffle=0, map_partition=0) == ["a runs 0.0"]
    assert core.fetch_failed("1.1", shuffle=0, map_partition=0) == []
    assert core.ended("0.0") == ["a runs 1.0#1 1.1#1"]


def test_map_output_that_was_made_anew_meanwhile_is_not_taken_for_lost() -> None:
    core = Core("a b")
    core.submit(shuffled(source(1), 2))
    core.ended("0.0", file=True)
    late = core.specs["1.1"]  # at b, told that the map output is at a
    assert core.leave("a") == []
    assert core.join("c") == ["c runs 0.0"]
    core.ended("0.0", file=True)
    (segment,) = late.inputs[0, 1]
    lost = TaskFailure(FailureKind.FETCH, "map output is gone", segment=segment)
    assert core.handle(TaskEnded("b", TaskReply(late.task_id, lost, None, b"", (), {}))) == ["b runs 1.1#1"]


def test_map_output_that_was_made_anew_at_the_same_executor_is_not_taken_for_lost() -> None:
    core = Core("a*2")
    core.submit(shuffled(source(1), 2))
    core.ended("0.0", file=True)
    core.fetch_failed("1.0", shuffle=0, map_partition=0)
    assert core.ended("0.0", file=True) == ["a runs 1.0#1"]
    assert core.fetch_failed("1.1", shuffle=0, map_partition=0) == ["a runs 1.1#1"]  # it missed the old one


def test_files_of_a_map_output_that_was_given_up_are_removed_at_the_latest_with_the_shuffle() -> None:
    """A reduce task may have missed a range of them only."""
    core = Core("a")
    core.submit(shuffled(source(1), 1))
    core.ended("0.0", file=True)
    story = core.fetch_failed("1.0", shuffle=0, map_partition=0)
    story += core.ended("0.0") + core.ended("1.0") + core.handle(ForgetShuffle(0))
    assert [action for action in story if action.startswith("remove shuffle_0_")]


def test_job_fails_when_its_inputs_vanish_again_and_again() -> None:
    core = Core("a")
    core.submit(shuffled(source(1), 1))
    core.ended("0.0", file=True)
    for attempt in range(1, FETCH_ROUNDS_MAX + 1):
        assert core.fetch_failed("1.0", shuffle=0, map_partition=0) == ["a runs 0.0"]
        assert core.ended("0.0", file=True) == [f"a runs 1.0#{attempt}"]
    assert core.fetch_failed("1.0", shuffle=0, map_partition=0) == [
        "job 0 failed: stage 1 lost its inputs again and again: map output is gone"
    ]


def test_job_survives_the_loss_of_many_inputs_each_of_which_is_lost_once() -> None:
    outputs = FETCH_ROUNDS_MAX + 2
    core = Core(f"a*{outputs}")
    core.submit(shuffled(source(outputs), outputs))
    for partition in range(outputs):
        core.ended(f"0.{partition}", file=True)
    for partition in range(outputs):
        story = core.fetch_failed(f"1.{partition}", shuffle=0, map_partition=partition)
        assert story == [f"a runs 0.{partition}"]


def test_lost_map_output_comes_back_for_all_its_readers_when_the_one_that_missed_it_is_cancelled() -> None:
    core = Core("a")
    dataset = shuffled(source(1), 2)
    core.submit(dataset, partitions=[0])
    core.submit(mapped(dataset), partitions=[1])
    core.ended("0.0", file=True)
    core.fetch_failed("1.0", shuffle=0, map_partition=0)
    core.cancel(job_id=0)
    assert core.ended("0.0") == ["a runs 2.1"]


# ------------------------------------------------------------------------------------------------ lost executors
def test_tasks_of_a_lost_executor_run_elsewhere() -> None:
    core = Core("a*2 b*2")
    assert core.submit(source(3)) == ["a runs 0.0 0.2", "b runs 0.1"]
    assert core.leave("a") == ["b runs 0.0#1"]
    assert core.ended("0.1") == ["job 0 gets result 1: 0.1", "b runs 0.2#1"]


def test_result_of_a_lost_executor_is_ignored() -> None:
    core = Core("a b")
    core.submit(source(1))
    late = core.specs["0.0"]
    assert core.leave("a") == ["b runs 0.0#1"]
    assert core.reply(late) == []
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "job 0 succeeded"]


def test_loss_of_an_executor_counts_as_a_death_of_its_tasks() -> None:
    core = Core("a b c d e")
    core.submit(source(1))
    for executor, heir in zip("abc", "bcd", strict=True):
        assert core.leave(executor)[0].startswith(f"{heir} runs 0.0#")
    assert core.leave("d") == [
        "job 0 failed: task 0 in stage 0 failed 4 times, most recently on executor d: executor d was lost: it fell over"
    ]


def test_executor_that_left_twice_is_lost_once() -> None:
    core = Core("a b")
    core.submit(source(1))
    assert core.leave("a") == ["b runs 0.0#1"]
    assert core.leave("a") == []


def test_map_outputs_in_files_of_a_lost_executor_are_made_again() -> None:
    core = Core("a b")
    core.submit(shuffled(source(2), 1))
    core.ended("0.0", file=True)
    core.ended("0.1", file=True)
    assert core.leave("a") == ["b runs 0.0"]
    assert core.ended("0.0", file=True) == ["b runs 1.0#1"]


def test_map_outputs_that_came_inline_survive_their_executor() -> None:
    core = Core("a b")
    core.submit(shuffled(source(2), 1))
    core.ended("0.0")
    core.ended("0.1", file=True)
    assert core.leave("a") == ["b runs 1.0#1"]


def test_running_shuffle_makes_again_what_it_lost() -> None:
    core = Core("a b")
    core.submit(shuffled(source(3), 1))
    assert core.ended("0.0", file=True) == ["a runs 0.2"]
    assert core.leave("a") == []
    assert core.ended("0.1", file=True) == ["b runs 0.2#1"]
    assert core.ended("0.2", file=True) == ["b runs 0.0#1"]
    assert core.ended("0.0", file=True) == ["b runs 1.0"]


def test_lost_chain_of_shuffles_is_made_again_from_where_it_is_needed() -> None:
    core = Core("a b")
    core.submit(shuffled(shuffled(source(1), 1), 1))
    core.ended("1.0", file=True)
    core.ended("0.0", file=True)
    assert core.leave("a") == ["b runs 1.0"]
    assert core.ended("1.0") == ["b runs 0.0"]
    assert core.ended("0.0") == ["b runs 2.0#1"]


def test_shuffle_that_a_later_job_finds_broken_is_mended_for_it() -> None:
    core = Core("a b")
    dataset = shuffled(source(1), 1)
    core.submit(dataset)
    core.ended("0.0", file=True)
    core.ended("1.0")
    assert core.leave("a") == []
    assert core.submit(dataset) == ["b runs 0.0"]
    assert core.ended("0.0") == ["b runs 2.0"]


def test_shuffle_is_mended_from_its_own_lineage_when_that_was_cut_since() -> None:
    core = Core("a b")
    middle = mapped(source(1))
    dataset = shuffled(middle, 1)
    core.submit(dataset)
    core.ended("0.0", file=True)
    core.ended("1.0")
    middle.cut(StoredBlocks(), (), [BlockRef("rdd_1_0", ("b",))])
    core.leave("a")
    assert core.submit(dataset) == ["b runs 0.0"]  # the harness asserts that its program and its inputs fit together


# ------------------------------------------------------------------------------------------------ silent executors
def test_suspect_executor_gets_no_tasks_until_it_is_trusted() -> None:
    core = Core("a*2 b")
    assert core.suspect("a") == []
    assert core.submit(source(4)) == ["b runs 0.0"]
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "b runs 0.1"]
    assert core.trust("a") == ["a runs 0.2 0.3"]


def test_suspect_executors_results_count() -> None:
    core = Core("a")
    core.submit(source(2))
    core.suspect("a")
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0"]
    assert core.trust("a") == ["a runs 0.1"]


def test_suspect_executors_data_is_waited_for_and_then_read_from_elsewhere() -> None:
    core = Core("a b", locality_wait_ms=3000)
    core.suspect("a")
    assert core.submit(received(("a",))) == ["wake at 4000"]
    assert core.woken(after_ms=3000) == ["b runs 0.0"]


def test_suspect_executor_that_is_given_up_is_lost_as_any_other() -> None:
    core = Core("a b")
    core.submit(source(2))
    core.suspect("a")
    assert core.leave("a") == []
    assert core.ended("0.1") == ["job 0 gets result 1: 0.1", "b runs 0.0#1"]
    assert core.trust("a") == []
    assert core.suspect("a") == []


def test_executor_is_suspected_once_however_often_it_is_said() -> None:
    core = Core("a b")
    core.suspect("a")
    core.suspect("a")
    assert core.trust("a") == []
    assert core.trust("a") == []
    assert core.submit(source(3)) == ["a runs 0.0", "b runs 0.1"]


# ------------------------------------------------------------------------------------------------ overdue tasks
OVERDUE = "it ran longer than headwater.task.timeout (5000 ms), and was killed"


def test_task_that_is_overdue_is_killed_and_has_failed_when_that_is_done() -> None:
    core = Core("a", task_ms=5000)
    assert core.submit(source(1)) == ["a runs 0.0", "wake at 6000"]
    assert core.woken(after_ms=5000) == ["a kills 0.0"]
    assert core.woken(after_ms=5000) == []
    assert core.killed("0.0") == [
        f"job 0 failed: task 0 in stage 0 failed 1 time, most recently on executor a: {OVERDUE}"
    ]


def test_task_that_is_overdue_runs_again_while_it_may_fail() -> None:
    core = Core("a b", task_ms=5000, task_failures=2)
    core.submit(source(1))
    core.woken(after_ms=5000)
    assert core.killed("0.0") == ["a runs 0.0#1", "wake at 11000"]
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "job 0 succeeded"]


def test_result_of_an_overdue_task_that_comes_before_its_end_counts() -> None:
    core = Core("a", task_ms=5000)
    core.submit(source(1))
    core.woken(after_ms=5000)
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "job 0 succeeded"]


def test_each_task_has_its_own_time_and_one_wake_is_asked_for() -> None:
    core = Core("a*3", task_ms=5000)
    assert core.submit(source(2)) == ["a runs 0.0 0.1", "wake at 6000"]
    core.now_ms += 1000
    assert core.submit(source(1)) == ["a runs 1.0"]
    core.ended("0.1")
    assert core.woken(after_ms=4000) == ["a kills 0.0", "wake at 7000"]
    assert core.ended("1.0") == ["job 1 gets result 0: 1.0", "job 1 succeeded"]
    assert core.woken(after_ms=1000) == []


# ------------------------------------------------------------------------------------------------ stale replies
def test_stale_reply_changes_nothing() -> None:
    core = Core("a")
    core.submit(cached(source(1)))
    late = core.specs["0.0"]
    core.cancel()
    assert core.reply(late, stored="rdd_1_0", add="too late") == ["job 0 cancelled: not wanted"]
    assert core.scheduler.cached_partitions(1) == {}


def test_reply_is_taken_once() -> None:
    core = Core("a")
    core.submit(source(2))
    first = core.specs["0.0"]
    assert core.reply(first, add="one") == ["add one", "job 0 gets result 0: 0.0", "a runs 0.1"]
    assert core.reply(first, add="one") == []
