"""Storage levels: the constants that programs name, how they print and compare."""

from __future__ import annotations

import pickle

import pytest

from headwater.errors import IllegalArgumentException
from headwater.storagelevel import StorageLevel


@pytest.mark.parametrize(
    ("name", "disk", "memory", "off_heap", "deserialized", "replication"),
    [
        ("NONE", False, False, False, False, 1),
        ("DISK_ONLY", True, False, False, False, 1),
        ("DISK_ONLY_2", True, False, False, False, 2),
        ("DISK_ONLY_3", True, False, False, False, 3),
        ("MEMORY_ONLY", False, True, False, False, 1),
        ("MEMORY_ONLY_2", False, True, False, False, 2),
        ("MEMORY_AND_DISK", True, True, False, False, 1),
        ("MEMORY_AND_DISK_2", True, True, False, False, 2),
        ("MEMORY_AND_DISK_DESER", True, True, False, True, 1),
        ("OFF_HEAP", True, True, True, False, 1),
    ],
)
def test_level_constant_keeps_what_its_name_says(
    name: str, disk: bool, memory: bool, off_heap: bool, deserialized: bool, replication: int
) -> None:
    level = getattr(StorageLevel, name)
    assert (level.useDisk, level.useMemory, level.useOffHeap) == (disk, memory, off_heap)
    assert (level.deserialized, level.replication) == (deserialized, replication)


@pytest.mark.parametrize("name", ["MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_AND_DISK", "MEMORY_AND_DISK_2"])
def test_level_with_ser_is_the_level_without(name: str) -> None:
    serialized = name.replace("_2", "_SER_2") if name.endswith("_2") else f"{name}_SER"
    assert getattr(StorageLevel, serialized) is getattr(StorageLevel, name)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (StorageLevel.NONE, "Serialized 1x Replicated"),
        (StorageLevel.MEMORY_AND_DISK_2, "Disk Memory Serialized 2x Replicated"),
        (StorageLevel.OFF_HEAP, "Disk Memory OffHeap Serialized 1x Replicated"),
        (StorageLevel.MEMORY_AND_DISK_DESER, "Disk Memory Deserialized 1x Replicated"),
    ],
)
def test_level_prints_where_data_is_kept(level: StorageLevel, text: str) -> None:
    assert str(level) == text


def test_level_repr_is_its_construction() -> None:
    assert repr(StorageLevel.MEMORY_ONLY_2) == "StorageLevel(False, True, False, False, 2)"


def test_level_is_a_value() -> None:
    level = StorageLevel(False, True, False, False)
    assert level == StorageLevel.MEMORY_ONLY != StorageLevel.MEMORY_ONLY_2
    assert {level: 1}[pickle.loads(pickle.dumps(StorageLevel.MEMORY_ONLY))] == 1


@pytest.mark.parametrize("replication", [0, -1, 40])
def test_level_refuses_a_replication_out_of_bounds(replication: int) -> None:
    with pytest.raises(IllegalArgumentException, match=f"replication {replication} is not between 1 and 39"):
        StorageLevel(True, True, False, False, replication)
