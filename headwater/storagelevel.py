"""How copies of a partition or of received data are kept: on disk, in memory, serialized or not, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headwater.errors import IllegalArgumentException

__all__ = ["StorageLevel"]

REPLICATION_MAX = 39  # Spark's bound; a level that Spark refuses is refused here too


@dataclass(frozen=True, repr=False)
class StorageLevel:
    """Where a persisted RDD or a receiver's blocks are kept. Use the constants rather than the constructor.

    Args:
        useDisk: may be kept on disk.
        useMemory: may be kept in memory; with `useDisk`, what doesn't fit goes to disk.
        useOffHeap: outside the Python heap. Here all serialized blocks are, so it changes nothing.
        deserialized: as live Python objects rather than as pickled bytes.
        replication: on how many executors, 1 to 39.

    `MEMORY_ONLY_SER` and its like are the same levels as those without `_SER`: records are kept pickled in any case.

    Raises:
        IllegalArgumentException: `replication` is out of bounds.

    >>> StorageLevel.MEMORY_AND_DISK_2
    StorageLevel(True, True, False, False, 2)
    >>> print(StorageLevel.MEMORY_AND_DISK_2)
    Disk Memory Serialized 2x Replicated
    >>> StorageLevel.MEMORY_ONLY_SER is StorageLevel.MEMORY_ONLY
    True
    """

    useDisk: bool
    useMemory: bool
    useOffHeap: bool
    deserialized: bool
    replication: int = 1

    NONE: ClassVar[StorageLevel]
    DISK_ONLY: ClassVar[StorageLevel]
    DISK_ONLY_2: ClassVar[StorageLevel]
    DISK_ONLY_3: ClassVar[StorageLevel]
    MEMORY_ONLY: ClassVar[StorageLevel]
    MEMORY_ONLY_2: ClassVar[StorageLevel]
    MEMORY_ONLY_SER: ClassVar[StorageLevel]
    MEMORY_ONLY_SER_2: ClassVar[StorageLevel]
    MEMORY_AND_DISK: ClassVar[StorageLevel]
    MEMORY_AND_DISK_2: ClassVar[StorageLevel]
    MEMORY_AND_DISK_SER: ClassVar[StorageLevel]
    MEMORY_AND_DISK_SER_2: ClassVar[StorageLevel]
    MEMORY_AND_DISK_DESER: ClassVar[StorageLevel]
    OFF_HEAP: ClassVar[StorageLevel]

    def __post_init__(self) -> None:
        if not 1 <= self.replication <= REPLICATION_MAX:
            raise IllegalArgumentException(
                f"StorageLevel: replication {self.replication!r} is not between 1 and {REPLICATION_MAX}."
            )

    def __repr__(self) -> str:
        flags = (self.useDisk, self.useMemory, self.useOffHeap, self.deserialized, self.replication)
        return f"StorageLevel({', '.join(map(str, flags))})"

    def __str__(self) -> str:
        places = [("Disk", self.useDisk), ("Memory", self.useMemory), ("OffHeap", self.useOffHeap)]
        words = [word for word, used in places if used]
        words.append("Deserialized" if self.deserialized else "Serialized")
        return f"{' '.join(words)} {self.replication}x Replicated"


StorageLevel.NONE = StorageLevel(False, False, False, False)
StorageLevel.DISK_ONLY = StorageLevel(True, False, False, False)
StorageLevel.DISK_ONLY_2 = StorageLevel(True, False, False, False, 2)
StorageLevel.DISK_ONLY_3 = StorageLevel(True, False, False, False, 3)
StorageLevel.MEMORY_ONLY = StorageLevel(False, True, False, False)
StorageLevel.MEMORY_ONLY_2 = StorageLevel(False, True, False, False, 2)
StorageLevel.MEMORY_AND_DISK = StorageLevel(True, True, False, False)
StorageLevel.MEMORY_AND_DISK_2 = StorageLevel(True, True, False, False, 2)
StorageLevel.MEMORY_AND_DISK_DESER = StorageLevel(True, True, False, True)
StorageLevel.OFF_HEAP = StorageLevel(True, True, True, False)
StorageLevel.MEMORY_ONLY_SER = StorageLevel.MEMORY_ONLY
StorageLevel.MEMORY_ONLY_SER_2 = StorageLevel.MEMORY_ONLY_2
StorageLevel.MEMORY_AND_DISK_SER = StorageLevel.MEMORY_AND_DISK
StorageLevel.MEMORY_AND_DISK_SER_2 = StorageLevel.MEMORY_AND_DISK_2
