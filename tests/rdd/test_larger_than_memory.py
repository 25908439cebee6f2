"""Grouping, joining and sorting when the records outgrow a worker's memory: the same results, by way of the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.engine.external import MemoryBudget, SpillDirectory
from headwater.engine.lineage import Combiner
from headwater.rdd import grouping, sorting


class TaskWithoutMemory:
    """What the functions under test ask a task for; any memory is too much."""

    def __init__(self, path: Path) -> None:
        self.budget = MemoryBudget(0)
        self.spill = SpillDirectory(str(path / "spill"))


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskWithoutMemory]:
    task = TaskWithoutMemory(tmp_path)
    monkeypatch.setattr("headwater.engine.task.current", lambda: task)
    yield task
    task.spill.close()


LEFT = [(i % 3000, i) for i in range(9000)]
RIGHT = [(i % 4000 + 1500, -i) for i in range(10000)]


def by_key(pairs: list[tuple[int, int]]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def sides() -> list[Iterator[Any]]:
    return [iter(LEFT), iter(RIGHT)]


@pytest.mark.parametrize(
    ("join", "without_left", "without_right"),
    [
        (grouping.inner_join, (), ()),
        (grouping.left_join, (), (None,)),
        (grouping.right_join, (None,), ()),
        (grouping.full_join, (None,), (None,)),
    ],
)
def test_a_join_on_disk_is_that_in_memory(
    task: TaskWithoutMemory, join: Any, without_left: Any, without_right: Any
) -> None:
    left, right = by_key(LEFT), by_key(RIGHT)
    expected = [
        (key, (v, w))
        for key in {*left, *right}
        for v in left.get(key, without_left)
        for w in right.get(key, without_right)
    ]
    assert Counter(join(0, sides())) == Counter(expected)
    assert task.spill.spilled_bytes > 0


def test_a_cogroup_on_disk_keeps_the_order_of_values(task: TaskWithoutMemory) -> None:
    left, right = by_key(LEFT), by_key(RIGHT)
    found = {key: tuple(map(list, groups)) for key, groups in grouping.cogrouped(0, sides())}
    assert found == {key: (left.get(key, []), right.get(key, [])) for key in {*left, *right}}
    assert task.spill.spilled_bytes > 0


def test_sets_of_keys_on_disk_are_those_in_memory(task: TaskWithoutMemory) -> None:
    left, right = by_key(LEFT), by_key(RIGHT)
    assert Counter(grouping.without_keys_of_other(0, sides())) == Counter(p for p in LEFT if p[0] not in right)
    assert sorted(grouping.in_both(0, sides())) == sorted(set(left) & set(right))
    assert task.spill.spilled_bytes > 0


@pytest.mark.parametrize("create", [None, lambda value: [value]])
def test_combining_on_disk_gives_what_it_gives_in_memory(task: TaskWithoutMemory, create: Any) -> None:
    def extend(a: list[int], b: list[int]) -> list[int]:
        return a + b

    if create is None:
        aggregator, pairs = Combiner(None, extend, extend), iter([(k, [v]) for k, v in LEFT])
    else:
        aggregator, pairs = Combiner(create, lambda c, v: [*c, v], extend), iter(LEFT)
    assert dict(grouping.combined(aggregator, 0, pairs)) == by_key(LEFT)
    assert task.spill.spilled_bytes > 0


def test_sorting_on_disk_gives_what_it_gives_in_memory(task: TaskWithoutMemory) -> None:
    found = list(sorting.sorted_partition(lambda pair: pair[0], True, 0, iter(LEFT)))
    assert found == sorted(LEFT, key=lambda pair: pair[0], reverse=True)
    assert task.spill.spilled_bytes > 0
