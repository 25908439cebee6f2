"""How the files of a batch become its records, and what tasks tell of them: what they read, and what they could not.

- Tasks count the records that they read. Counts are kept by batch, file and split, so that an output that reads a
  file again, or a task that is tried again, doesn't count twice.
- A file is read whole or not at all: a compressed one is decompressed to its end before its first line is given. One
  that can't be read has no records, and the task tells the driver. Only a plain file of several splits may be read in
  part.
- What a task of the batch has read, or a driver before this one may have, must be there when it is read again: else
  the task fails. So records that an output has seen never vanish from a window unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, TypeVar

from headwater import filesystem
from headwater.accumulators import Accumulator, AccumulatorParam
from headwater.filesystem import FileStatus
from headwater.formats import textfiles
from headwater.streaming.decoding import count_undecodable
from headwater.streaming.listener import StreamInputInfo

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD

T = TypeVar("T")

# Records of a program's own reader that are read ahead to be counted.
COUNTED_AT_ONCE = 100
# Files over a network that are smaller than this share partitions, so that their reads overlap; each core has this
# many of those.
SMALL_BYTES = 1 << 20
PARTITIONS_A_CORE = 2
# Of why a file can't be read.
CAUSE_CHARACTERS_MAX = 500


# ------------------------------------------------------------------------------------------------ reports
class FileRead(NamedTuple):
    """What was read of one split: records, and how many of them were lines that are not UTF-8."""

    records: int
    undecodable: int = 0


# (file, start of the split) -> what was read of it so far, or (file, partition) of a reader's RDD
Counts = dict[tuple[str, int], FileRead]
# (file, start of the split) -> why it could not be read
Failures = dict[tuple[str, int], str]


class LargestByBatch(AccumulatorParam[dict[int, dict[Any, T]]]):
    """Values by batch time and key. A split that is read again reports the same: the larger of two is the truth."""

    def zero(self, value: dict[int, dict[Any, T]]) -> dict[int, dict[Any, T]]:
        return {}

    def addInPlace(self, value1: dict[int, dict[Any, T]], value2: dict[int, dict[Any, T]]) -> dict[int, dict[Any, T]]:
        for time_ms, reports in value2.items():
            merged: dict[Any, Any] = value1.setdefault(time_ms, {})
            for key, report in reports.items():
                merged[key] = max(merged.get(key, report), report)
        return value1


class Reports(NamedTuple):
    """What tasks tell of a stream's files, by batch time."""

    counts: Accumulator[dict[int, Counts]]
    failures: Accumulator[dict[int, Failures]]

    @classmethod
    def new(cls, sc: SparkContext) -> Reports:
        return cls(sc.accumulator({}, LargestByBatch()), sc.accumulator({}, LargestByBatch()))


@dataclass(frozen=True, slots=True)
class FileInputInfo(StreamInputInfo):
    """What a file stream brought into a batch. The counts grow while tasks read, and are complete with the batch."""

    counts: Mapping[tuple[str, int], FileRead] = field(default_factory=dict, compare=False)
    failures: Mapping[tuple[str, int], str] = field(default_factory=dict, compare=False)

    def numRecords(self) -> int:
        """Records that were read so far. What no output reads is not counted."""
        return sum(read.records for read in tuple(self.counts.values()))

    def metadata(self) -> dict[str, Any]:
        """`files`: their paths; `undecodableLines` and `unreadableFiles` if there were any; `Description`."""
        undecodable = sum(read.undecodable for read in tuple(self.counts.values()))
        unreadable = sorted({path for path, _ in tuple(self.failures)})
        return {
            **self._metadata,
            **({"undecodableLines": undecodable} if undecodable else {}),
            **({"unreadableFiles": unreadable} if unreadable else {}),
        }


# ------------------------------------------------------------------------------------------------ readers
class FileReader(Protocol):
    """How files become records."""

    def open(self, file: FileStatus, time_ms: int, *, must: bool) -> Any:
        """A file's share of a batch, for `unite`; called in the driver. It may fail without harm to other files.

        `must`: whether it's an error if tasks can't read it.
        """

    def unite(self, opened: Sequence[Any]) -> RDD[Any]:
        """The RDD of a batch, of one file at least."""

    def settle(self, rdd: RDD[Any], read: Collection[tuple[str, int]], left_out: Collection[str]) -> bool:
        """Have an RDD of `unite` read no more files that are left out, and insist on what was read.

        Args:
            rdd: the batch's.
            read: (file, start of the split) of what tasks have read.
            left_out: paths.

        Returns:
            Whether there is nothing left of which that isn't known.
        """


class BatchSplit(NamedTuple):
    """A split of a file, read for a batch. `must`: whether it's an error if it can't be read, as it was listed."""

    time_ms: int
    split: Any
    identity: int | str | None  # of the file
    must: bool

    @property
    def key(self) -> tuple[str, int]:
        """What it is called in reports."""
        return self.split.path, self.split.start


class SplitReader:
    """Files read by splits: one RDD whose partitions are the splits; small files over a network share some of them.

    Args:
        sc: makes the RDD.
        splits: the splits of a file; called in the driver.
        read: the records of a partition's splits; called in tasks, and the same for all batches.
    """

    def __init__(
        self,
        sc: SparkContext,
        splits: Callable[[FileStatus], Sequence[Any]],
        read: Callable[[list[BatchSplit]], Iterator[Any]],
    ) -> None:
        self._sc = sc
        self._splits = splits
        self._read = read

    def open(self, file: FileStatus, time_ms: int, *, must: bool) -> list[BatchSplit]:
        return [BatchSplit(time_ms, split, file.identity, must) for split in self._splits(file)]

    def unite(self, opened: Sequence[list[BatchSplit]]) -> RDD[Any]:
        from headwater.rdd import RDD
        from headwater.rdd.sources import Reading

        splits = [split for each in opened for split in each]
        payloads = _partitions(splits, PARTITIONS_A_CORE * self._sc.defaultParallelism)
        return RDD(self._sc, Reading(self._read), (), len(payloads), payloads=payloads)

    def settle(self, rdd: RDD[Any], read: Collection[tuple[str, int]], left_out: Collection[str]) -> bool:
        from headwater.rdd.sources import Reading

        operator, _, payloads, _ = rdd.origin
        if not isinstance(operator, Reading) or payloads is None:
            return True  # it is checkpointed, and reads no file any more
        settled = [
            [
                each._replace(must=each.must or each.key in read)
                for each in splits
                if each.must or each.split.path not in left_out
            ]
            for splits in payloads
        ]
        if settled != payloads:
            rdd.cut(operator, (), settled)
        return all(each.must for splits in settled for each in splits)


def _partitions(splits: list[BatchSplit], shared: int) -> list[list[BatchSplit]]:
    """A partition a split; those of small files over a network in `shared` partitions, or one more."""
    small = [each for each in splits if _is_small(each.split)]
    most = -(-len(small) // shared)
    groups: list[list[BatchSplit]] = []
    for each in splits:
        if not (groups and _is_small(each.split) and _is_small(groups[-1][0].split) and len(groups[-1]) < most):
            groups.append([])
        groups[-1].append(each)
    return groups


def _is_small(split: Any) -> bool:
    return split.length < SMALL_BYTES and not filesystem.is_local(split.path)


class ProgramReader:
    """Files read by a function of the program's own, `reader(sc, path) -> RDD`; what its tasks raise is the batch's."""

    def __init__(self, sc: SparkContext, reader: Callable[[SparkContext, str], RDD[Any]], reports: Reports) -> None:
        self._sc = sc
        self._reader = reader
        self._reports = reports

    def open(self, file: FileStatus, time_ms: int, *, must: bool) -> RDD[Any]:
        from headwater.rdd import RDD

        rdd = self._reader(self._sc, file.path)
        if not isinstance(rdd, RDD):
            raise TypeError(f"the function reader(sc, path) must return an RDD, not {type(rdd).__name__}")
        count = partial(_counted_records, self._reports, time_ms, file.path)
        return rdd.mapPartitionsWithIndex(count, preservesPartitioning=True)

    def unite(self, opened: Sequence[RDD[Any]]) -> RDD[Any]:
        return opened[0] if len(opened) == 1 else self._sc.union(list(opened))

    def settle(self, rdd: RDD[Any], read: Collection[tuple[str, int]], left_out: Collection[str]) -> bool:
        return True


def text_reader(sc: SparkContext, reports: Reports) -> FileReader:
    """Lines of text files, compressed or not."""
    return SplitReader(sc, lambda file: list(textfiles.text_splits_of(file)), partial(_read_text, reports))


def records_reader(sc: SparkContext, reports: Reports, record_length: int) -> FileReader:
    """Records of `record_length` bytes; a file that ends within a record can't be opened."""
    return SplitReader(
        sc, lambda file: textfiles.record_splits_of(file, record_length), partial(_read_records, reports)
    )


# ------------------------------------------------------------------------------------------------ in tasks
def _read_text(reports: Reports, splits: list[BatchSplit]) -> Iterator[str]:
    opened = _readable(reports, splits)
    return textfiles.lines_of(chain.from_iterable(_counted_pieces(reports, each, file) for each, file in opened))


def _read_records(reports: Reports, splits: list[BatchSplit]) -> Iterator[bytes]:
    return chain.from_iterable(
        _counted(reports, each.time_ms, each.key, textfiles.record_pieces(each.split, file))
        for each, file in _readable(reports, splits)
    )


def _readable(reports: Reports, splits: list[BatchSplit]) -> Iterator[tuple[BatchSplit, BinaryIO]]:
    """The splits that can be read, with their files; the driver is told of others, unless they must be there."""
    for each, opened in filesystem.open_ahead(splits, _open):
        if not isinstance(opened, Exception):
            yield each, opened
        elif each.must or isinstance(opened, MemoryError):
            raise opened
        else:
            cause = f"{type(opened).__name__}: {opened}"[:CAUSE_CHARACTERS_MAX]
            reports.failures.add({each.time_ms: {each.key: cause}})


def _open(each: BatchSplit) -> BinaryIO:
    if each.must:
        split = each.split
        if isinstance(split, textfiles.TextSplit):
            return textfiles.open_split(split)
        return filesystem.open_raw(split.path, split.file_size)
    return textfiles.open_sound(each.split, each.identity)


def _counted_pieces(reports: Reports, each: BatchSplit, file: BinaryIO) -> Iterator[bytes]:
    records = undecodable = 0
    reports.counts.add({each.time_ms: {each.key: FileRead(0)}})  # it could be read, even if it is empty
    for piece in textfiles.text_pieces(each.split, file):
        records += textfiles.count_lines(piece)
        undecodable += count_undecodable(piece)
        reports.counts.add({each.time_ms: {each.key: FileRead(records, undecodable)}})
        yield piece


def _counted_records(
    reports: Reports, time_ms: int, path: str, partition: int, records: Iterator[Any]
) -> Iterator[Any]:
    pieces = iter(lambda: list(islice(records, COUNTED_AT_ONCE)), [])
    return _counted(reports, time_ms, (path, partition), pieces)


def _counted(reports: Reports, time_ms: int, key: tuple[str, int], pieces: Iterator[list[Any]]) -> Iterator[Any]:
    def counted() -> Iterator[list[Any]]:
        records = 0
        reports.counts.add({time_ms: {key: FileRead(0)}})
        for piece in pieces:
            records += len(piece)
            reports.counts.add({time_ms: {key: FileRead(records)}})
            yield piece

    return chain.from_iterable(counted())
