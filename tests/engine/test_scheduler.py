"""The scheduler's core alone: events in, actions out. No thread runs, and the lineages can't be computed.

A task is named `stage.partition`, with `#attempt` from the second attempt on. Shuffle stages are numbered before the
stage that reads them. What only reports progress (StageChanged and its like) is left out but for the tests on it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from headwater.engine.events import (
    AddAccumulators,
    BlocksDropped,
    CancelJobs,
    CountMetrics,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ForgetDataset,
    ForgetShuffle,
    JobFailure,
    JobOver,
    JobStarted,
    KillTask,
    Launch,
    MapOutput,
    RemoveBlocks,
    Segment,
    StageChanged,
    StoredBlock,
    SubmitJob,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
    Wake,
    Woken,
)
from headwater.engine.lineage import (
    Action,
    BlockRef,
    Dataset,
    Leaf,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
    StoredBlocks,
    Together,
)
from headwater.engine.scheduler import DEATHS_MAX, FETCH_ROUNDS_MAX, Limits, Scheduler, signal_text
from headwater.engine.stages import Planner, Program
from headwater.storagelevel import StorageLevel

REPORTS = (JobStarted, JobOver, StageChanged, CountMetrics)


# ------------------------------------------------------------------------------------------------ lineages
def never(*_arguments: Any) -> Any:
    raise AssertionError("the scheduler's tests compute nothing")


_dataset_ids, _shuffle_ids = count(), count()


@pytest.fixture(autouse=True)
def ids_from_zero() -> None:
    global _dataset_ids, _shuffle_ids
    _dataset_ids, _shuffle_ids = count(), count()


def source(partitions: int) -> Dataset:
    return Dataset(next(_dataset_ids), Slice(), (), partitions, payloads=[b""] * partitions)


def received(*locations: tuple[str, ...]) -> Dataset:
    """A dataset of stored blocks, one a partition, at these executors."""
    blocks = [BlockRef(f"input-0-{i}", where) for i, where in enumerate(locations)]
    return Dataset(next(_dataset_ids), StoredBlocks(), (), len(blocks), payloads=blocks)


def mapped(parent: Dataset) -> Dataset:
    return Dataset(next(_dataset_ids), PerRecord("map", never), (parent,), parent.num_partitions)


def cached(parent: Dataset) -> Dataset:
    dataset = mapped(parent)
    dataset.storage_level = StorageLevel.MEMORY_ONLY
    return dataset


def shuffled(parent: Dataset, partitions: int) -> Dataset:
    shuffle = Shuffle(next(_shuffle_ids), parent, ShuffleWrite(partitions, never))
    return Dataset(next(_dataset_ids), ShuffleRead(None), (), partitions, shuffle=shuffle)


def joined(*parents: Dataset) -> Dataset:
    return Dataset(next(_dataset_ids), Together(len(parents), never), parents, parents[0].num_partitions)


# ------------------------------------------------------------------------------------------------ the core, in words
class Core:
    """A scheduler whose events and actions are written as text, checked after each event."""

    def __init__(self, executors: str = "", **limits: int) -> None:
        self.scheduler = Scheduler(Limits(**limits))
        self.planner = Planner(count(), self.scheduler.shuffle_stages)
        self.now_ms = 1000
        self.specs: dict[str, TaskSpec] = {}  # the latest attempt of each task, by name without attempt
        self.at: dict[int, str] = {}  # task id -> executor
        self._names: dict[int, str] = {}
        self._job_ids = count()
        for executor in executors.split():
            assert self.join(executor) == []

    def handle(self, event: Any) -> list[str]:
        return [self._text(action) for action in self.actions(event) if not isinstance(action, REPORTS)]

    def actions(self, event: Any) -> list[Any]:
        actions = self.scheduler.handle(event, self.now_ms)
        self.scheduler.check()
        for action in actions:
            if isinstance(action, Launch):
                self._launched(action)
        return actions

    def _launched(self, action: Launch) -> None:
        program: Program = pickle.loads(action.program)
        for spec in action.tasks:
            name = f"{spec.stage_id}.{spec.partition}"
            self.specs[name] = spec
            self.at[spec.task_id] = action.executor_id
            self._names[spec.task_id] = name + (f"#{spec.attempt}" if spec.attempt else "")
            assert_can_be_computed(spec, program)

    def _text(self, action: Any) -> str:
        match action:
            case Launch():
                return f"{action.executor_id} runs " + " ".join(self._names[spec.task_id] for spec in action.tasks)
            case KillTask():
                return f"{action.executor_id} kills {self._names[action.task_id]}"
            case DeliverResult():
                return f"job {action.job_id} gets result {action.position}: {action.value.decode()}"
            case EndJob(job_id, None):
                return f"job {job_id} succeeded"
            case EndJob(job_id, failure):
                return f"job {job_id} {'cancelled' if failure.cancelled else 'failed'}: {failure.text}"
            case AddAccumulators():
                return f"add {action.updates.decode()}"
            case RemoveBlocks():
                return f"remove {action.prefix}*"
            case Wake():
                return f"wake at {action.at_ms}"
        raise AssertionError(action)

    # events
    def join(self, executor: str) -> list[str]:
        """An executor such as `a` or, with more than one core, `a*2`."""
        name, _, cores = executor.partition("*")
        return self.handle(ExecutorJoined(name, "localhost", int(cores or 1)))

    def leave(self, executor: str) -> list[str]:
        return self.handle(ExecutorLeft(executor, "it fell over"))

    def submit(self, dataset: Dataset, partitions: Sequence[int] | None = None, **properties: str) -> list[str]:
        return self.handle(self.job(dataset, partitions, **properties))

    def job(self, dataset: Dataset, partitions: Sequence[int] | None = None, **properties: str) -> SubmitJob:
        wanted = range(dataset.num_partitions) if partitions is None else partitions
        named = {f"spark.{key.replace('_', '.')}": value for key, value in properties.items()}
        return SubmitJob(
            self.planner.plan(next(self._job_ids), dataset, Action(never), wanted, named, "count at x.py:1")
        )

    def ended(self, task: str, *, file: bool = False, stored: str = "", add: str = "", value: str = "") -> list[str]:
        """A task succeeded; `file`: its map output is a block file, `stored`: the partitions that it cached."""
        return self.reply(self.specs[task], file=file, stored=stored, add=add, value=value)

    def reply(
        self, spec: TaskSpec, *, file: bool = False, stored: str = "", add: str = "", value: str = ""
    ) -> list[str]:
        executor = self.at[spec.task_id]
        result: Any = (value or f"{spec.stage_id}.{spec.partition}").encode()
        if spec.shuffle_id >= 0:
            result = self.map_output(spec, file=file)
        blocks = tuple(StoredBlock(block, 1, (executor,), True, False) for block in stored.split())
        return self.handle(TaskEnded(executor, TaskReply(spec.task_id, None, result, add.encode(), blocks, {})))

    def map_output(self, spec: TaskSpec, *, file: bool) -> MapOutput:
        partitions = self.scheduler.shuffle_stages[spec.shuffle_id].ending.partitions  # type: ignore[union-attr]
        if not file:
            return MapOutput(((Segment(b"x"),),) * partitions)
        block = f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_0"
        return MapOutput(tuple((Segment(None, block, p, 1),) for p in range(partitions)), ((block, partitions),))

    def failed(self, task: str, kind: str = "raised", text: str = "ValueError: no", **more: Any) -> list[str]:
        spec = self.specs[task]
        reply = TaskReply(spec.task_id, TaskFailure(kind, text, **more), None, b"", (), {})
        return self.handle(TaskEnded(self.at[spec.task_id], reply))

    def fetch_failed(self, task: str, *, shuffle: int, map_partition: int) -> list[str]:
        """A reduce task didn't find the map output that it was told of."""
        (segments,) = [s for s in self.specs[task].inputs.values() if isinstance(s, list)]
        (segment,) = [s for s in segments if (s.shuffle_id, s.map_partition) == (shuffle, map_partition)]
        return self.failed(task, "fetch", "map output is gone", segment=segment)

    def cancel(self, **which: Any) -> list[str]:
        return self.handle(CancelJobs("not wanted", **which))

    def woken(self, *, after_ms: int) -> list[str]:
        self.now_ms += after_ms
        return self.handle(Woken())


def assert_can_be_computed(spec: TaskSpec, program: Program) -> None:
    """A task has the input of each leaf that its program reads, where the way down isn't cut short by a stored one."""
    todo = [(len(program.nodes) - 1, spec.partition)]
    while todo:
        node, partition = todo.pop()
        operator, parents = program.nodes[node]
        if (node, partition) in spec.cached:
            continue
        if isinstance(operator, Leaf):
            assert (node, partition) in spec.inputs, f"no input for node {node}, partition {partition}"
        todo += [(parents[i], p) for i, p in operator.inputs(partition)]


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
    in_file = Segment(None, "shuffle_0_1_1_0", 1, 1, location=("b",), shuffle_id=0, map_partition=1)
    assert core.specs["1.1"].inputs == {(0, 1): [Segment(b"x"), in_file]}


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
    assert core.cancel() == ["a kills 0.1", "job 0 cancelled: not wanted"]
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


def test_shuffle_that_nobody_knows_is_forgotten_without_harm() -> None:
    assert Core("a").handle(ForgetShuffle(17)) == []


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


def test_failure_tells_the_place_and_the_users_exception() -> None:
    core = Core("a", task_failures=2)
    core.submit(source(2), partitions=[1])
    core.failed("0.1")
    task = TaskFailure("raised", "ValueError: no", "Traceback ...", b"pickled")
    text = "task 1 in stage 0 failed 2 times, most recently on executor a: ValueError: no"
    assert core.actions(TaskEnded("a", TaskReply(1, task, None, b"", (), {})))[-2:] == [
        EndJob(0, JobFailure(text, cancelled=False, task=task, stage_id=0, partition=1, attempt=1)),
        JobOver(0, "FAILED", 1000),
    ]


def test_failed_job_kills_its_other_tasks_and_frees_their_cores() -> None:
    core = Core("a*3")
    core.submit(source(2))
    core.submit(source(3))
    assert core.failed("0.0") == [
        "a kills 0.1",
        "job 0 failed: task 0 in stage 0 failed 1 time, most recently on executor a: ValueError: no",
        "a runs 1.1 1.2",
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
    lost = TaskFailure("fetch", "map output is gone", segment=segment)
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


# ------------------------------------------------------------------------------------------------ stale replies
def test_stale_reply_changes_nothing() -> None:
    core = Core("a")
    core.submit(cached(source(1)))
    late = core.specs["0.0"]
    core.cancel()
    assert core.reply(late, stored="rdd_1_0", add="too late") == []
    assert core.scheduler.cached_partitions(1) == {}


def test_reply_is_taken_once() -> None:
    core = Core("a")
    core.submit(source(2))
    first = core.specs["0.0"]
    assert core.reply(first, add="one") == ["add one", "job 0 gets result 0: 0.0", "a runs 0.1"]
    assert core.reply(first, add="one") == []


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
    core.handle(TaskEnded("a", TaskReply(spec.task_id, TaskFailure("raised", "no"), None, b"", stored, {})))
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
def test_cancelled_job_kills_its_tasks() -> None:
    core = Core("a b")
    core.submit(source(3))
    assert core.cancel(job_id=0) == ["a kills 0.0", "b kills 0.1", "job 0 cancelled: not wanted"]


def test_cancelled_job_kills_its_map_tasks() -> None:
    core = Core("a")
    core.submit(shuffled(source(2), 1))
    assert core.cancel(job_id=0) == ["a kills 0.0", "job 0 cancelled: not wanted"]


def test_cancelling_a_group_leaves_the_others() -> None:
    core = Core("a*3")
    core.submit(source(1), jobGroup_id="nightly")
    core.submit(source(1), jobGroup_id="hourly")
    core.submit(source(1))
    assert core.cancel(group="nightly") == ["a kills 0.0", "job 0 cancelled: not wanted"]


def test_cancelling_all_spares_none() -> None:
    core = Core("a*2")
    core.submit(source(1), jobGroup_id="nightly")
    core.submit(source(1))
    assert core.cancel() == [
        "a kills 0.0",
        "job 0 cancelled: not wanted",
        "a kills 1.0",
        "job 1 cancelled: not wanted",
    ]


def test_cancelling_a_job_that_is_over_does_nothing() -> None:
    core = Core("a")
    core.submit(source(1))
    core.ended("0.0")
    assert core.cancel(job_id=0) == []


def test_cancelling_makes_room_for_the_next_job() -> None:
    core = Core("a")
    core.submit(source(1))
    core.submit(source(1))
    assert core.cancel(job_id=0) == ["a kills 0.0", "job 0 cancelled: not wanted", "a runs 1.0"]


# ------------------------------------------------------------------------------------------------ results and sums
def test_job_whose_results_are_too_large_together_fails() -> None:
    core = Core("a*3", result_bytes=10)
    core.submit(source(3))
    assert core.ended("0.0", value="x" * 10) == ["job 0 gets result 0: xxxxxxxxxx"]
    assert core.ended("0.1", value="y") == [
        "a kills 0.2",
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
        TaskEnded("a", TaskReply(spec.task_id, TaskFailure("raised", "no"), None, b"three", (), {}))
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
        StageChanged(0, "stage 0", attempt=0, tasks=1, active=1, completed=0, failed=0, over=False),
    ]
    core.now_ms = 2500
    spec = core.specs["0.0"]
    assert core.actions(TaskEnded("a", TaskReply(spec.task_id, None, b"v", b"", (), {"run_us": 7}))) == [
        CountMetrics(0, {"run_us": 7}),
        DeliverResult(0, 0, b"v"),
        StageChanged(0, "stage 0", attempt=0, tasks=1, active=0, completed=1, failed=0, over=True),
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
        Core().handle("hello")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL (signal 9)"),
        (-11, "was killed by SIGSEGV (signal 11)"),
        (-63, "was killed by a signal (signal 63)"),
    ],
)
def test_end_of_a_process_is_told_in_words(status: int, text: str) -> None:
    assert signal_text(status) == text
