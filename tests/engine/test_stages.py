from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from headwater.engine.lineage import (
    Action,
    BlockRef,
    Caching,
    Dataset,
    Deferred,
    PerPartition,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
    StoredBlocks,
    Together,
    Union,
)
from headwater.engine.stages import Job, Planner, Stage
from headwater.errors import SerializationError
from headwater.storagelevel import StorageLevel

ids = count()


def never(*_arguments: Any) -> Any:
    raise AssertionError("planning computes nothing")


def source(partitions: int = 2) -> Dataset:
    return Dataset(next(ids), Slice(), (), partitions, payloads=[b""] * partitions)


def mapped(parent: Dataset, function: Any = never) -> Dataset:
    return Dataset(next(ids), PerRecord("map", function), (parent,), parent.num_partitions)


def joined(*parents: Dataset) -> Dataset:
    return Dataset(next(ids), Together(len(parents), never), parents, parents[0].num_partitions)


def shuffled(parent: Dataset, partitions: int = 2) -> Dataset:
    shuffle = Shuffle(next(ids), parent, ShuffleWrite(partitions, never))
    return Dataset(next(ids), ShuffleRead(None), (), partitions, shuffle=shuffle)


def stage(dataset: Dataset) -> Stage:
    return Stage(0, dataset, Action(never))


def plan(dataset: Dataset, known: Mapping[int, object] | None = None, **properties: str) -> Job:
    planner = Planner(count(), known or {})
    return planner.plan(0, dataset, Action(never), range(dataset.num_partitions), properties, "collect at x.py:1")


# ------------------------------------------------------------------------------------------------ stages
def test_stage_holds_its_datasets_parents_first() -> None:
    a, b = source(), source()
    c = mapped(a)
    d = joined(c, b)
    assert stage(d).nodes == [a, c, b, d]


def test_stage_holds_a_dataset_once_that_is_reached_on_several_ways() -> None:
    a = source()
    b, c = mapped(a), mapped(a)
    d = joined(b, c, a)
    assert stage(d).nodes == [a, b, c, d]


def test_stage_ends_at_the_shuffles_that_it_reads() -> None:
    a = shuffled(mapped(source()))
    b = mapped(a)
    assert stage(b).nodes == [a, b]


def test_program_names_the_positions_of_parents() -> None:
    a, b = source(), source()
    program = pickle.loads(stage(joined(mapped(a), b, a)).ship().data)
    assert [parents for _, parents in program.nodes] == [(), (0,), (), (1, 2, 0)]
    assert isinstance(program.ending, Action)


def test_program_carries_no_data_of_the_driver() -> None:
    small, large = source(2), source(1000)
    assert stage(mapped(small)).ship().data == stage(mapped(large)).ship().data


def test_program_has_the_same_name_when_it_is_the_same() -> None:
    assert stage(mapped(source())).ship().name == stage(mapped(source())).ship().name
    assert stage(mapped(source())).ship().name != stage(mapped(mapped(source()))).ship().name


def test_program_is_pickled_once() -> None:
    one = stage(source())
    assert one.ship() is one.ship()


def test_program_of_the_next_job_sees_what_its_functions_captured_since() -> None:
    captured = [1]
    dataset = mapped(source(), lambda r: captured[0])
    before = plan(dataset).result.ship()
    captured[0] = 2
    after = plan(dataset).result.ship()
    assert before.name != after.name
    assert pickle.loads(after.data).nodes[1][0].function(None) == 2


def test_stage_knows_what_is_cached_as_it_was_when_it_was_planned() -> None:
    dataset = mapped(source())
    dataset.storage_level = StorageLevel.MEMORY_AND_DISK_2
    planned = stage(mapped(dataset))
    dataset.storage_level = None
    assert planned.caching == {1: Caching(dataset.dataset_id, use_disk=True, use_memory=True, replication=2)}


def test_stage_prefers_executors_only_when_it_reads_what_they_hold() -> None:
    received = Dataset(next(ids), StoredBlocks(), (), 1, payloads=[BlockRef("input-0-0", ("a",))])
    cached = mapped(source())
    cached.storage_level = StorageLevel.MEMORY_ONLY
    assert not stage(mapped(source())).may_prefer
    assert stage(mapped(received)).may_prefer
    assert stage(mapped(cached)).may_prefer


def test_union_finds_a_partition_in_its_parents() -> None:
    union = Union((2, 0, 3))
    assert [union.inputs(p) for p in range(5)] == [((0, 0),), ((0, 1),), ((2, 0),), ((2, 1),), ((2, 2),)]


# ------------------------------------------------------------------------------------------------ jobs
def test_job_without_a_shuffle_is_one_stage() -> None:
    job = plan(mapped(source()))
    assert job.stages == {}
    assert job.result.shuffle_id == -1


def test_job_has_a_stage_for_each_shuffle_behind_it() -> None:
    first = shuffled(source(3))
    second = shuffled(joined(first, shuffled(source())))
    job = plan(joined(second, first))
    assert len(job.stages) == 3
    assert {shuffle_id: written.shuffle_id for shuffle_id, written in job.stages.items()} == {i: i for i in job.stages}
    assert len({written.id for written in (*job.stages.values(), job.result)}) == 4
    assert first.shuffle is not None
    assert job.stages[first.shuffle.id].dataset is first.shuffle.parent


def test_job_reuses_the_stages_of_shuffles_that_are_known() -> None:
    known = shuffled(shuffled(source()))
    assert known.shuffle is not None
    job = plan(mapped(known), {known.shuffle.id: "a stage"})
    assert job.stages == {}


def test_job_belongs_to_the_group_of_its_properties() -> None:
    job = plan(source(), None, **{"spark.jobGroup.id": "nightly", "spark.job.description": "count them"})
    assert (job.group, job.description) == ("nightly", "count them")
    assert (plan(source()).group, plan(source()).description) == (None, "collect at x.py:1")


@pytest.mark.parametrize("grow", [mapped, joined, shuffled], ids=lambda grow: grow.__name__)
def test_lineage_of_thousands_is_planned(grow: Any) -> None:
    dataset = source()
    for _ in range(3000):
        dataset = grow(dataset)
    job = plan(dataset)
    assert len(job.stages) + sum(len(s.nodes) for s in (*job.stages.values(), job.result)) >= 3000


@pytest.mark.timeout(10)
def test_lineage_whose_ways_double_at_each_step_is_planned() -> None:
    dataset = source()
    for _ in range(60):
        dataset = joined(dataset, dataset)
    assert len(plan(dataset).result.nodes) == 61


class CutMeanwhile(Dataset):
    """A mapped dataset that another thread cuts after it was looked at that many times."""

    looks = 1 << 30

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in ("origin", "operator", "parents", "payloads", "shuffle"):
            self.looks -= 1
            if self.looks == 0:
                self.cut(Slice(), (), [b""] * 2)
        return value


@pytest.mark.parametrize("looks", range(1, 8))
def test_program_holds_together_when_a_lineage_is_cut_while_it_is_planned(looks: int) -> None:
    dataset = CutMeanwhile(next(ids), PerRecord("map", never), (source(),), 2)
    dataset.looks = looks
    recipe = stage(dataset).recipes[-1]
    if isinstance(recipe.operator, Slice):
        assert (recipe.parents, recipe.payloads) == ((), [b""] * 2)
    else:
        assert (recipe.parents, recipe.payloads) == ((0,), None)


def test_function_that_cannot_be_pickled_is_the_submitters_error() -> None:
    lock = threading.Lock()
    dataset = Dataset(next(ids), PerPartition(lambda i, records: [lock]), (source(),), 2)
    with pytest.raises(SerializationError, match="Could not serialize object: TypeError: .*lock"):
        plan(mapped(dataset))


def test_function_before_a_shuffle_that_cannot_be_pickled_is_the_submitters_error() -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="Could not serialize object: TypeError: .*lock"):
        plan(shuffled(mapped(source(), lambda r: lock)))


# ------------------------------------------------------------------------------------------------ deferred payloads
def deferred(make: Any, partitions: int = 2) -> Dataset:
    return Dataset(next(ids), Slice(), (), partitions, payloads=Deferred(make, partitions))


def test_deferred_payloads_are_made_once_by_the_thread_that_plans_the_first_job() -> None:
    made: list[int] = []

    def make() -> list[bytes]:
        made.append(threading.get_ident())
        return [b"a", b"b"]

    dataset = mapped(deferred(make))
    assert made == []
    for job in (plan(dataset), plan(dataset)):
        assert job.result.recipes[0].payloads == [b"a", b"b"]
    assert made == [threading.get_ident()]


def test_deferred_payloads_of_a_shuffles_stage_are_made_too() -> None:
    job = plan(shuffled(deferred(lambda: [b"a", b"b"])))
    (stage,) = job.stages.values()
    assert stage.recipes[0].payloads == [b"a", b"b"]


def test_what_making_payloads_raises_is_the_callers_and_they_are_tried_again() -> None:
    answers = iter([ValueError("no"), [b"a", b"b"]])

    def make() -> list[bytes]:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    dataset = deferred(make)
    with pytest.raises(ValueError, match="no"):
        plan(dataset)
    assert plan(dataset).result.recipes[0].payloads == [b"a", b"b"]
    assert len(Deferred(make, 5)) == 5
