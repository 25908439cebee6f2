"""Merging and sorting of more records than memory holds, on local disk, inside one task.

- A holder of records asks the budget from time to time; when it is full, they go to spill files and are forgotten.
- A spill file is a list of frames: a length of eight bytes, then a batch of pickled records, which may be encrypted.
  It is read once.
- A key's combiners are merged in the order in which they came, so a grouped list keeps its order.
- Results stream: no more than one batch of each run, or one bucket, is in memory at a time.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, count, islice
from typing import Any, BinaryIO, Generic, TypeVar

from headwater.base.cipher import KeySource, cipher_of, unsealed
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, load_records
from headwater.errors import SparkException

K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C")
R = TypeVar("R")

_BUCKETS = 32
_BUCKET_BITS = 5
_DEPTH_MAX = 4  # 32**4 buckets: what is left then is a single key, or keys of one hash
_RUNS_MAX = 64  # runs merged at once: a batch of each is in memory
_FRAME_BYTES = 128 * 1024  # aimed at, so that 64 batches stay small beside any sensible budget
_BATCH_MAX = 4096
_ASK_MIN, _ASK_MAX = 64, 4096  # records between two questions to the budget
_COUNT_MIN = 1000  # spilling fewer records frees nothing and costs 32 files
_TOLERANCE_MIN = 16 * 1024 * 1024
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 / golden ratio
_MASK = 2**64 - 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_LENGTH = struct.Struct("<Q")
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def private_memory() -> int:
    """Bytes of resident memory that belong to this process alone; its peak where the system doesn't tell."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            _size, resident, shared = statm.read().split()[:3]
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (int(resident) - int(shared)) * _PAGE_BYTES


class MemoryBudget:
    """The private memory, in bytes, that this process may use.

    The allocator doesn't give freed memory back at once, so after the first fill memory stays high though the records
    are gone. From then on the count of records at that fill is the measure, and memory where it grows further.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tolerance = max(limit // 8, _TOLERANCE_MIN)
        self._ceiling = limit  # above it we are full whatever the count; it rises with each fill that it brings about
        self._count_when_full: int | None = None  # records held at the first fill, or at a smaller one since

    def full(self, count: int) -> bool:
        """Must the `count` records that are held be spilled now? Costs some microseconds: ask every few hundred."""
        memory = private_memory()
        if memory <= self._limit:
            return False
        if memory > self._ceiling:
            self._ceiling = memory + self._tolerance
            smallest = count if self._count_when_full is None else min(count, self._count_when_full)
            self._count_when_full = max(smallest, _COUNT_MIN)
            return True
        return self._count_when_full is not None and count >= self._count_when_full


def _open_for_append(path: str) -> BinaryIO:
    return open(path, "ab")


class SpillDirectory:
    """The spill files of one task. The directory is made with the first of them and goes, with all, at `close()`."""

    def __init__(
        self,
        path: str,
        *,
        key: KeySource | None = None,
        open_file: Callable[[str], BinaryIO] = _open_for_append,
    ) -> None:
        self.path = path
        self.key = key  # by which the frames are encrypted; None: they aren't
        self.spilled_bytes = 0
        self._open_file = open_file
        self._created = 0

    def create(self) -> SpillFile:
        """A new, empty file."""
        if not self._created:
            os.makedirs(self.path, exist_ok=True)
        self._created += 1
        return SpillFile(self, os.path.join(self.path, f"{self._created:06d}.spill"))

    def append(self, path: str, frames: Iterable[bytes]) -> None:
        """Write frames to the end of a file.

        Raises:
            SparkException: the disk is full. The file is gone then.
        """
        file: BinaryIO | None = None
        try:
            file = self._open_file(path)
            for frame in frames:
                file.write(_LENGTH.pack(len(frame)))
                file.write(frame)
                self.spilled_bytes += _LENGTH.size + len(frame)
            file.close()
        except OSError as error:
            if file is not None:
                with suppress(OSError):  # close() tries to write what is left in the buffer once more
                    file.close()
            with suppress(FileNotFoundError):
                os.unlink(path)
            if error.errno not in _DISK_FULL:
                raise
            raise SparkException(
                f"no space left on {self.path} while spilling ({self.spilled_bytes} bytes spilled so far);"
                " set spark.local.dir to a larger disk or give workers more spark.python.worker.memory"
            ) from error

    def close(self) -> None:
        """Remove the directory with all that is in it."""
        if self._created:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.path)
        self._created = 0

    def __enter__(self) -> SpillDirectory:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class SpillFile:
    """Records on disk, in the order in which they were written."""

    def __init__(self, directory: SpillDirectory, path: str) -> None:
        self._directory = directory
        self._path = path
        self._batch_size = 1  # records in the next frame; follows their size
        self._written = 0  # frames

    def append(self, records: list[Any]) -> None:
        """Write records behind those that are there."""
        self._directory.append(self._path, self._frames(records))

    def batches(self) -> Iterator[list[Any]]:
        """The records, batch by batch. The file is removed once they have been read."""
        cipher = cipher_of(self._directory.key)
        with open(self._path, "rb") as file:
            for number in count():
                header = file.read(_LENGTH.size)
                if not header:
                    break
                frame = file.read(_LENGTH.unpack(header)[0])
                if cipher is not None:
                    frame = unsealed(cipher, frame, self._context(number), self._path)
                yield load_records(frame)
        os.unlink(self._path)

    def _context(self, number: int) -> str:
        """What a frame is encrypted for."""
        return f"{os.path.basename(self._path)}/{number}"

    def _frames(self, records: list[Any]) -> Iterator[bytes]:
        cipher = cipher_of(self._directory.key)
        start = 0
        while start < len(records):
            batch = records[start : start + self._batch_size]
            frame = dump_records(batch)
            start += len(batch)
            fitting = max(len(batch) * _FRAME_BYTES // len(frame), 1)
            self._batch_size = min(fitting, 8 * len(batch), _BATCH_MAX)  # a step at a time: the next may be larger
            yield frame if cipher is None else cipher.sealed(frame, self._context(self._written))
            self._written += 1


class Merger(Generic[K, V, C]):
    """Merges the combiners of each key, spilling by the key's hash where they outgrow the budget.

    Feed it by `merge_combiners` or `merge_values` as often as needed, then take `items()` once. `merge` may change and
    return its first argument.
    """

    def __init__(
        self,
        merge: Callable[[C, C], C],
        budget: MemoryBudget,
        spill: SpillDirectory,
        *,
        create: Callable[[V], C] | None = None,
        merge_value: Callable[[C, V], C] | None = None,
    ) -> None:
        self._merge = merge
        self._budget = budget
        self._spill = spill
        self._create = create
        self._merge_value = merge_value
        self._depth = 0
        self._combiners: dict[K, C] = {}  # all keys seen since the last spill, in first-seen order
        self._held = 0  # records merged since the last spill
        self._buckets: list[SpillFile | None] = []  # empty until the first spill; None where no key fell yet

    def merge_combiners(self, pairs: Iterable[tuple[K, C]]) -> None:
        """Merge combiners into those of their keys."""
        for some in self._portions(pairs):
            _merge_combiners(self._combiners, some, self._merge)

    def merge_values(self, pairs: Iterable[tuple[K, V]]) -> None:
        """Merge values into their keys' combiners. Needs `create` and `merge_value`."""
        assert self._create is not None and self._merge_value is not None
        for some in self._portions(pairs):
            _merge_values(self._combiners, some, self._create, self._merge_value)

    def items(self) -> Iterator[tuple[K, C]]:
        """Each key with its combiner; in first-seen order unless something was spilled. Ends the merger's life."""
        if not self._buckets:
            return iter(self._combiners.items())
        self._spill_combiners()
        return chain.from_iterable(self._bucket_items(bucket) for bucket in self._buckets if bucket is not None)

    def _portions(self, pairs: Iterable[R]) -> Iterator[Iterator[R]]:
        """The records in portions, each to be consumed at once; spills after one that fills the budget."""
        source = iter(pairs)
        for first in source:
            size = _records_until_asking(self._held)
            yield chain((first,), islice(source, size - 1))
            self._held += size
            if self._depth < _DEPTH_MAX and self._budget.full(self._held):
                self._spill_combiners()

    def _spill_combiners(self) -> None:
        self._buckets = self._buckets or [None] * _BUCKETS
        shift = 64 - _BUCKET_BITS * (self._depth + 1)  # each depth looks at bits of its own
        parts: list[list[tuple[K, C]]] = [[] for _ in range(_BUCKETS)]
        for item in self._combiners.items():
            parts[(portable_hash(item[0]) * _SPREAD & _MASK) >> shift & _BUCKETS - 1].append(item)
        for number, part in enumerate(parts):
            if part:
                bucket = self._buckets[number] = self._buckets[number] or self._spill.create()
                bucket.append(part)
                part.clear()
        self._combiners.clear()
        self._held = 0

    def _bucket_items(self, bucket: SpillFile) -> Iterator[tuple[K, C]]:
        merger: Merger[K, V, C] = Merger(self._merge, self._budget, self._spill)
        merger._depth = self._depth + 1
        merger.merge_combiners(chain.from_iterable(bucket.batches()))
        return merger.items()


def _records_until_asking(held: int) -> int:
    """Few at first, since a record may be large: memory outgrows the budget by a quarter at most before we see it."""
    return min(max(held // 4, _ASK_MIN), _ASK_MAX)


def _merge_combiners(acc: dict[K, C], pairs: Iterable[tuple[K, C]], merge: Callable[[C, C], C]) -> None:
    for key, combiner in pairs:
        try:
            merged = acc[key]
        except KeyError:
            acc[key] = combiner
        else:
            acc[key] = merge(merged, combiner)


def _merge_values(
    acc: dict[K, C], pairs: Iterable[tuple[K, V]], create: Callable[[V], C], merge_value: Callable[[C, V], C]
) -> None:
    for key, value in pairs:
        try:
            merged = acc[key]
        except KeyError:
            acc[key] = create(value)
        else:
            acc[key] = merge_value(merged, value)


def external_sort(
    records: Iterable[R], key: Callable[[R], Any] | None, reverse: bool, budget: MemoryBudget, spill: SpillDirectory
) -> Iterator[R]:
    """The records as `sorted(records, key=key, reverse=reverse)` orders them, stability included.

    Reads all records before it returns. The key is called up to three times a record.
    """
    runs: list[SpillFile] = []
    held: list[R] = []
    source = iter(records)
    while portion := list(islice(source, _records_until_asking(len(held)))):
        held += portion
        if budget.full(len(held)):
            held.sort(key=key, reverse=reverse)
            runs.append(spill.create())
            runs[-1].append(held)
            held.clear()
    held.sort(key=key, reverse=reverse)
    if not runs:
        return iter(held)
    order = _Order(key, reverse)
    while len(runs) >= _RUNS_MAX:
        runs = [_merge_to_file(runs[i : i + _RUNS_MAX], order, spill) for i in range(0, len(runs), _RUNS_MAX)]
    return chain.from_iterable(_merge_runs([*(run.batches() for run in runs), iter([held])], order))


def _merge_to_file(runs: list[SpillFile], order: _Order, spill: SpillDirectory) -> SpillFile:
    if len(runs) == 1:
        return runs[0]
    merged = spill.create()
    for batch in _merge_runs([run.batches() for run in runs], order):
        merged.append(batch)
    return merged


class _Order:
    """What sorting asks: like `list.sort`, it uses `<` and nothing else."""

    def __init__(self, key: Callable[[Any], Any] | None, reverse: bool) -> None:
        self.key = key
        self.reverse = reverse

    def before(self, one: Any, other: Any) -> bool:
        if self.key is not None:
            one, other = self.key(one), self.key(other)
        return bool(other < one if self.reverse else one < other)

    def cut(self, batch: list[Any], start: int, bound: Any, *, with_equals: bool) -> int:
        """The end of those records of a sorted batch that come before `bound`, or are equal to it if so asked."""
        low, high = start, len(batch)
        while low < high:
            middle = (low + high) // 2
            record = batch[middle]
            taken = not self.before(bound, record) if with_equals else self.before(record, bound)
            if taken:
                low = middle + 1
            else:
                high = middle
        return low


class _Head:
    """The batch of a run that is in memory, from the first record that wasn't taken yet."""

    __slots__ = ("batch", "batches", "start")

    def __init__(self, batches: Iterator[list[Any]]) -> None:
        self.batches = batches
        self.batch: list[Any] = []
        self.start = 0

    def refill(self) -> bool:
        """Have a record at hand; False at the end of the run."""
        while self.start == len(self.batch):
            batch = next(self.batches, None)
            if batch is None:
                return False
            self.batch, self.start = batch, 0
        return True

    def take(self, end: int) -> list[Any]:
        taken = self.batch[self.start : end]
        self.start = end
        return taken


def _merge_runs(runs: list[Iterator[list[Any]]], order: _Order) -> Iterator[list[Any]]:
    """Sorted runs into one, in batches; among equals, those of an earlier run come first.

    The run whose batch ends first bounds what may go out: the other runs can't bring anything before that record any
    more. `list.sort` then merges the presorted pieces, which is several times faster than a heap of records.
    """
    heads = [head for head in map(_Head, runs) if head.refill()]
    while heads:
        first = 0
        for number, head in enumerate(heads):
            if order.before(head.batch[-1], heads[first].batch[-1]):
                first = number
        bound = heads[first].batch[-1]
        merged: list[Any] = []
        for number, head in enumerate(heads):
            # A later run's equals wait: the bounding run may have more of them in its next batch.
            merged += head.take(order.cut(head.batch, head.start, bound, with_equals=number <= first))
        merged.sort(key=order.key, reverse=order.reverse)
        yield merged
        heads = [head for head in heads if head.refill()]
