"""A task computes its partition; it knows its context, its program and its accumulators."""

from __future__ import annotations

from typing import Any

import pytest

from headwater import accumulators
from headwater.base.pickling import dump_records, loads
from headwater.engine.blocks import text_block
from headwater.engine.events import FailureKind, TaskSpec
from headwater.engine.lineage import (
    Action,
    BlockRef,
    Cartesian,
    Coalesce,
    Dataset,
    PerPartition,
    StoredBlocks,
    Together,
    Union,
)
from headwater.engine.stages import Stage
from headwater.engine.task import Programs, TaskRunner, current
from headwater.errors import BlockLost
from headwater.taskcontext import TaskContext
from tests.engine.tasks import COLLECT, Surroundings, boom, ids, mapped, result, run, source, step


def test_task_gives_the_actions_result_on_its_partition(around: Surroundings) -> None:
    assert result(around, mapped(source([1], [2, 3]), lambda r: r * 10), partition=1) == [20, 30]


def test_task_passes_its_partition_to_the_action(around: Surroundings) -> None:
    action = Action(lambda partition, records: (partition, sum(records)))
    assert loads(run(around, source([1], [2, 3]), action, partition=1).value) == (1, 5)


@pytest.mark.parametrize(
    ("dataset", "partition", "records"),
    [
        (Dataset(0, Union((1, 2)), (source([1]), source([2], [3])), 3), 2, [3]),
        (Dataset(0, Coalesce(((2, 0), (1,))), (source([1], [2], [3]),), 2), 0, [3, 1]),
        (Dataset(0, Cartesian(2), (source([1, 2], [3]), source([4], [5, 6])), 4), 1, [(1, 5), (1, 6), (2, 5), (2, 6)]),
        (
            Dataset(0, Together(2, lambda p, sides: zip(*sides)), (source([1, 2]), source([3, 4])), 1),
            0,
            [(1, 3), (2, 4)],
        ),
        (Dataset(0, PerPartition(lambda p, records: [p, *records]), (source([1], [2]),), 2), 1, [1, 2]),
        (
            step(step(source([(1, 2)]), "mapValues", str), "flatMapValues", lambda v: [v, v + "!"]),
            0,
            [(1, "2"), (1, "2!")],
        ),
    ],
    ids=["union", "coalesce", "cartesian", "together", "perPartition", "perRecord"],
)
def test_task_computes_an_operator(around: Surroundings, dataset: Dataset, partition: int, records: list[Any]) -> None:
    assert result(around, dataset, partition=partition) == records


@pytest.mark.parametrize("operator", ["union", "perPartition"])
def test_task_computes_a_deep_lineage(around: Surroundings, operator: str) -> None:
    dataset = source([1])
    for _ in range(300):
        if operator == "union":
            dataset = Dataset(next(ids), Union((1,)), (dataset,), 1)
        else:
            dataset = Dataset(next(ids), PerPartition(lambda p, records: records), (dataset,), 1)
    assert result(around, dataset) == [1]


def test_task_reads_stored_blocks(around: Surroundings) -> None:
    around.there.write("input-0-1", text_block([b"one\ntwo\n"]), in_memory=True)
    blocks = Dataset(next(ids), StoredBlocks(), (), 1, payloads=[BlockRef("input-0-1", ("b",))])
    assert result(around, mapped(blocks, str.upper)) == ["ONE", "TWO"]


def test_task_whose_stored_block_is_gone_raises_block_lost(around: Surroundings) -> None:
    blocks = Dataset(next(ids), StoredBlocks(), (), 1, payloads=[BlockRef("input-0-1", ("b",))])
    failure = run(around, blocks).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (
        FailureKind.RAISED,
        "headwater.errors.BlockLost: could not compute partition 0: block input-0-1 not found",
    )
    assert isinstance(loads(failure.error), BlockLost)


def test_task_knows_its_context_while_it_runs(around: Surroundings) -> None:
    def see(_partition: int, _records: Any) -> Any:
        context, task = TaskContext.get(), current()
        assert context is not None
        assert task is not None
        return (
            context.stageId(),
            context.partitionId(),
            context.attemptNumber(),
            context.taskAttemptId(),
            context.getLocalProperty("k"),
            task.spec.task_id,
        )

    assert loads(run(around, source([], []), Action(see), partition=1).value) == (5, 1, 2, 7, "v", 7)
    assert TaskContext.get() is None
    assert current() is None


def test_task_measures_how_long_it_ran(around: Surroundings) -> None:
    assert run(around, source([])).metrics["run_us"] >= 0


def test_what_a_task_adds_is_in_its_reply(around: Surroundings) -> None:
    total = accumulators.create(0)

    def tally(record: int) -> int:
        total.add(record)
        return record

    assert loads(run(around, mapped(source([1, 2]), tally)).accumulators) == {total.aid: 3}
    assert total.value == 0


def test_what_a_failed_task_added_is_not_in_its_reply(around: Surroundings) -> None:
    total = accumulators.create(0)

    def tally(record: int) -> int:
        total.add(1)
        return boom(record)

    assert run(around, mapped(source([1, 0]), tally)).accumulators == b""
    assert run(around, source([1])).accumulators == b""
    total.add(5)
    assert total.value == 5


# ------------------------------------------------------------------------------------------------ programs
def test_programs_keeps_those_used_last() -> None:
    programs = Programs()
    for i in range(Programs.LIMIT):
        assert programs.use(str(i), i) == i
    assert programs.use("0", None) == 0
    programs.use("one more", 1)
    assert programs.knows("0")
    assert not programs.knows("1")


def test_programs_of_a_worker_and_its_executors_twin_agree() -> None:
    """The executor notes a name where the worker keeps a program: both forget the same."""
    worker, twin = Programs(), Programs()
    for i in range(1000):
        name = str(i * i % 97)
        known = twin.knows(name)
        twin.use(name, True)
        assert worker.use(name, None if known else f"program {name}") == f"program {name}"


def test_task_runs_a_program_that_came_with_an_earlier_task(around: Surroundings) -> None:
    runner = TaskRunner(around)
    stage = Stage(5, source([1]), COLLECT)
    shipped = stage.ship()
    spec = TaskSpec(7, 1, 5, 0, 0, shipped.name, {(0, 0): dump_records([1])}, {}, {}, {})
    assert loads(runner.run(spec, shipped.data).value) == [1]
    later = spec._replace(task_id=8, inputs={(0, 0): dump_records([2])})
    assert loads(runner.run(later, None).value) == [2]
