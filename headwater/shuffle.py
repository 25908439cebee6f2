"""PySpark's Aggregator and ExternalMerger: combining pairs by key in less memory than they take, within one task.

The engine combines by itself wherever a key's values are reduced; this is for programs that do it by hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from headwater.engine.external import MemoryBudget, Merger, SpillDirectory

__all__ = ["Aggregator", "ExternalMerger", "SimpleAggregator"]


class Aggregator:
    """How the values of a key are combined.

    Args:
        createCombiner: makes a combiner of the first value.
        mergeValue: merges a value into a combiner.
        mergeCombiners: merges two combiners.
    """

    def __init__(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
    ) -> None:
        self.createCombiner = createCombiner
        self.mergeValue = mergeValue
        self.mergeCombiners = mergeCombiners


class SimpleAggregator(Aggregator):
    """An aggregator whose combiners are values, merged by one function."""

    def __init__(self, combiner: Callable[[Any, Any], Any]) -> None:
        super().__init__(lambda value: value, combiner, combiner)


class ExternalMerger:
    """Combines pairs by key, and spills to the system's temporary directory what outgrows the memory.

    Args:
        aggregator: how.
        memoryLimit: megabytes that the process may use.
        serializer, localdirs, scale, partitions, batch: accepted for PySpark's sake, and ignored.

    >>> merger = ExternalMerger(SimpleAggregator(lambda a, b: a + b))
    >>> merger.mergeValues([("a", 1), ("b", 2), ("a", 3)])
    >>> sorted(merger.items())
    [('a', 4), ('b', 2)]
    """

    def __init__(
        self,
        aggregator: Aggregator,
        memoryLimit: int = 512,
        serializer: object = None,
        localdirs: object = None,
        scale: int = 1,
        partitions: int = 59,
        batch: int = 1000,
    ) -> None:
        self.agg = aggregator
        self.memoryLimit = memoryLimit
        self._directory = tempfile.TemporaryDirectory(prefix="headwater-merge-")  # goes with the merger
        self._merger: Merger[Any, Any, Any] = Merger(
            aggregator.mergeCombiners,
            MemoryBudget(memoryLimit << 20),
            SpillDirectory(f"{self._directory.name}/spill"),
            create=aggregator.createCombiner,
            merge_value=aggregator.mergeValue,
        )

    def mergeValues(self, iterator: Iterable[tuple[Any, Any]]) -> None:
        """Combine pairs of a key and a value."""
        self._merger.merge_values(iterator)

    def mergeCombiners(self, iterator: Iterable[tuple[Any, Any]], limit: float | None = None) -> None:
        """Combine pairs of a key and a combiner."""
        self._merger.merge_combiners(iterator)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Each key with its combiner. Ends the merger's life."""
        return self._merger.items()
