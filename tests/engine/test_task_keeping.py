"""Partitions that tasks keep, and find again."""

from __future__ import annotations

import os

import pytest

from headwater.base.pickling import loads
from headwater.engine.blocks import Places, decode, encode_records
from headwater.engine.events import FailureKind, StoredBlock
from headwater.engine.lineage import (
    BlockRef,
    Dataset,
    PerPartition,
    PerRecord,
    Together,
)
from headwater.storagelevel import StorageLevel
from tests.engine.tasks import Surroundings, boom, ids, mapped, result, run, source


def kept(parent: Dataset, level: StorageLevel) -> Dataset:
    dataset = Dataset(77, PerRecord("map", lambda r: r + 1), (parent,), parent.num_partitions)
    dataset.storage_level = level
    return dataset


@pytest.mark.parametrize(
    ("level", "executors", "memory"),
    [
        (StorageLevel.MEMORY_ONLY, ("a",), True),
        (StorageLevel.MEMORY_AND_DISK, ("a",), True),
        (StorageLevel.DISK_ONLY, ("a",), False),
        (StorageLevel.MEMORY_ONLY_2, ("a", "b"), True),
        (StorageLevel.DISK_ONLY_2, ("a", "b"), False),
    ],
    ids=str,
)
def test_partition_is_kept_at_its_level(
    around: Surroundings, level: StorageLevel, executors: tuple[str, ...], memory: bool
) -> None:
    reply = run(around, mapped(kept(source([1], [2]), level), lambda r: -r), partition=1)
    assert loads(reply.value) == [-3]
    (stored,) = reply.stored
    assert stored == StoredBlock("rdd_77_1", stored.size, executors, memory, level.useDisk)
    for places in [around.here, around.there][: len(executors)]:
        block = places.read("rdd_77_1")
        assert block is not None
        assert list(decode(block)) == [3]
        assert len(block) == stored.size
        assert os.path.exists(os.path.join(places.memory if memory else places.disk, "rdd_77_1"))


def test_partition_is_kept_compressed_when_that_is_set(around: Surroundings) -> None:
    around.compress = True
    (stored,) = run(around, kept(source([0] * 10_000), StorageLevel.MEMORY_ONLY)).stored
    assert stored.size < 1000
    assert list(decode(around.here.read("rdd_77_0") or b"")) == [1] * 10_000


@pytest.mark.parametrize("where", ["here", "there"])
def test_kept_partition_is_read_and_not_computed(around: Surroundings, where: str) -> None:
    places: Places = getattr(around, where)
    places.write("rdd_77_0", [encode_records(["kept"])], in_memory=True)
    reply = run(around, kept(source([1]), StorageLevel.MEMORY_ONLY), cached={(1, 0): BlockRef("rdd_77_0", ("b",))})
    assert loads(reply.value) == ["kept"]
    assert reply.stored == ()


@pytest.mark.parametrize("in_memory", [True, False])
def test_partition_that_another_task_has_just_kept_here_is_read_and_reported_where_it_is(
    around: Surroundings, in_memory: bool
) -> None:
    around.here.write("rdd_77_0", [encode_records(["kept"])], in_memory=in_memory)
    reply = run(around, kept(source([1]), StorageLevel.MEMORY_AND_DISK))
    assert loads(reply.value) == ["kept"]
    assert [stored.in_memory for stored in reply.stored] == [in_memory]


def test_kept_partition_that_is_gone_is_reported(around: Surroundings) -> None:
    failure = run(
        around, kept(source([1]), StorageLevel.MEMORY_ONLY), cached={(1, 0): BlockRef("rdd_77_0", ("b",))}
    ).failure
    assert failure is not None
    assert (failure.kind, failure.block_id) == (FailureKind.CACHE, "rdd_77_0")


def test_partition_that_is_used_twice_is_computed_once(around: Surroundings) -> None:
    computed = Dataset(88, PerPartition(lambda p, records: [os.urandom(8)]), (source([1]),), 1)
    computed.storage_level = StorageLevel.MEMORY_ONLY
    both = Dataset(next(ids), Together(2, lambda p, sides: zip(*sides)), (computed, computed), 1)
    ((a, b),) = result(around, both)
    assert a == b


def test_partition_that_was_kept_before_the_task_failed_is_in_its_reply(around: Surroundings) -> None:
    reply = run(around, mapped(kept(source([-1]), StorageLevel.MEMORY_ONLY), boom))
    assert reply.failure is not None
    assert [stored.block_id for stored in reply.stored] == ["rdd_77_0"]
