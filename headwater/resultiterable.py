"""The values of one key, as groupByKey and cogroup give them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

__all__ = ["ResultIterable"]

T = TypeVar("T")


class ResultIterable(Generic[T]):
    """A view of a key's values: it can be iterated again and again, and has a length, but isn't a list.

    Args:
        data: the values, in any collection with a length.

    >>> values = ResultIterable([3, 1, 2])
    >>> len(values), sorted(values), list(values)
    (3, [1, 2, 3], [3, 1, 2])
    """

    __slots__ = ("data",)

    def __init__(self, data: Collection[T]) -> None:
        self.data = data

    @property
    def maxindex(self) -> int:
        """The number of values, under the name that PySpark has for it."""
        return len(self.data)

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)
