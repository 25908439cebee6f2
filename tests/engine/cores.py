"""The scheduler's core alone, in words, and lineages for it that can't be computed.

A task is named `stage.partition`, with `#attempt` from the second attempt on. Shuffle stages are numbered before the
stage that reads them. What only reports progress (StageChanged and its like) is left out except in the tests on it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from headwater.engine.events import (
    AddAccumulators,
    CancelJobs,
    CountMetrics,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ExecutorSuspected,
    ExecutorTrusted,
    FailureKind,
    JobFailure,
    JobOver,
    JobStarted,
    KillTask,
    Launch,
    MapOutput,
    MapSegment,
    RemoveBlocks,
    SchedulerAction,
    SchedulerEvent,
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
from headwater.engine.scheduler import Limits, Scheduler
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

    def handle(self, event: SchedulerEvent | Woken) -> list[str]:
        return [self._text(action) for action in self.actions(event) if not isinstance(action, REPORTS)]

    def actions(self, event: SchedulerEvent | Woken) -> list[SchedulerAction | Wake]:
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

    def _text(self, action: SchedulerAction | Wake) -> str:
        match action:
            case Launch():
                return f"{action.executor_id} runs " + " ".join(self._names[spec.task_id] for spec in action.tasks)
            case KillTask():
                return f"{action.executor_id} kills {self._names[action.task_id]}"
            case DeliverResult():
                return f"job {action.job_id} gets result {action.position}: {action.value.decode()}"
            case EndJob(job_id, None):
                return f"job {job_id} succeeded"
            case EndJob(job_id, JobFailure() as failure):
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

    def suspect(self, executor: str) -> list[str]:
        return self.handle(ExecutorSuspected(executor))

    def trust(self, executor: str) -> list[str]:
        return self.handle(ExecutorTrusted(executor))

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
            return MapOutput(((MapSegment(b"x"),),) * partitions)
        block = f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_0"
        return MapOutput(tuple((MapSegment(None, block, p, 1),) for p in range(partitions)), ((block, partitions),))

    def failed(self, task: str, kind: str = "raised", text: str = "ValueError: no", **more: Any) -> list[str]:
        spec = self.specs[task]
        reply = TaskReply(spec.task_id, TaskFailure(FailureKind(kind), text, **more), None, b"", (), {})
        return self.handle(TaskEnded(self.at[spec.task_id], reply))

    def killed(self, task: str) -> list[str]:
        """A task that was to be killed has ended."""
        return self.failed(task, "killed", "its job is over")

    def fetch_failed(self, task: str, *, shuffle: int, map_partition: int) -> list[str]:
        """A reduce task didn't find a map output where it should be."""
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
