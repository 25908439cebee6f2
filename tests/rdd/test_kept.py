"""Persisted and checkpointed RDDs: computed once, whatever becomes of their lineage."""

from __future__ import annotations

import gc
import os
import pathlib
from typing import Any

import pytest

from headwater import RDD, Accumulator, SparkContext, StorageLevel
from headwater.errors import IllegalStateException, UnsupportedOperationException


def counted(sc: SparkContext, partitions: int = 3) -> tuple[RDD[int], Accumulator[int]]:
    """The numbers below 9, and how many partitions of them were computed so far."""
    computed = sc.accumulator(0)

    def count(records: Any) -> Any:
        computed.add(1)
        return records

    return sc.parallelize(range(9), partitions).mapPartitions(count), computed


# ------------------------------------------------------------------------------------------------ persisted
@pytest.mark.parametrize(
    "level", ["MEMORY_ONLY", "DISK_ONLY", "MEMORY_AND_DISK_2", "OFF_HEAP", "MEMORY_AND_DISK_DESER"]
)
def test_a_persisted_rdd_is_computed_once(sc: SparkContext, level: str) -> None:
    rdd, computed = counted(sc)
    rdd.persist(getattr(StorageLevel, level))
    assert [rdd.sum() for _ in range(3)] == [36, 36, 36]
    assert rdd.map(lambda x: x + 1).collect() == list(range(1, 10))
    assert computed.value == 3
    assert rdd.is_cached
    assert rdd.getStorageLevel() == getattr(StorageLevel, level)


def test_an_rdd_that_is_not_persisted_is_computed_each_time(sc: SparkContext) -> None:
    rdd, computed = counted(sc)
    assert (rdd.sum(), rdd.sum()) == (36, 36)
    assert computed.value == 6
    assert not rdd.is_cached
    assert rdd.getStorageLevel() == StorageLevel.NONE


def test_unpersist_forgets_and_allows_another_level(sc: SparkContext) -> None:
    rdd, computed = counted(sc)
    assert rdd.cache() is rdd
    rdd.count()
    assert rdd.unpersist(blocking=True) is rdd
    assert not rdd.is_cached
    rdd.persist(StorageLevel.DISK_ONLY).count()
    assert computed.value == 6


def test_a_second_level_is_refused_and_the_same_one_is_not(sc: SparkContext) -> None:
    rdd = sc.parallelize([1]).cache()
    rdd.persist(StorageLevel.MEMORY_ONLY)
    with pytest.raises(
        UnsupportedOperationException, match="Cannot change storage level of an RDD after it was already"
    ):
        rdd.persist(StorageLevel.DISK_ONLY)


def test_a_part_of_a_persisted_rdd_is_kept_when_only_that_was_computed(sc: SparkContext) -> None:
    rdd, computed = counted(sc)
    rdd.cache()
    assert rdd.take(2) == [0, 1]
    assert computed.value == 1
    assert rdd.count() == 9
    assert computed.value == 3


# ------------------------------------------------------------------------------------------------ checkpointed
def test_a_checkpoint_is_made_by_the_next_action_and_cuts_the_lineage(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    sc.setCheckpointDir(str(tmp_path / "checkpoints"))
    rdd, computed = counted(sc)
    doubled = rdd.map(lambda x: (x % 2, 2 * x)).reduceByKey(max, 2)
    doubled.checkpoint()
    assert doubled.is_checkpointed
    assert not doubled.isCheckpointed()
    assert doubled.getCheckpointFile() is None
    expected = sorted(doubled.collect())
    after = computed.value

    assert expected == [(0, 16), (1, 14)]
    assert doubled.isCheckpointed()
    assert not doubled.isLocallyCheckpointed()
    assert sorted(doubled.map(lambda pair: pair).collect()) == expected
    assert computed.value == after
    assert doubled.shuffle is None
    assert doubled.parents == ()
    path = doubled.getCheckpointFile()
    assert path is not None
    assert path.startswith(f"file:{tmp_path}/checkpoints/")
    assert path.endswith(f"/rdd-{doubled.id()}")
    assert sorted(os.listdir(path.removeprefix("file:"))) == ["part-00000", "part-00001"]


def test_a_checkpoint_of_a_persisted_rdd_computes_nothing_again(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    sc.setCheckpointDir(str(tmp_path))
    rdd, computed = counted(sc)
    rdd.cache().checkpoint()
    assert rdd.count() == 9
    assert computed.value == 3


def test_a_parents_checkpoint_is_made_when_a_child_is_computed(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    sc.setCheckpointDir(str(tmp_path))
    rdd, computed = counted(sc)
    rdd.checkpoint()
    child = rdd.map(lambda x: (x, 1)).reduceByKey(max, 2).keys()
    assert sorted(child.collect()) == list(range(9))
    assert rdd.isCheckpointed()
    after = computed.value
    assert sorted(rdd.map(str).collect()) == sorted(map(str, range(9)))
    assert computed.value == after


def test_a_checkpoint_without_a_directory_is_refused(no_context: None) -> None:
    with SparkContext("local", "no directory") as sc:
        assert sc.getCheckpointDir() is None
        with pytest.raises(IllegalStateException, match="Checkpoint directory has not been set in the SparkContext"):
            sc.parallelize([1]).checkpoint()


def test_an_empty_rdd_can_be_checkpointed(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    sc.setCheckpointDir(str(tmp_path))
    for empty in (sc.emptyRDD(), sc.parallelize([], 2)):
        empty.checkpoint()
        assert empty.collect() == []
        assert empty.isCheckpointed()
        assert empty.count() == 0


def test_a_checkpoint_that_fails_is_the_actions_error_and_is_made_by_the_next(
    sc: SparkContext, tmp_path: pathlib.Path
) -> None:
    sc.setCheckpointDir(str(tmp_path / "dir"))
    rdd = sc.parallelize([1, 2], 1)
    rdd.checkpoint()
    directory = sc.getCheckpointDir()
    assert directory is not None
    here = pathlib.Path(directory.removeprefix("file:"))
    here.rmdir()
    here.write_text("in the way")
    with pytest.raises(OSError):
        rdd.count()
    here.unlink()
    assert rdd.count() == 2
    assert rdd.isCheckpointed()


def test_a_local_checkpoint_keeps_blocks_instead_of_lineage(sc: SparkContext) -> None:
    rdd, computed = counted(sc)
    rdd.localCheckpoint()
    assert rdd.isLocallyCheckpointed()
    assert rdd.take(1) == [0]  # only one partition was needed, but all are kept
    assert rdd.isCheckpointed()
    assert rdd.parents == ()
    assert computed.value == 3
    assert rdd.map(lambda x: x).collect() == list(range(9))
    assert computed.value == 3
    assert rdd.getCheckpointFile() is None


# ------------------------------------------------------------------------------------------------ lineage
def test_a_debug_string_shows_stages(sc: SparkContext) -> None:
    rdd = sc.parallelize([(1, 1)], 3).setName("numbers").filter(bool).reduceByKey(max, 2).mapValues(str).cache()
    lines = rdd.toDebugString().decode().splitlines()
    numbers = [line.rpartition("[")[0] for line in lines]
    assert lines[0].startswith(f"(2) mapValues[{rdd.id()}] [Memory Serialized")
    assert [n.strip() for n in numbers[1:]] == ["|  ShuffleRead", "+-(3) filter", "|  numbers Slice"]


def test_a_deep_lineage_is_no_problem(sc: SparkContext) -> None:
    rdd = sc.parallelize([0], 1)
    for _ in range(2000):
        rdd = rdd.map(lambda x: x + 1)
    assert rdd.collect() == [2000]
    assert len(rdd.toDebugString().splitlines()) == 2001


def test_rdd_has_an_id_a_name_and_its_context(sc: SparkContext) -> None:
    one, other = sc.parallelize([1]), sc.parallelize([1])
    assert one.id() != other.id()
    assert one.name() is None
    assert one.setName("ones").name() == "ones"
    assert "ones" in repr(one)
    assert one.context is one.ctx is sc


def test_blocks_of_a_persisted_rdd_go_with_it(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(9), 3).cache()
    rdd.count()
    number = rdd.id()
    assert len(sc.application.cached_partitions(number)) == 3
    del rdd
    gc.collect()
    assert sc.application.cached_partitions(number) == {}
