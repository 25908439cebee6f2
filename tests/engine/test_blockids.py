"""The ids of blocks are those of docs/formats/block.md."""

from __future__ import annotations

import pytest

from headwater.engine import blockids


@pytest.mark.parametrize(
    ("block_id", "written"),
    [
        (blockids.received(0, time_ms=1500), "input-0-1500"),
        (blockids.cached(3, partition=17), "rdd_3_17"),
        (blockids.map_output_prefix(2, partition=0, task_id=5), "shuffle_2_0_5_"),
        (blockids.broadcast(7), "broadcast_7"),
    ],
)
def test_block_id_is_as_documented(block_id: str, written: str) -> None:
    assert block_id == written


def test_received_blocks_id_has_its_time() -> None:
    assert blockids.time_ms_of(blockids.received(4, time_ms=1500)) == 1500


def test_cached_partitions_id_has_its_dataset_and_partition() -> None:
    assert blockids.partition_of(blockids.cached(3, partition=17)) == (3, 17)


@pytest.mark.parametrize("dataset_id", [1, 10])
def test_prefix_of_a_dataset_begins_the_ids_of_its_partitions_alone(dataset_id: int) -> None:
    prefix = blockids.cached_prefix(dataset_id)
    ids = [blockids.cached(of, partition=0) for of in (1, 10, 11)]
    assert [i for i in ids if i.startswith(prefix)] == [blockids.cached(dataset_id, partition=0)]


def test_prefix_of_a_map_task_begins_with_that_of_its_shuffle() -> None:
    assert blockids.map_output_prefix(2, partition=0, task_id=5).startswith(blockids.shuffle_prefix(2))


@pytest.mark.parametrize(
    ("id_or_prefix", "family"),
    [
        ("rdd_3_17", "rdd_3_"),
        ("rdd_3_", "rdd_3_"),
        ("shuffle_2_0_5_0", "shuffle_2_"),
        ("shuffle_2_0_5_", "shuffle_2_"),
        ("broadcast_7", "broadcast_7_"),
    ],
)
def test_family_is_the_same_of_an_id_and_of_a_prefix(id_or_prefix: str, family: str) -> None:
    assert blockids.family(id_or_prefix) == family
