from __future__ import annotations

from typing import Any

import pytest

from headwater.engine.events import MapOutput, MapSegment
from headwater.engine.holdings import CachedPartitions, Inputs, MapOutputs
from headwater.engine.lineage import Action, BlockRef, Dataset, Operator
from headwater.engine.stages import Stage
from tests.engine.cores import (
    cached,
    ids_from_zero,  # noqa: F401
    joined,
    mapped,
    never,
    received,
    shuffled,
    source,
)

INLINE = MapOutput(((MapSegment(b"x"),), (MapSegment(b"y"),)))


def in_file(block: str) -> MapOutput:
    return MapOutput(((MapSegment(None, block, 0, 1),), (MapSegment(None, block, 1, 1),)), ((block, 2),))


# ------------------------------------------------------------------------------------------------ cached partitions
def held(size: int, **holders: str) -> CachedPartitions:
    """Dataset 7, of which executors hold partitions: `a="0 1"`."""
    cache = CachedPartitions()
    cache.expect(7, size)
    for executor, partitions in holders.items():
        for partition in partitions.split():
            cache.add(7, int(partition), [executor])
    cache.check()
    return cache


def test_dataset_is_whole_when_each_partition_is_held_by_an_executor() -> None:
    assert held(2, a="0", b="1").whole(7)
    assert not held(2, a="0", b="0").whole(7)
    assert not CachedPartitions().whole(7)


def test_partition_is_held_until_its_last_executor_drops_it() -> None:
    cache = held(1, a="0", b="0")
    cache.drop(7, 0, "a")
    assert cache.refs(7) == {0: BlockRef("rdd_7_0", ("b",))}
    cache.drop(7, 0, "b")
    cache.drop(7, 0, "b")
    cache.check()
    assert (cache.refs(7), list(cache.holders(7, 0))) == ({}, [])


def test_executor_that_leaves_holds_nothing() -> None:
    cache = held(3, a="0 1", b="1 2")
    cache.leave("a")
    cache.check()
    assert cache.refs(7) == {1: BlockRef("rdd_7_1", ("b",)), 2: BlockRef("rdd_7_2", ("b",))}


def test_dataset_turns_when_it_becomes_whole_or_ceases_to_be() -> None:
    cache = held(2, a="0")
    assert cache.turned() == set()
    cache.add(7, 1, ["a"])
    assert cache.turned() == {7}
    cache.add(7, 1, ["b"])
    assert cache.turned() == set()
    cache.lose(7, 1)
    assert cache.turned() == {7}
    cache.add(7, 1, ["a"])
    cache.turned()
    cache.forget(7)
    cache.check()
    assert cache.turned() == {7}
    assert not cache.whole(7)


# ------------------------------------------------------------------------------------------------ map outputs
def test_shuffle_is_complete_when_no_output_is_missing() -> None:
    outputs = MapOutputs()
    outputs.open(3, 2)
    outputs.put(3, 1, INLINE, "a")
    outputs.check()
    assert (outputs.complete(3), outputs.missing(3)) == (False, [0])
    outputs.put(3, 0, INLINE, "a")
    outputs.check()
    assert (outputs.complete(3), outputs.missing(3)) == (True, [])


def test_segments_in_a_file_say_where_it_is() -> None:
    outputs = MapOutputs()
    outputs.open(3, 2)
    outputs.put(3, 1, INLINE, "a")
    outputs.put(3, 0, in_file("f"), "b")
    assert outputs.segments(3, 1) == [MapSegment(None, "f", 1, 1, ("b",), 3, 0), MapSegment(b"y")]


def test_executor_takes_the_outputs_in_its_files_away() -> None:
    outputs = MapOutputs()
    outputs.open(3, 3)
    outputs.put(3, 0, in_file("f"), "a")
    outputs.put(3, 1, in_file("g"), "b")
    outputs.put(3, 2, INLINE, "a")
    assert outputs.leave("a") == [(3, 0)]
    assert outputs.leave("a") == []
    outputs.check()
    assert outputs.missing(3) == [0]


def test_output_is_lost_once_and_not_when_it_was_made_anew() -> None:
    outputs = MapOutputs()
    outputs.open(3, 1)
    outputs.put(3, 0, in_file("f"), "a")
    (old,) = outputs.segments(3, 0)
    assert outputs.lose(old)
    assert not outputs.lose(old)
    outputs.put(3, 0, in_file("g"), "a")
    assert not outputs.lose(old)
    outputs.check()
    assert outputs.complete(3)


@pytest.mark.parametrize(("output", "left_files"), [(INLINE, False), (in_file("f"), True)], ids=["inline", "in a file"])
def test_shuffle_that_is_forgotten_tells_whether_it_may_have_left_files(output: MapOutput, left_files: bool) -> None:
    outputs = MapOutputs()
    outputs.open(3, 1)
    outputs.put(3, 0, output, "a")
    outputs.leave("a")
    assert outputs.forget(3) is left_files
    outputs.check()
    assert not outputs.lose(MapSegment(None, "f", 0, 1, ("a",), 3, 0))


# ------------------------------------------------------------------------------------------------ what tasks read
def stage_of(dataset: Dataset) -> Stage:
    return Stage(0, dataset, Action(never))


def inputs_of(*shuffles: int) -> tuple[CachedPartitions, MapOutputs, Inputs]:
    """Books with shuffles of one map partition, none of which has been made."""
    cache, outputs = CachedPartitions(), MapOutputs()
    for shuffle_id in shuffles:
        outputs.open(shuffle_id, 1)
    return cache, outputs, Inputs(cache, outputs)


def test_stage_lacks_the_shuffles_that_are_not_complete_unless_a_whole_dataset_stands_before_them() -> None:
    cache, outputs, inputs = inputs_of(0, 1)
    kept = cached(shuffled(source(1), 2))
    stage = stage_of(joined(kept, shuffled(source(1), 2)))
    assert inputs.missing_shuffles(stage) == {0, 1}
    outputs.put(1, 0, INLINE, "a")
    assert inputs.missing_shuffles(stage) == {0}
    cache.expect(kept.dataset_id, 2)
    cache.add(kept.dataset_id, 0, ["a"])
    assert inputs.missing_shuffles(stage) == {0}
    cache.add(kept.dataset_id, 1, ["a"])
    assert inputs.missing_shuffles(stage) == set()


def test_task_reads_leaves_and_what_is_stored_but_nothing_behind_that() -> None:
    cache, outputs, inputs = inputs_of(0)
    kept = cached(source(2))
    stage = stage_of(joined(kept, shuffled(source(1), 2)))
    outputs.put(0, 0, INLINE, "a")
    at: dict[int, Any] = {node.dataset_id: i for i, node in enumerate(stage.nodes)}
    read, stored = inputs.of(stage, 1)
    assert sorted(read.values(), key=str) == [[MapSegment(b"y")], b""]
    assert stored == {}
    cache.add(kept.dataset_id, 1, ["b"])
    read, stored = inputs.of(stage, 1)
    assert list(read.values()) == [[MapSegment(b"y")]]
    assert stored == {(at[kept.dataset_id], 1): BlockRef(f"rdd_{kept.dataset_id}_1", ("b",))}


def test_holders_are_those_of_stored_partitions_and_of_blocks() -> None:
    cache, _, inputs = inputs_of()
    blocks, kept = received(("a",), ("b",)), cached(source(2))
    stage = stage_of(joined(mapped(blocks), kept))
    assert list(inputs.holders(stage, 1)) == ["b"]
    cache.add(kept.dataset_id, 1, ["c"])
    assert sorted(inputs.holders(stage, 1)) == ["b", "c"]


class Stateful(Operator):
    """Has live state in one worker's heap."""

    pinned = True


def test_task_is_pinned_to_the_partition_of_the_state_that_it_needs() -> None:
    cache, _, inputs = inputs_of()
    assert inputs.pin(stage_of(source(2)), 1) == -1
    state = Dataset(99, Stateful(), (source(2),), 2)
    stage = stage_of(mapped(state))
    assert inputs.pin(stage, 1) == 1
    kept = cached(state)
    stage = stage_of(kept)
    cache.add(kept.dataset_id, 1, ["a"])
    assert (inputs.pin(stage, 0), inputs.pin(stage, 1)) == (0, -1)
