"""The scheduler's core alone: events in, actions out. No thread runs, and the lineages can't be computed.

How tasks are named is said in `cores`.
"""

from __future__ import annotations

import gc
import weakref

import pytest

from headwater.engine.events import (
    BlocksDropped,
    CountMetrics,
    DeliverResult,
    EndJob,
    FailureKind,
    ForgetDataset,
    ForgetShuffle,
    JobOver,
    JobStarted,
    Launch,
    MapSegment,
    StageChanged,
    StoredBlock,
    TaskEnded,
    TaskFailure,
    TaskReply,
)
from headwater.engine.lineage import BlockRef, Dataset, Slice
from headwater.storagelevel import StorageLevel
from tests.engine.cores import (
    Core,
    cached,
    ids_from_zero,  # noqa: F401
    joined,
    mapped,
    received,
    shuffled,
    source,
)


# ------------------------------------------------------------------------------------------------ launching
def test_result_stage_runs_a_task_on_each_free_core() -> None:
    core = Core("a*2 b")
    assert core.submit(source(4)) == ["a runs 0.0 0.1", "b runs 0.2"]
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "a runs 0.3"]
    assert core.ended("0.2") == ["job 0 gets result 2: 0.2"]
    assert core.ended("0.3") == ["job 0 gets result 3: 0.3"]
    assert core.ended("0.1") == ["job 0 gets result 1: 0.1", "job 0 succeeded"]


def test_job_without_partitions_succeeds_at_once() -> None:
    assert Core().submit(source(3), partitions=[]) == ["job 0 succeeded"]


def test_job_waits_when_there_is_no_executor() -> None:
    core = Core()
    assert core.submit(source(2)) == []
    assert core.join("a") == ["a runs 0.0"]


def test_executor_that_joins_takes_pending_tasks() -> None:
    core = Core("a")
    assert core.submit(source(4)) == ["a runs 0.0"]
    assert core.join("b*2") == ["b runs 0.1 0.2"]


def test_jobs_run_first_come_first_served() -> None:
    core = Core("a")
    assert core.submit(source(2)) == ["a runs 0.0"]
    assert core.submit(source(1)) == []
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "a runs 0.1"]
    assert core.ended("0.1") == ["job 0 gets result 1: 0.1", "job 0 succeeded", "a runs 1.0"]
    assert core.ended("1.0") == ["job 1 gets result 0: 1.0", "job 1 succeeded"]


def test_later_job_takes_the_cores_that_an_earlier_one_leaves() -> None:
    core = Core("a*3")
    assert core.submit(source(2)) == ["a runs 0.0 0.1"]
    assert core.submit(source(2)) == ["a runs 1.0"]


def test_job_runs_the_partitions_that_it_asks_for_in_its_order() -> None:
    core = Core("a*4")
    assert core.submit(source(9), partitions=[7, 2]) == ["a runs 0.7 0.2"]
    assert core.ended("0.2") == ["job 0 gets result 1: 0.2"]
    assert core.ended("0.7") == ["job 0 gets result 0: 0.7", "job 0 succeeded"]


def test_job_computes_a_partition_once_when_it_asks_for_it_twice() -> None:
    core = Core("a*4")
    assert core.submit(source(3), partitions=[1, 1]) == ["a runs 0.1"]
    assert core.ended("0.1") == ["job 0 gets result 0: 0.1", "job 0 gets result 1: 0.1", "job 0 succeeded"]


def test_task_carries_its_jobs_properties() -> None:
    core = Core("a")
    core.submit(source(1), jobGroup_id="nightly")
    assert core.specs["0.0"].properties == {"spark.jobGroup.id": "nightly"}


def test_task_carries_the_payload_of_its_partition() -> None:
    core = Core("a")
    dataset = Dataset(0, Slice(), (), 3, payloads=[b"0", b"1", b"2"])
    core.submit(mapped(dataset), partitions=[1])
    assert core.specs["0.1"].inputs == {(0, 1): b"1"}


# ------------------------------------------------------------------------------------------------ shuffles
def test_reduce_stage_waits_for_all_map_outputs() -> None:
    core = Core("a*3")
    assert core.submit(shuffled(source(2), 3)) == ["a runs 0.0 0.1"]
    assert core.ended("0.1") == []
    assert core.ended("0.0") == ["a runs 1.0 1.1 1.2"]


def test_reduce_task_gets_its_segments_in_the_order_of_the_map_partitions() -> None:
    core = Core("a b")
    core.submit(shuffled(source(2), 2), partitions=[1])
    core.ended("0.1", file=True)
    core.ended("0.0")
    in_file = MapSegment(None, "shuffle_0_1_1_0", 1, 1, location=("b",), shuffle_id=0, map_partition=1)
    assert core.specs["1.1"].inputs == {(0, 1): [MapSegment(b"x"), in_file]}


def test_map_stages_of_a_join_run_side_by_side() -> None:
    core = Core("a*4")
    assert core.submit(joined(shuffled(source(1), 2), shuffled(source(2), 2))) == ["a runs 0.0 0.1", "a runs 1.0"]


def test_chain_of_shuffles_runs_from_the_source_on() -> None:
    core = Core("a")
    assert core.submit(shuffled(shuffled(source(1), 1), 1)) == ["a runs 1.0"]
    assert core.ended("1.0") == ["a runs 0.0"]
    assert core.ended("0.0") == ["a runs 2.0"]
    assert core.ended("2.0") == ["job 0 gets result 0: 2.0", "job 0 succeeded"]


def test_chain_of_a_thousand_shuffles_is_planned_and_started() -> None:
    dataset = source(1)
    for _ in range(1000):
        dataset = shuffled(dataset, 1)
    assert Core("a").submit(dataset) == ["a runs 999.0"]


@pytest.mark.timeout(10)
def test_shuffle_reached_on_many_ways_is_started_once() -> None:
    left, right = source(1), source(1)
    for _ in range(30):
        left, right = shuffled(joined(left, right), 1), shuffled(joined(left, right), 1)
    (launch,) = Core("a").submit(joined(left, right))
    assert launch.startswith("a runs")


def test_shuffle_is_skipped_when_its_outputs_are_there() -> None:
    core = Core("a")
    dataset = shuffled(source(1), 1)
    core.submit(dataset)
    core.ended("0.0")
    core.ended("1.0")
    assert core.submit(dataset) == ["a runs 2.0"]


def test_shuffle_resumes_with_what_is_missing_when_its_first_job_was_cancelled() -> None:
    core = Core("a")
    dataset = shuffled(source(2), 1)
    core.submit(dataset)
    core.ended("0.0")
    core.cancel()
    assert core.killed("0.1") == ["job 0 cancelled: not wanted"]
    assert core.submit(dataset) == ["a runs 0.1"]
    assert core.ended("0.1") == ["a runs 2.0"]


def test_jobs_share_a_running_shuffle() -> None:
    core = Core("a*4")
    dataset = shuffled(source(2), 1)
    assert core.submit(dataset) == ["a runs 0.0 0.1"]
    assert core.submit(mapped(dataset)) == []
    core.ended("0.0")
    assert core.ended("0.1") == ["a runs 1.0", "a runs 2.0"]


def test_shared_shuffle_goes_on_for_the_other_job_when_one_is_cancelled() -> None:
    core = Core("a*4")
    dataset = shuffled(source(1), 1)
    core.submit(dataset)
    core.submit(mapped(dataset))
    assert core.cancel(job_id=0) == ["job 0 cancelled: not wanted"]
    assert core.ended("0.0") == ["a runs 2.0"]


def test_shuffle_planned_by_two_jobs_at_once_is_written_once() -> None:
    core = Core("a*4")
    dataset = shuffled(source(1), 1)
    first, second = core.job(dataset), core.job(dataset)
    assert core.handle(first) == ["a runs 0.0"]
    assert core.handle(second) == []
    assert core.ended("0.0") == ["a runs 1.0", "a runs 3.0"]


def test_shuffle_is_forgotten_with_its_files() -> None:
    core = Core("a")
    dataset = shuffled(source(1), 1)
    core.submit(dataset)
    core.ended("0.0", file=True)
    core.ended("1.0")
    assert core.handle(ForgetShuffle(0)) == ["remove shuffle_0_*"]
    assert core.handle(ForgetShuffle(0)) == []


def test_shuffle_without_files_is_forgotten_without_a_word_to_the_executors() -> None:
    core = Core("a")
    core.submit(shuffled(source(1), 1))
    core.ended("0.0")
    core.ended("1.0")
    assert core.handle(ForgetShuffle(0)) == []


def test_unknown_shuffle_is_forgotten_without_harm() -> None:
    assert Core("a").handle(ForgetShuffle(17)) == []


# ------------------------------------------------------------------------------------------------ cached partitions
def test_task_starts_from_a_cached_partition() -> None:
    core = Core("a")
    dataset = cached(source(2))
    core.submit(dataset)
    core.ended("0.0", stored="rdd_1_0")
    core.ended("0.1")
    core.submit(dataset)
    core.ended("1.0")
    assert core.specs["1.0"].inputs == {}
    assert core.specs["1.0"].cached == {(1, 0): BlockRef("rdd_1_0", ("a",))}
    assert core.specs["1.1"].inputs == {(0, 1): b""}
    assert core.specs["1.1"].cached == {}


def test_task_is_asked_to_cache_what_was_persisted_before_the_job_was_planned() -> None:
    core = Core("a*3")
    dataset = mapped(source(1))
    core.submit(dataset)
    dataset.storage_level = StorageLevel.DISK_ONLY_2
    core.submit(dataset)
    assert core.specs["0.0"].caching == {}
    assert [tuple(caching) for caching in core.specs["1.0"].caching.values()] == [(1, True, False, 2)]


def test_task_runs_where_its_cached_partition_is() -> None:
    core = Core("a b")
    dataset = cached(source(2))
    core.submit(dataset)
    core.ended("0.0", stored="rdd_1_0")
    core.ended("0.1", stored="rdd_1_1")
    assert core.submit(dataset, partitions=[1]) == ["b runs 1.1"]
    assert core.submit(mapped(dataset), partitions=[0]) == ["a runs 2.0"]


def test_task_runs_where_its_received_block_is() -> None:
    core = Core("a b")
    assert core.submit(mapped(received(("b",), ("a",)))) == ["b runs 0.0", "a runs 0.1"]


def test_task_runs_anywhere_when_no_executor_has_its_block() -> None:
    core = Core("a b")
    assert core.submit(received(("gone",))) == ["a runs 0.0"]


def test_task_waits_for_a_core_where_its_data_is_then_goes_elsewhere() -> None:
    core = Core("a b", locality_wait_ms=3000)
    assert core.submit(received(("b",))) == ["b runs 0.0"]
    assert core.submit(received(("b",))) == ["wake at 4000"]
    assert core.woken(after_ms=2999) == ["wake at 4000"]
    assert core.woken(after_ms=1) == ["a runs 1.0"]


def test_task_that_waits_goes_to_its_data_when_a_core_is_free_there() -> None:
    core = Core("a b", locality_wait_ms=3000)
    core.submit(received(("b",)))
    assert core.submit(received(("b",))) == ["wake at 4000"]
    core.now_ms += 100
    assert core.ended("0.0") == ["job 0 gets result 0: 0.0", "job 0 succeeded", "b runs 1.0"]


def test_task_that_waits_lets_others_pass() -> None:
    core = Core("a b", locality_wait_ms=3000)
    core.submit(received(("b",)))
    assert core.submit(received(("b",), ("a",))) == ["a runs 1.1", "wake at 4000"]


def test_task_waits_for_nothing_when_the_locality_wait_is_zero() -> None:
    core = Core("a b", locality_wait_ms=0)
    core.submit(received(("b",)))
    assert core.submit(received(("b",))) == ["a runs 1.0"]


def test_one_wake_up_is_asked_for_however_many_tasks_wait() -> None:
    core = Core("a b", locality_wait_ms=3000)
    core.submit(received(("b",)))
    assert core.submit(received(*[("b",)] * 100)) == ["wake at 4000"]


def test_wait_for_data_ends_at_its_time_when_the_clock_starts_at_zero() -> None:
    core = Core("a b", locality_wait_ms=3000)
    core.now_ms = 0
    core.submit(received(("b",)))
    core.submit(received(("b",)))
    assert core.woken(after_ms=3000) == ["a runs 1.0"]


def test_cached_partition_that_is_gone_is_computed_again() -> None:
    core = Core("a")
    dataset = cached(source(1))
    core.submit(dataset)
    core.ended("0.0", stored="rdd_1_0")
    core.submit(dataset)
    assert core.failed("1.0", "cache", "rdd_1_0", block_id="rdd_1_0") == ["a runs 1.0#1"]
    assert core.specs["1.0"].cached == {}
    assert core.specs["1.0"].inputs == {(0, 0): b""}


def test_cached_partitions_of_a_lost_executor_are_forgotten() -> None:
    core = Core("a b")
    dataset = cached(source(2))
    core.submit(dataset)
    core.ended("0.0", stored="rdd_1_0")
    core.ended("0.1", stored="rdd_1_1")
    core.leave("a")
    assert core.scheduler.cached_partitions(1) == {1: BlockRef("rdd_1_1", ("b",))}


def test_evicted_partition_is_forgotten() -> None:
    core = Core("a")
    core.submit(cached(source(1)))
    core.ended("0.0", stored="rdd_1_0")
    assert core.handle(BlocksDropped("a", ("rdd_1_0",))) == []
    assert core.scheduler.cached_partitions(1) == {}


def test_partition_evicted_here_is_kept_there() -> None:
    core = Core("a b")
    core.submit(cached(source(1)))
    spec = core.specs["0.0"]
    stored = StoredBlock("rdd_1_0", 1, ("a", "b", "gone"), True, False)
    core.handle(TaskEnded("a", TaskReply(spec.task_id, None, b"", b"", (stored,), {})))
    assert core.scheduler.cached_partitions(1) == {0: BlockRef("rdd_1_0", ("a", "b"))}
    core.handle(BlocksDropped("a", ("rdd_1_0",)))
    assert core.scheduler.cached_partitions(1) == {0: BlockRef("rdd_1_0", ("b",))}


def test_unpersisted_dataset_is_removed_from_the_executors() -> None:
    core = Core("a")
    core.submit(cached(source(1)))
    core.ended("0.0", stored="rdd_1_0")
    assert core.handle(ForgetDataset(1)) == ["remove rdd_1_*"]
    assert core.scheduler.cached_partitions(1) == {}


def test_failed_task_leaves_the_partitions_that_it_cached() -> None:
    core = Core("a", task_failures=2)
    core.submit(cached(source(1)))
    spec = core.specs["0.0"]
    stored = (StoredBlock("rdd_1_0", 1, ("a",), True, False),)
    core.handle(TaskEnded("a", TaskReply(spec.task_id, TaskFailure(FailureKind.RAISED, "no"), None, b"", stored, {})))
    assert core.specs["0.0"].cached == {(1, 0): BlockRef("rdd_1_0", ("a",))}


def wholly_cached() -> tuple[Core, Dataset]:
    """A dataset whose two partitions are stored at `b`, with one core; the shuffle that it came from is lost."""
    core = Core("a b")
    dataset = cached(shuffled(source(1), 2))
    core.submit(dataset)
    core.ended("0.0", file=True)
    for partition in (0, 1):
        spec = core.specs[f"1.{partition}"]
        stored = StoredBlock(f"rdd_2_{partition}", 1, ("a", "b"), True, False)
        core.handle(TaskEnded(core.at[spec.task_id], TaskReply(spec.task_id, None, b"", b"", (stored,), {})))
    core.leave("a")
    return core, dataset


def test_wholly_cached_dataset_needs_no_shuffle_before_it() -> None:
    core, dataset = wholly_cached()
    assert core.submit(mapped(dataset), partitions=[0]) == ["b runs 2.0"]


def test_partly_cached_dataset_needs_the_shuffle_before_it() -> None:
    core, dataset = wholly_cached()
    core.handle(BlocksDropped("b", ("rdd_2_1",)))
    assert core.submit(mapped(dataset), partitions=[0]) == ["b runs 0.0"]
    assert core.ended("0.0") == ["b runs 2.0"]


def test_cache_miss_brings_the_shuffle_before_it_back() -> None:
    core, dataset = wholly_cached()
    core.submit(dataset)
    assert core.failed("2.0", "cache", "rdd_2_0", block_id="rdd_2_0") == ["b runs 0.0"]
    assert core.ended("0.0") == ["b runs 2.1"]  # those that wait come first
    assert core.ended("2.1") == ["job 1 gets result 1: 2.1", "b runs 2.0#1"]


def test_eviction_brings_the_shuffle_back_for_tasks_that_wait() -> None:
    core, dataset = wholly_cached()
    core.submit(dataset)
    core.handle(BlocksDropped("b", ("rdd_2_1",)))
    assert core.ended("2.0") == ["job 1 gets result 0: 2.0", "b runs 0.0"]


def test_unpersist_brings_the_shuffle_back_for_tasks_that_wait() -> None:
    core, dataset = wholly_cached()
    core.submit(dataset)
    core.handle(ForgetDataset(2))
    assert core.ended("2.0") == ["job 1 gets result 0: 2.0", "b runs 0.0"]


def test_cache_miss_brings_the_shuffle_back_for_other_jobs_though_the_one_that_missed_it_is_cancelled() -> None:
    core, dataset = wholly_cached()
    core.submit(dataset)
    core.submit(mapped(dataset))
    core.failed("2.0", "cache", "rdd_2_0", block_id="rdd_2_0")
    core.cancel(job_id=1)
    assert "b runs 3.0" in core.ended("0.0")


# ------------------------------------------------------------------------------------------------ cancelling
def test_cancelled_job_kills_its_tasks_and_is_over_when_they_have_ended() -> None:
    core = Core("a b")
    core.submit(source(3))
    assert core.cancel(job_id=0) == ["a kills 0.0", "b kills 0.1", "wake at 11000"]
    assert core.killed("0.1") == []
    assert core.killed("0.0") == ["job 0 cancelled: not wanted"]


def test_cancelled_job_kills_its_map_tasks() -> None:
    core = Core("a")
    core.submit(shuffled(source(2), 1))
    assert core.cancel(job_id=0) == ["a kills 0.0", "wake at 11000"]
    assert core.killed("0.0") == ["job 0 cancelled: not wanted"]


def test_cancelled_job_without_running_tasks_is_over_at_once() -> None:
    core = Core()
    core.submit(source(1))
    assert core.cancel(job_id=0) == ["job 0 cancelled: not wanted"]


def test_task_that_cannot_be_killed_is_waited_for_ten_seconds() -> None:
    core = Core("a")
    core.submit(source(1))
    core.cancel()
    assert core.woken(after_ms=9_999) == []
    assert core.woken(after_ms=1) == ["job 0 cancelled: not wanted"]
    assert core.killed("0.0") == []


def test_killed_tasks_of_a_lost_executor_have_ended() -> None:
    core = Core("a b")
    core.submit(source(2))
    core.cancel()
    assert core.leave("a") == []
    assert core.leave("b") == ["job 0 cancelled: not wanted"]


def test_cancelling_a_group_leaves_the_others() -> None:
    core = Core("a*3")
    core.submit(source(1), jobGroup_id="nightly")
    core.submit(source(1), jobGroup_id="hourly")
    core.submit(source(1))
    assert core.cancel(group="nightly") == ["a kills 0.0", "wake at 11000"]
    assert core.killed("0.0") == ["job 0 cancelled: not wanted"]


def test_cancelling_all_spares_none() -> None:
    core = Core("a*2")
    core.submit(source(1), jobGroup_id="nightly")
    core.submit(source(1))
    assert core.cancel() == ["a kills 0.0", "wake at 11000", "a kills 1.0", "wake at 11000"]
    assert core.killed("1.0") == ["job 1 cancelled: not wanted"]
    assert core.killed("0.0") == ["job 0 cancelled: not wanted"]


def test_cancelling_a_job_that_is_over_does_nothing() -> None:
    core = Core("a")
    core.submit(source(1))
    core.ended("0.0")
    assert core.cancel(job_id=0) == []


def test_cancelling_makes_room_for_the_next_job() -> None:
    core = Core("a")
    core.submit(source(1))
    core.submit(source(1))
    assert core.cancel(job_id=0) == ["a kills 0.0", "wake at 11000", "a runs 1.0"]


def test_cancelled_job_frees_its_lineage_without_the_garbage_collector() -> None:
    core, dataset = Core("a"), source(2)
    lineage = weakref.ref(dataset)
    gc.disable()
    try:
        core.submit(dataset)
        del dataset
        assert lineage() is not None
        core.cancel()
        assert lineage() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------ results and sums
def test_job_whose_results_are_too_large_together_fails() -> None:
    core = Core("a*3", result_bytes=10)
    core.submit(source(3))
    assert core.ended("0.0", value="x" * 10) == ["job 0 gets result 0: xxxxxxxxxx"]
    assert core.ended("0.1", value="y") == ["a kills 0.2", "wake at 11000"]
    assert core.killed("0.2") == [
        "job 0 failed: total size of serialized results of 2 tasks (11 bytes) is bigger than "
        "spark.driver.maxResultSize (10 bytes): collect less, or raise the setting",
    ]


def test_result_size_is_counted_a_job() -> None:
    core = Core("a", result_bytes=10)
    for job in range(2):
        core.submit(source(1))
        assert core.ended(f"{job}.0", value="x" * 10)[-1] == f"job {job} succeeded"


def test_accumulators_come_before_the_result_that_they_belong_to() -> None:
    core = Core("a")
    core.submit(source(1))
    assert core.ended("0.0", add="three") == ["add three", "job 0 gets result 0: 0.0", "job 0 succeeded"]


def test_accumulators_of_a_map_output_that_is_made_again_are_not_added_again() -> None:
    core = Core("a")
    core.submit(shuffled(source(1), 1))
    assert core.ended("0.0", file=True, add="three") == ["add three", "a runs 1.0"]
    core.fetch_failed("1.0", shuffle=0, map_partition=0)
    assert core.ended("0.0", file=True, add="three") == ["a runs 1.0#1"]


def test_accumulators_of_a_failed_attempt_are_not_added() -> None:
    core = Core("a", task_failures=2)
    core.submit(source(1))
    spec = core.specs["0.0"]
    assert core.handle(
        TaskEnded("a", TaskReply(spec.task_id, TaskFailure(FailureKind.RAISED, "no"), None, b"three", (), {}))
    ) == ["a runs 0.0#1"]


def test_accumulators_are_added_again_by_a_job_that_computes_again() -> None:
    core = Core("a")
    dataset = source(1)
    for job in range(2):
        core.submit(dataset)
        assert core.ended(f"{job}.0", add="three")[0] == "add three"


# ------------------------------------------------------------------------------------------------ reports
def test_progress_of_a_job_is_reported() -> None:
    core = Core("a")
    job = core.job(source(1), jobGroup_id="nightly", job_description="count them")
    assert [action for action in core.actions(job) if not isinstance(action, Launch)] == [
        JobStarted(0, "nightly", (0,), 1000, "count them"),
        StageChanged(0, "stage 0", fetch_rounds=0, tasks=1, active=1, completed=0, failed=0, over=False),
    ]
    core.now_ms = 2500
    spec = core.specs["0.0"]
    assert core.actions(TaskEnded("a", TaskReply(spec.task_id, None, b"v", b"", (), {"run_us": 7}))) == [
        CountMetrics(0, {"run_us": 7}),
        DeliverResult(0, 0, b"v"),
        StageChanged(0, "stage 0", fetch_rounds=0, tasks=1, active=0, completed=1, failed=0, over=True),
        EndJob(0, None),
        JobOver(0, "SUCCEEDED", 2500),
    ]


def test_job_without_a_description_is_known_by_its_call_site() -> None:
    core = Core("a")
    assert core.actions(core.job(source(1), [])) == [
        JobStarted(0, None, (0,), 1000, "count at x.py:1"),
        EndJob(0, None),
        JobOver(0, "SUCCEEDED", 1000),
    ]


def test_core_refuses_what_is_not_an_event() -> None:
    with pytest.raises(AssertionError, match="not an event of the scheduler: 'hello'"):
        Core().handle("hello")  # type: ignore[arg-type]
