"""A stream of the new files of directories: what is listed, and chosen by a rule, becomes one RDD a batch.

- Files are marked as taken once the batch's RDD is made. One whose data can't be had is left out, said so, and found
  again; an exception of the program's filter fails the stream's batch, and all its files are found again.
- With back-pressure a batch takes the oldest files, as many as its rate allows by what a byte was worth so far, and one
  at least. The others wait; none is lost.
- Tasks count the records that they read. Counts are kept by batch, file and split, so that an output that reads a
  file again, or a task that is tried again, doesn't count twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from headwater import filesystem, textfiles
from headwater.accumulators import Accumulator, AccumulatorParam
from headwater.errors import SparkException
from headwater.filesystem import FileStatus, InvalidInputException
from headwater.streaming.graph import InputNode
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.sources.listing import DirectoryLister
from headwater.streaming.sources.receiver import count_undecodable
from headwater.streaming.sources.selection import Accept, ByIdentity, ByModificationTime, Selection

if TYPE_CHECKING:
    from headwater.clock import Clock
    from headwater.context import SparkContext
    from headwater.rdd import RDD
    from headwater.streaming.recovery.matching import Source

logger = logging.getLogger("headwater.streaming.sources.files")

# Records of a program's own reader that are read ahead to be counted.
COUNTED_AT_ONCE = 100
# Files over a network that are smaller than this share partitions, so that their reads overlap; of those there are so
# many for each core.
SMALL_BYTES = 1 << 20
PARTITIONS_A_CORE = 2


# ------------------------------------------------------------------------------------------------ counts
class Read(NamedTuple):
    """What was read of one split: records, and how many of them were lines that are not UTF-8."""

    records: int
    undecodable: int = 0


# (file, start of the split) -> what was read of it so far, or (file, partition) of a reader's RDD
Counts = dict[tuple[str, int], Read]


class CountsParam(AccumulatorParam[dict[int, Counts]]):
    """Counts by batch time. Whoever reads a split again counts the same: the larger of two counts is the truth."""

    def zero(self, value: dict[int, Counts]) -> dict[int, Counts]:
        return {}

    def addInPlace(self, value1: dict[int, Counts], value2: dict[int, Counts]) -> dict[int, Counts]:
        for time_ms, counts in value2.items():
            merged = value1.setdefault(time_ms, {})
            for split, read in counts.items():
                merged[split] = max(merged.get(split, read), read)
        return value1


@dataclass(frozen=True, slots=True)
class FileInputInfo(StreamInputInfo):
    """What a file stream brought into a batch. The counts grow while tasks read, and are complete with the batch."""

    counts: Mapping[tuple[str, int], Read] = field(default_factory=dict, compare=False)

    def numRecords(self) -> int:
        """Records that were read so far. What no output reads is not counted."""
        return sum(read.records for read in tuple(self.counts.values()))

    def metadata(self) -> dict[str, Any]:
        """`files`: their paths; `undecodableLines` if there were any; `Description`."""
        undecodable = sum(read.undecodable for read in tuple(self.counts.values()))
        return {**self._metadata, **({"undecodableLines": undecodable} if undecodable else {})}


# ------------------------------------------------------------------------------------------------ records of files
class FileReader(Protocol):
    """How files become records."""

    def open(self, file: FileStatus, time_ms: int) -> Any:
        """A file's share of a batch, for `unite`; called in the driver. It may fail without harm to other files."""

    def unite(self, opened: Sequence[Any]) -> RDD[Any]:
        """The RDD of a batch, of one file at least."""


class BatchSplit(NamedTuple):
    """A split of a file, read for a batch."""

    time_ms: int
    split: Any


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

    def open(self, file: FileStatus, time_ms: int) -> list[BatchSplit]:
        return [BatchSplit(time_ms, split) for split in self._splits(file)]

    def unite(self, opened: Sequence[list[BatchSplit]]) -> RDD[Any]:
        from headwater.rdd import RDD
        from headwater.rdd.sources import Reading

        splits = [split for each in opened for split in each]
        payloads = _partitions(splits, PARTITIONS_A_CORE * self._sc.defaultParallelism)
        return RDD(self._sc, Reading(self._read), (), len(payloads), payloads=payloads)


def _partitions(splits: list[BatchSplit], shared: int) -> list[list[BatchSplit]]:
    """A partition a split; those of small files over a network in `shared` partitions, or one more."""
    small = [split for _, split in splits if _is_small(split)]
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
    """Files read by a function of the program's own, `reader(sc, path) -> RDD`."""

    def __init__(
        self, sc: SparkContext, reader: Callable[[SparkContext, str], RDD[Any]], counts: Accumulator[dict[int, Counts]]
    ) -> None:
        self._sc = sc
        self._reader = reader
        self._counts = counts

    def open(self, file: FileStatus, time_ms: int) -> RDD[Any]:
        from headwater.rdd import RDD

        rdd = self._reader(self._sc, file.path)
        if not isinstance(rdd, RDD):
            raise TypeError(f"the function reader(sc, path) must return an RDD, not {type(rdd).__name__}")
        count = partial(_counted_records, self._counts, time_ms, file.path)
        return rdd.mapPartitionsWithIndex(count, preservesPartitioning=True)

    def unite(self, opened: Sequence[RDD[Any]]) -> RDD[Any]:
        return opened[0] if len(opened) == 1 else self._sc.union(list(opened))


def text_reader(sc: SparkContext, counts: Accumulator[dict[int, Counts]]) -> FileReader:
    """Lines of text files, compressed or not."""
    return SplitReader(sc, lambda file: list(textfiles.text_splits_of(file)), partial(_read_text, counts))


def records_reader(sc: SparkContext, counts: Accumulator[dict[int, Counts]], record_length: int) -> FileReader:
    """Records of `record_length` bytes; a file that ends within a record can't be opened."""
    return SplitReader(sc, lambda file: textfiles.record_splits_of(file, record_length), partial(_read_records, counts))


def _read_text(counts: Accumulator[dict[int, Counts]], splits: list[BatchSplit]) -> Iterator[str]:
    opened = filesystem.open_ahead(splits, lambda each: textfiles.open_split(each.split))
    lines = (_counted_lines(counts, time_ms, split, file) for (time_ms, split), file in opened)
    return chain.from_iterable(chain.from_iterable(lines))


def _counted_lines(
    counts: Accumulator[dict[int, Counts]], time_ms: int, split: textfiles.TextSplit, file: BinaryIO
) -> Iterator[list[str]]:
    records = undecodable = 0
    for piece in textfiles.text_pieces(split, file):
        lines = textfiles.text_lines(piece)
        records += len(lines)
        undecodable += count_undecodable(piece)
        counts.add({time_ms: {(split.path, split.start): Read(records, undecodable)}})
        yield lines


def _read_records(counts: Accumulator[dict[int, Counts]], splits: list[BatchSplit]) -> Iterator[bytes]:
    return chain.from_iterable(
        _counted(counts, time_ms, (split.path, split.start), textfiles.record_pieces(split))
        for time_ms, split in splits
    )


def _counted_records(
    counts: Accumulator[dict[int, Counts]], time_ms: int, path: str, partition: int, records: Iterator[Any]
) -> Iterator[Any]:
    pieces = iter(lambda: list(islice(records, COUNTED_AT_ONCE)), [])
    return _counted(counts, time_ms, (path, partition), pieces)


def _counted(
    counts: Accumulator[dict[int, Counts]], time_ms: int, key: tuple[str, int], pieces: Iterator[list[Any]]
) -> Iterator[Any]:
    def counted() -> Iterator[list[Any]]:
        records = 0
        for piece in pieces:
            records += len(piece)
            counts.add({time_ms: {key: Read(records)}})
            yield piece

    return chain.from_iterable(counted())


# ------------------------------------------------------------------------------------------------ the stream
class FileInput(InputNode):
    """New files of directories, as one RDD a batch.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes empty RDDs.
        lister: knows the directories.
        selection: says which files are a batch's.
        reader: makes their RDD.
        counts: what tasks count.
        window_ms: how long batches are remembered at least.
        report: is told of a file that could not be read for a reason that isn't the file system's.
    """

    def __init__(
        self,
        stream_id: int,
        batch_ms: int,
        *,
        sc: SparkContext,
        lister: DirectoryLister,
        selection: Selection,
        reader: FileReader,
        counts: Accumulator[dict[int, Counts]],
        window_ms: int,
        report: Callable[[BaseException], None],
    ) -> None:
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._lister = lister
        self._selection = selection
        self._reader = reader
        self._counts = counts
        self._report = report
        self.remember_ms = window_ms

    not_kept = InputNode.not_kept | {"_files", "_left_out", "_trouble", "_begins_ms", "_budget", "_records_a_byte"}

    def _begin(self) -> None:
        super()._begin()
        self._files: dict[int, tuple[FileStatus, ...]] = {}  # batch time -> files, as long as remembered
        self._left_out: dict[str, None] = {}  # files that the latest batch could not read: each is told of once
        self._trouble = ""  # why the latest listing failed; it's logged once
        self._begins_ms = 0  # batches before this are restored, or have brought nothing
        self._budget = math.inf  # records that a batch may bring
        self._records_a_byte: float | None = None  # of the batches before; None: nothing is known

    def taken(self) -> dict[int, tuple[str, ...]]:
        """Batch time -> paths of the files that it took, of the remembered batches that were listed."""
        return {time_ms: tuple(file.path for file in files) for time_ms, files in self._files.items()}

    def source(self) -> Source:
        return ("file stream of", self._lister.pattern)

    def batch_data(self, time_ms: int) -> Any:
        return [list(astuple(file)) for file in self._files.get(time_ms, ())]

    def memory(self) -> Mapping[str, Any]:
        return self._selection.changes()

    def go_on(self, first_ms: int, after_ms: int, memory: Mapping[str, Any]) -> None:
        self._begins_ms = first_ms
        self._selection.go_on(after_ms + self.slide_ms, memory)

    def restore_batch(self, time_ms: int, data: Any) -> None:
        files = self._files[time_ms] = tuple(FileStatus(*fields) for fields in data)
        self._selection.mark(time_ms, files)

    def compute(self, time_ms: int) -> RDD[Any]:
        if time_ms in self._files:  # restored
            opened = [self._reader.open(file, time_ms) for file in self._files[time_ms]]
            return self._reader.unite(opened) if opened else self._sc.emptyRDD()
        if time_ms < self._begins_ms:
            return self._sc.emptyRDD()
        try:
            listing = self._lister.list()
        except Exception as error:  # a file system raises what it likes; whatever it is, the next batch tries again
            self._listing_failed(time_ms, error)
            return self._sc.emptyRDD()
        self._trouble = ""
        opened, put_off = self._open(self._selection.find(listing, time_ms), time_ms)
        taken = [file for file, _ in opened]
        rdd = self._reader.unite([share for _, share in opened]) if opened else self._sc.emptyRDD()
        self._selection.mark(time_ms, taken)
        self._selection.put_off(put_off)
        self._lister.settle(self._selection.is_settled)
        self._files[time_ms] = tuple(taken)
        if taken:
            paths = "\n".join(file.path for file in taken)
            logger.info("%s: new files at time %d ms:\n%s", self.describe(), time_ms, paths)
        return rdd

    def _open(
        self, found: Sequence[FileStatus], time_ms: int
    ) -> tuple[list[tuple[FileStatus, Any]], Sequence[FileStatus]]:
        """Open the files that the batch takes, the oldest first; returns them by path, and those to put off."""
        opened: list[tuple[FileStatus, Any]] = []
        left_out: list[str] = []
        by_age, room = sorted(found, key=lambda file: (file.mtime_ms, file.path)), self._budget
        put_off: Sequence[FileStatus] = ()
        for position, file in enumerate(by_age):
            if opened and self._expected(file) > room:  # so one that can't be read isn't in the way of the next
                put_off = by_age[position:]
                break
            try:
                opened.append((file, self._reader.open(file, time_ms)))
            except Exception as error:
                self._file_failed(time_ms, file.path, error)
                left_out.append(file.path)
            else:
                room -= self._expected(file)
        self._left_out = dict.fromkeys(left_out)
        return sorted(opened, key=lambda pair: pair[0].path), put_off

    def _expected(self, file: FileStatus) -> float:
        """How many records a file has, by all that is known; if that is nothing it may be any number."""
        if self._budget == math.inf:
            return 0
        return math.inf if self._records_a_byte is None else file.size * self._records_a_byte

    def limit(self, records_per_second: float) -> None:
        self._budget = records_per_second * self.slide_ms / 1000

    def completed(self, time_ms: int) -> None:
        size = sum(file.size for file in self._files.get(time_ms, ()))
        if size:
            records = sum(read.records for read in tuple(self._counts.value.get(time_ms, {}).values()))
            before = records / size if self._records_a_byte is None else self._records_a_byte
            self._records_a_byte = (before + records / size) / 2  # files differ

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        files = self._files.get(time_ms)
        if files is None:
            return None
        paths = [file.path for file in files]
        metadata = {"files": paths, "Description": "\n".join(paths)}
        return FileInputInfo(self.stream_id, 0, metadata, self._counts.value.setdefault(time_ms, {}))

    def forget(self, until_ms: int, *, unpersist: bool) -> None:
        super().forget(until_ms, unpersist=unpersist)
        _drop_until(self._files, until_ms - self.remember_ms)
        _drop_until(self._counts.value, until_ms - self.remember_ms)

    def describe(self) -> str:
        return f"file stream {self.stream_id} of {self._lister.pattern}"

    def _listing_failed(self, time_ms: int, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning(
                "%s: error finding new files at time %d ms: %s. The next batches look again; what they find is then "
                "not lost.",
                self.describe(),
                time_ms,
                trouble,
            )

    def _file_failed(self, time_ms: int, path: str, error: Exception) -> None:
        if path in self._left_out:
            return
        text = f"{self.describe()}: {path} could not be read at time {time_ms} ms and is left out: {error}"
        if isinstance(error, (OSError, InvalidInputException)):
            logger.warning("%s. The next batches try it again.", text)
            return
        wrapped = SparkException(f"{text}. The next batches try it again: correct it, or remove it.")
        wrapped.__cause__ = error
        logger.error("%s", wrapped, exc_info=error)
        self._report(wrapped)


def file_input(
    stream_id: int,
    batch_ms: int,
    *,
    sc: SparkContext,
    clock: Clock,
    directory: str,
    accept: Accept | None,
    new_files_only: bool,
    make_reader: Callable[[SparkContext, Accumulator[dict[int, Counts]]], FileReader],
    report: Callable[[BaseException], None],
) -> FileInput:
    """A stream of a directory's files, as the settings say; `new_files_only` leaves out those that are there now."""
    conf = sc._conf
    least_ms: int = conf.read("spark.streaming.fileStream.minRememberDuration")
    window_ms = -(-least_ms // batch_ms) * batch_ms
    # Twice a window, so that a touched file is seen while it may be taken.
    lister = DirectoryLister(directory, turns=max(1, window_ms // 2 // batch_ms))
    selection: Selection
    if conf.read("headwater.streaming.fileStream.selection") == "identity":
        old = lister.list().files if new_files_only else ()
        stable_ms: int = conf.read("headwater.streaming.fileStream.stabilityDuration")
        selection = ByIdentity(ignore=old, window_ms=window_ms, stable_ms=stable_ms, accept=accept)
        lister.settle(selection.is_settled)
    else:
        ignore_until_ms = clock.now_ms() if new_files_only else 0
        selection = ByModificationTime(ignore_until_ms=ignore_until_ms, window_ms=window_ms, accept=accept)
    counts: Accumulator[dict[int, Counts]] = sc.accumulator({}, CountsParam())
    return FileInput(
        stream_id,
        batch_ms,
        sc=sc,
        lister=lister,
        selection=selection,
        reader=make_reader(sc, counts),
        counts=counts,
        window_ms=window_ms,
        report=report,
    )


def _drop_until(by_time: dict[int, Any], until_ms: int) -> None:
    for time_ms in [time_ms for time_ms in tuple(by_time) if time_ms <= until_ms]:
        del by_time[time_ms]
