"""What one task or block costs does not grow with the number of the others.

Cost is counted in bytecode instructions, four times as many things must not make it half as much again for each.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from headwater.engine.blocks import BlockStore, Places
from headwater.engine.events import (
    BlocksDropped,
    ExecutorLeft,
    ForgetDataset,
    Launch,
    MapOutput,
    MapSegment,
    StoredBlock,
    TaskEnded,
    TaskReply,
    TaskSpec,
)
from headwater.engine.lineage import Dataset, Union
from tests.engine.cores import (
    Core,
    cached,
    ids_from_zero,  # noqa: F401
    mapped,
    received,
    shuffled,
    source,
)

FEW = 150


def instructions(work: Callable[[], Any]) -> int:
    """How many bytecode instructions this takes."""
    counted = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted


def assert_linear(work: Callable[[int], Any]) -> None:
    few = instructions(lambda: work(FEW)) / FEW
    many = instructions(lambda: work(4 * FEW)) / (4 * FEW)
    assert many < 1.5 * few


class Machines:
    """Executors that run what the scheduler launches, one task after the other."""

    def __init__(self, executors: str) -> None:
        self.core = Core(executors)
        self.running: deque[tuple[str, TaskSpec]] = deque()

    def happens(self, event: Any) -> None:
        for action in self.core.scheduler.handle(event, self.core.now_ms):
            if isinstance(action, Launch):
                self.running += [(action.executor_id, spec) for spec in action.tasks]

    def run(self, dataset: Dataset, then: Callable[[str, TaskSpec], Any] = lambda *_: None) -> None:
        """A job, from its first task to its last."""
        self.happens(self.core.job(dataset))
        while self.running:
            executor, spec = self.running.popleft()
            self.happens(TaskEnded(executor, self.reply(executor, spec)))
            then(executor, spec)

    def reply(self, executor: str, spec: TaskSpec) -> TaskReply:
        value: Any = b""
        if spec.shuffle_id >= 0:
            block = f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_0"
            value = MapOutput(((MapSegment(None, block, 0, 1),),), ((block, 1),))
        blocks = [f"rdd_{caching.dataset_id}_{spec.partition}" for caching in spec.caching.values()]
        stored = tuple(StoredBlock(block, 1, (executor,), True, False) for block in blocks)
        return TaskReply(spec.task_id, None, value, b"", stored, {})


def tasks(n: int) -> None:
    Machines("a*2 b").run(source(n))


def cached_partitions_made_and_read(n: int) -> None:
    machines, dataset = Machines("a*2 b"), cached(source(n))
    machines.run(dataset)
    machines.run(mapped(dataset))


def cached_partitions_that_push_each_other_out(n: int) -> None:
    machines = Machines("a*2 b")

    def evict(executor: str, spec: TaskSpec) -> None:
        machines.happens(BlocksDropped(executor, (f"rdd_1_{spec.partition - 1}",)))

    machines.run(cached(source(n)), evict)


def map_tasks(n: int) -> None:
    Machines("a*2 b").run(shuffled(source(n), 1))


def tasks_that_wait_for_a_busy_executor_while_another_is_idle(n: int) -> None:
    Machines("a b").run(received(*[("b",)] * n))


def executor_lost_with_all_it_has_made(n: int) -> None:
    machines, dataset = Machines("a"), cached(shuffled(source(n), n))
    machines.run(shuffled(source(n), 1))
    machines.core.join("b")
    machines.happens(ExecutorLeft("a", "it fell over"))
    machines.running.clear()
    machines.happens(machines.core.job(dataset, partitions=[0]))


def datasets_cached_and_forgotten(n: int) -> None:
    machines, datasets = Machines("a"), [cached(source(1)) for _ in range(n)]
    for dataset in datasets:
        machines.run(dataset)
    for dataset in datasets:
        machines.happens(ForgetDataset(dataset.dataset_id))


def jobs_at_once(n: int) -> None:
    machines = Machines("a*2")
    for _ in range(n - 1):
        machines.happens(machines.core.job(source(2)))
    machines.run(source(2))


def parts_of_a_union(n: int) -> None:
    parts = [source(1) for _ in range(n)]
    union = Dataset(10_000, Union((1,) * n), parts, n)
    Machines("a").run(union)


@pytest.mark.parametrize(
    "work",
    [
        tasks,
        cached_partitions_made_and_read,
        cached_partitions_that_push_each_other_out,
        map_tasks,
        tasks_that_wait_for_a_busy_executor_while_another_is_idle,
        executor_lost_with_all_it_has_made,
        datasets_cached_and_forgotten,
        jobs_at_once,
        parts_of_a_union,
    ],
    ids=lambda work: work.__name__,
)
def test_scheduling_costs_the_same_for_each_of(work: Callable[[int], Any]) -> None:
    assert_linear(work)


def test_blocks_leave_a_full_memory_for_the_disk_at_the_same_cost_each(tmp_path: Path) -> None:
    def fill(n: int) -> None:
        store = BlockStore(Places(str(tmp_path / f"memory{n}"), str(tmp_path / f"disk{n}")), 100)
        for i in range(n):
            store.put(f"rdd_1_{i}", [b"ten bytes."], use_memory=True, use_disk=True, evictable=True)

    assert_linear(fill)


def test_datasets_are_removed_from_a_store_at_the_same_cost_each(tmp_path: Path) -> None:
    def remove_all(n: int) -> None:
        store = BlockStore(Places(str(tmp_path / f"memory{n}"), str(tmp_path / f"disk{n}")), 1 << 20)
        for i in range(n):
            store.put(f"rdd_{i}_0", [b"ten bytes."], use_memory=True, use_disk=True, evictable=True)
        for i in range(n):
            store.remove_prefix(f"rdd_{i}_")

    assert_linear(remove_all)
