"""What tasks have left behind for others to read, by the scheduler's books: map outputs and cached partitions.

- How much of a whole is there is counted, not looked for: each question below but `missing` and `leave` costs the same
  however many partitions there are.
- Both belong to the scheduler's core, which one thread at a time uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from headwater.engine import blockids
from headwater.engine.events import MapOutput, MapSegment
from headwater.engine.lineage import BlockRef
from headwater.engine.stages import Recipe, Stage


class CachedPartitions:
    """Which executors hold which partitions of stored datasets."""

    def __init__(self) -> None:
        self._holders: dict[int, dict[int, set[str]]] = {}  # dataset id -> partition -> executors; none is ever empty
        self._sizes: dict[int, int] = {}  # dataset id -> its number of partitions, of those that a stage caches
        self._turned: set[int] = set()  # datasets that have become whole, or ceased to be, since `turned`

    def expect(self, dataset_id: int, partitions: int) -> None:
        """A stage is about to store this dataset."""
        self._sizes[dataset_id] = partitions

    def add(self, dataset_id: int, partition: int, executor_ids: Collection[str]) -> None:
        """These executors hold a partition, too."""
        if not executor_ids:
            return
        was_whole = self.whole(dataset_id)
        self._holders.setdefault(dataset_id, {}).setdefault(partition, set()).update(executor_ids)
        if not was_whole and self.whole(dataset_id):
            self._turned.add(dataset_id)

    def holders(self, dataset_id: int, partition: int) -> Collection[str]:
        """The executors that hold a partition."""
        return self._holders.get(dataset_id, {}).get(partition, ())

    def whole(self, dataset_id: int) -> bool:
        """Whether each partition of the dataset is held by some executor."""
        size = self._sizes.get(dataset_id)
        return size is not None and len(self._holders.get(dataset_id, ())) == size

    def turned(self) -> set[int]:
        """The datasets that have become whole, or ceased to be, since this was last asked."""
        turned, self._turned = self._turned, set()
        return turned

    def drop(self, dataset_id: int, partition: int, executor_id: str) -> None:
        """An executor holds a partition no more."""
        holders = self._holders.get(dataset_id, {}).get(partition, set())
        holders.discard(executor_id)
        if not holders:
            self.lose(dataset_id, partition)

    def lose(self, dataset_id: int, partition: int) -> None:
        """No executor holds a partition any more."""
        was_whole = self.whole(dataset_id)
        partitions = self._holders.get(dataset_id, {})
        partitions.pop(partition, None)
        if not partitions:
            self._holders.pop(dataset_id, None)
        if was_whole and not self.whole(dataset_id):
            self._turned.add(dataset_id)

    def leave(self, executor_id: str) -> None:
        """An executor is gone with all that it held."""
        for dataset_id, partitions in list(self._holders.items()):
            for partition in [p for p, holders in partitions.items() if executor_id in holders]:
                self.drop(dataset_id, partition, executor_id)

    def forget(self, dataset_id: int) -> None:
        """No executor holds any partition of the dataset any more."""
        if self.whole(dataset_id):
            self._turned.add(dataset_id)
        self._holders.pop(dataset_id, None)
        self._sizes.pop(dataset_id, None)

    def ref(self, dataset_id: int, partition: int) -> BlockRef:
        """Where the block of a stored partition is."""
        locations = tuple(sorted(self.holders(dataset_id, partition)))
        return BlockRef(blockids.cached(dataset_id, partition=partition), locations)

    def refs(self, dataset_id: int) -> dict[int, BlockRef]:
        """The stored partitions of a dataset."""
        return {partition: self.ref(dataset_id, partition) for partition in self._holders.get(dataset_id, ())}

    def check(self) -> None:
        """Assert what must always be true."""
        for dataset_id, partitions in self._holders.items():
            assert partitions
            assert all(partitions.values())
            assert all(p < self._sizes.get(dataset_id, p + 1) for p in partitions)


class MapOutputs:
    """The outputs of shuffles' map partitions: inline, or in files of the executor that made them."""

    def __init__(self) -> None:
        self._outputs: dict[int, list[MapOutput | None]] = {}  # shuffle id -> by map partition
        self._missing: dict[int, int] = {}  # shuffle id -> how many of them are None
        self._at: dict[tuple[int, int], str] = {}  # (shuffle id, map partition) -> executor, if in a file
        self._in_files: set[int] = set()  # shuffles of which an output was, or still is, in a file

    def open(self, shuffle_id: int, partitions: int) -> None:
        """A new shuffle, which lacks all its outputs."""
        self._outputs[shuffle_id] = [None] * partitions
        self._missing[shuffle_id] = partitions

    def complete(self, shuffle_id: int) -> bool:
        """Whether all outputs of a shuffle are there."""
        return not self._missing[shuffle_id]

    def missing(self, shuffle_id: int) -> list[int]:
        """The map partitions whose output isn't there."""
        return [p for p, output in enumerate(self._outputs[shuffle_id]) if output is None]

    def put(self, shuffle_id: int, partition: int, output: MapOutput, executor_id: str) -> None:
        """A task has made an output that was missing."""
        if output.blocks:
            output = _located(output, executor_id, shuffle_id, partition)
            self._at[shuffle_id, partition] = executor_id
            self._in_files.add(shuffle_id)
        self._missing[shuffle_id] -= 1
        self._outputs[shuffle_id][partition] = output

    def segments(self, shuffle_id: int, partition: int) -> list[MapSegment]:
        """What a reduce partition reads, in the order of the map partitions."""
        outputs = self._outputs[shuffle_id]
        return [segment for output in outputs if output is not None for segment in output.parts[partition]]

    def lose(self, segment: MapSegment) -> bool:
        """A reduce task did not find a segment: its output is missing. False if it was, or has been made anew since."""
        outputs = self._outputs.get(segment.shuffle_id)
        output = outputs[segment.map_partition] if outputs is not None else None
        if output is None or all(block_id != segment.block_id for block_id, _ in output.blocks):
            return False
        self._drop(segment.shuffle_id, segment.map_partition)
        return True

    def leave(self, executor_id: str) -> list[tuple[int, int]]:
        """An executor is gone; returns the (shuffle id, map partition) of the outputs that are missing now."""
        lost = [key for key, holder in self._at.items() if holder == executor_id]
        for shuffle_id, partition in lost:
            self._drop(shuffle_id, partition)
        return lost

    def _drop(self, shuffle_id: int, partition: int) -> None:
        del self._at[shuffle_id, partition]
        self._outputs[shuffle_id][partition] = None
        self._missing[shuffle_id] += 1

    def forget(self, shuffle_id: int) -> bool:
        """No stage can read a shuffle any more; returns whether it may have left files."""
        for partition in range(len(self._outputs.pop(shuffle_id))):
            self._at.pop((shuffle_id, partition), None)
        del self._missing[shuffle_id]
        in_files = shuffle_id in self._in_files
        self._in_files.discard(shuffle_id)
        return in_files

    def check(self) -> None:
        """Assert what must always be true."""
        assert {s: len(self.missing(s)) for s in self._outputs} == self._missing
        in_files = {(s, p) for s, o in self._outputs.items() for p, output in enumerate(o) if output and output.blocks}
        assert in_files == self._at.keys()


class Inputs:
    """What tasks read, of what is held."""

    def __init__(self, cached: CachedPartitions, outputs: MapOutputs) -> None:
        self._cached = cached
        self._outputs = outputs

    def missing_shuffles(self, stage: Stage) -> set[int]:
        """The shuffles that a stage reads and that aren't complete; none behind a dataset that is wholly cached."""
        missing, seen, todo = set(), set(), [len(stage.recipes) - 1]
        while todo:
            i = todo.pop()
            caching = stage.caching.get(i)
            if i in seen or (caching is not None and self._cached.whole(caching.dataset_id)):
                continue
            seen.add(i)
            recipe = stage.recipes[i]
            todo.extend(recipe.parents)
            if recipe.shuffle is not None and not self._outputs.complete(recipe.shuffle.id):
                missing.add(recipe.shuffle.id)
        return missing

    def _reads(self, stage: Stage, partition: int) -> Iterator[tuple[int, int, Recipe, BlockRef | None]]:
        """All that a task comes by on its way to its inputs: (node, partition, recipe, where it is if it's stored).

        Behind what is stored it doesn't go.
        """
        seen: set[tuple[int, int]] = set()
        todo = [(len(stage.recipes) - 1, partition)]
        while todo:
            at = i, p = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            recipe, caching = stage.recipes[i], stage.caching.get(i)
            if caching is not None and self._cached.holders(caching.dataset_id, p):
                yield i, p, recipe, self._cached.ref(caching.dataset_id, p)
                continue
            yield i, p, recipe, None
            todo.extend((recipe.parents[j], q) for j, q in recipe.operator.inputs(p))

    def pin(self, stage: Stage, partition: int) -> int:
        """The partition of the first live state that a task needs, which is the same for all states; or -1."""
        if stage.pinned:
            for _, p, recipe, stored in self._reads(stage, partition):
                if stored is None and recipe.operator.pinned:
                    return p
        return -1

    def holders(self, stage: Stage, partition: int) -> Iterator[str]:
        """Executors that hold what a task reads: stored partitions met on the way, received blocks; some repeatedly."""
        for _, p, recipe, stored in self._reads(stage, partition):
            yield from stored.locations if stored is not None else recipe.preferred(p)

    def of(self, stage: Stage, partition: int) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
        """The payloads of all leaves that a partition is computed from, and the stored partitions it can start from."""
        inputs: dict[tuple[int, int], Any] = {}
        cached: dict[tuple[int, int], Any] = {}
        for i, p, recipe, stored in self._reads(stage, partition):
            if stored is not None:
                cached[i, p] = stored
            elif recipe.shuffle is not None:
                inputs[i, p] = self._outputs.segments(recipe.shuffle.id, p)
            elif recipe.payloads is not None:
                inputs[i, p] = recipe.payloads[p]
        return inputs, cached


def _located(output: MapOutput, executor_id: str, shuffle_id: int, partition: int) -> MapOutput:
    where = (executor_id,)
    parts = tuple(tuple(_segments(part, where, shuffle_id, partition)) for part in output.parts)
    return output._replace(parts=parts)


def _segments(
    part: Iterable[MapSegment], where: tuple[str, ...], shuffle_id: int, partition: int
) -> Iterable[MapSegment]:
    for segment in part:
        if segment.data is None:
            segment = segment._replace(location=where, shuffle_id=shuffle_id, map_partition=partition)
        yield segment
