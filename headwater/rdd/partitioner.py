"""Which partition a key belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.base.hashing import portable_hash

__all__ = ["Partitioner"]


class Partitioner:
    """Puts a key into partition `partitionFunc(key) % numPartitions`.

    Two RDDs whose partitioners are equal have the same keys in the same partitions, and join without a shuffle.

    >>> Partitioner(4, int)("7"), Partitioner(4, int) == Partitioner(4, int), Partitioner(4, int) == Partitioner(5, int)
    (3, True, False)
    """

    __slots__ = ("numPartitions", "partitionFunc")

    def __init__(self, numPartitions: int, partitionFunc: Callable[[Any], int] = portable_hash) -> None:
        self.numPartitions = numPartitions
        self.partitionFunc = partitionFunc

    def __call__(self, k: Any) -> int:
        return self.partitionFunc(k) % self.numPartitions

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Partitioner)
            and self.numPartitions == other.numPartitions
            and self.partitionFunc == other.partitionFunc
        )

    def __hash__(self) -> int:
        return hash((self.numPartitions, self.partitionFunc))

    def __repr__(self) -> str:
        name = getattr(self.partitionFunc, "__name__", repr(self.partitionFunc))
        return f"Partitioner({self.numPartitions}, {name})"
