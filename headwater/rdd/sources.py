"""Where RDDs begin: collections of the driver, and files.

Files are listed when the RDD is made. Input that isn't there yet makes one partition, which looks again when an action
reads it; only then is it an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from headwater import filesystem
from headwater.base.pickling import dump_records
from headwater.engine.lineage import Leaf, Records, Slice, TaskView
from headwater.errors import SparkException
from headwater.formats import textfiles
from headwater.formats.picklefile import read_pickle_file
from headwater.rdd import RDD

if TYPE_CHECKING:
    from headwater.rdd.driver import Driver

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading(Leaf):
    """Each partition is what `reader` gives for its payload: a range, a split of a file, a group of files."""

    reader: Callable[[Any], Records]

    def read(self, task: TaskView, payload: Any) -> Records:
        if isinstance(payload, Unlisted):
            return chain.from_iterable(map(self.reader, payload.list_splits()))
        return self.reader(payload)


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The payload of input that did not exist when the RDD was made."""

    list_splits: Callable[[], Sequence[Any]]


# ------------------------------------------------------------------------------------------------ collections
def of_collection(ctx: Driver, records: Iterable[Any], slices: int) -> RDD[Any]:
    """The records in `slices` parts as equal as can be, pickled now: what happens to them later doesn't matter."""
    if isinstance(records, range):
        parts: list[Any] = [records[start:end] for start, end in _bounds(len(records), slices)]
        return RDD(ctx, Reading(iter), (), slices, payloads=parts)
    held = records if isinstance(records, list) else list(records)
    payloads = [dump_records(held[start:end]) for start, end in _bounds(len(held), slices)]
    return RDD(ctx, Slice(), (), slices, payloads=payloads)


def _bounds(length: int, slices: int) -> Iterator[tuple[int, int]]:
    return ((i * length // slices, (i + 1) * length // slices) for i in range(slices))


# ------------------------------------------------------------------------------------------------ files
def of_text(ctx: Driver, path: str, min_partitions: int, use_unicode: bool) -> RDD[Any]:
    """The lines of text files."""
    reader = partial(_lines, use_unicode)
    return _of_files(ctx, reader, partial(textfiles.text_splits, _absolute(path), min_partitions))


def of_whole_text(ctx: Driver, path: str, min_partitions: int, use_unicode: bool) -> RDD[Any]:
    """(URI, text) of each file."""
    reader = partial(_each_file, partial(_whole_text, use_unicode))
    return _of_files(ctx, reader, partial(textfiles.file_groups, _absolute(path), min_partitions))


def of_binary_files(ctx: Driver, path: str, min_partitions: int) -> RDD[Any]:
    """(URI, bytes) of each file."""
    reader = partial(_each_file, textfiles.binary_file)
    return _of_files(ctx, reader, partial(textfiles.file_groups, _absolute(path), min_partitions))


def of_binary_records(ctx: Driver, path: str, record_length: int) -> RDD[Any]:
    """The records, of `record_length` bytes, of binary files."""
    splits = partial(textfiles.binary_record_splits, _absolute(path), record_length, ctx.defaultMinPartitions)
    return _of_files(ctx, textfiles.read_binary_records, splits)


def of_pickle_files(ctx: Driver, path: str) -> RDD[Any]:
    """The records that `saveAsPickleFile` wrote, one partition per file."""
    return _of_files(ctx, _pickled, partial(filesystem.list_files, _absolute(path)))


def of_splits(
    ctx: Driver,
    reader: Callable[[Any], Records],
    path: str,
    splits: Callable[[str], Sequence[Any]],
) -> RDD[Any]:
    """What `reader` gives for each of the splits of a list of paths."""
    return _of_files(ctx, reader, partial(splits, _absolute(path)))


def _of_files(ctx: Driver, reader: Callable[[Any], Records], list_splits: Callable[[], Sequence[Any]]) -> RDD[Any]:
    missing = ctx.conf.read("spark.files.ignoreMissingFiles")
    corrupt = ctx.conf.read("spark.files.ignoreCorruptFiles")
    if missing or corrupt:
        reader = partial(_forgiving, reader, missing, corrupt)
    try:
        payloads: Sequence[Any] = list_splits()
    except filesystem.InvalidInputException:
        payloads = [Unlisted(list_splits)]
    return RDD(ctx, Reading(reader), (), len(payloads), payloads=payloads)


def _forgiving(reader: Callable[[Any], Records], missing: bool, corrupt: bool, payload: Any) -> Records:
    """What can be read of a partition: its records up to the first file that is missing or can't be read on."""
    try:
        yield from reader(payload)
    except filesystem.InvalidInputException as error:
        if not missing:
            raise
        logger.warning("%s: skipped, as spark.files.ignoreMissingFiles says", error)
    except (OSError, EOFError, SparkException) as error:
        if not corrupt:
            raise
        logger.warning("%s: the rest is skipped, as spark.files.ignoreCorruptFiles says", error)


def _absolute(path: str) -> str:
    """The paths as they are understood here: a worker may have another working directory."""
    if not isinstance(path, str):
        raise TypeError(f"a path should be a str, got {path!r} of type {type(path).__name__}")
    return ",".join(map(filesystem.qualify, filesystem.split_paths(path)))


def _lines(use_unicode: bool, split: textfiles.TextSplit) -> Records:
    return textfiles.read_text_split(split, use_unicode)


def _whole_text(use_unicode: bool, path: str) -> tuple[str, Any]:
    return textfiles.whole_text(path, use_unicode)


def _each_file(read: Callable[[str], Any], group: list[filesystem.FileStatus]) -> Records:
    return (read(file.path) for file in group)


def _pickled(file: filesystem.FileStatus) -> Records:
    with filesystem.open_raw(file.path, file.size) as stream:
        yield from read_pickle_file(stream)
