"""Hadoop's input formats by their class names: which splits a job's files make, and which pairs a split holds.

Files are split as by `textFile`; a SequenceFile also if its name looks compressed, since it compresses within itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import FileStatus, list_files, open_raw, qualify
from headwater.formats.hadoop import settings as job
from headwater.formats.hadoop.delimited import read_delimited
from headwater.formats.hadoop.settings import Api, JobSettings, find_format
from headwater.formats.sequencefile import KEY_ELEMENTS, SYNC_INTERVAL, VALUE_ELEMENTS, SequenceFileReader
from headwater.formats.textfiles import (
    SPLIT_BYTES,
    TextSplit,
    byte_splits_of,
    read_placed_lines,
    read_text_split,
    text_splits_of,
)
from headwater.formats.writables import FLOAT, Writable, java_float_text, java_text, writable

Pairs = Iterator[tuple[Any, Any]]
# (file, bytes of a split) -> its splits
Cut = Callable[[FileStatus, int], Iterator[TextSplit]]
Read = Callable[[TextSplit], Pairs]


class InputFormat(NamedTuple):
    """How files become pairs."""

    cut: Cut
    read: Read
    split_bytes_min: int = 1


def input_format(
    api: Api, name: str, key_class: str | None, value_class: str | None, settings: JobSettings
) -> InputFormat:
    """The format of a class name.

    Args:
        api: to which the class must belong.
        name: of the class.
        key_class: Java's name of a Writable. A SequenceFile says itself what it holds: this is for a class of its own.
        value_class: as `key_class`.
        settings: of the job.

    Raises:
        IllegalArgumentException: the format, a class or a setting isn't supported.
    """
    make = find_format(_FORMATS, name, api.input_package, api.other.input_package)
    given = [None if one is None else writable(one) for one in (key_class, value_class)]
    return make(settings, given[0], given[1])


def splitter(found: InputFormat, settings: JobSettings, min_splits: int) -> Callable[[str], list[TextSplit]]:
    """What lists the splits of a list of input paths, in order; none of an empty file.

    Args:
        found: the format.
        settings: of the job.
        min_splits: how many splits there should be at least, from 1; small or compressed files may make fewer.

    Raises:
        IllegalArgumentException: a setting is invalid.
    """
    smallest = max(settings.size(job.SPLIT_MIN, 1), found.split_bytes_min)
    largest = min(settings.size(job.SPLIT_MAX, SPLIT_BYTES), SPLIT_BYTES)
    return partial(_splits, found.cut, settings.flag(job.INPUT_RECURSIVE), min_splits, smallest, largest)


def _splits(cut: Cut, recursive: bool, min_splits: int, smallest: int, largest: int, path: str) -> list[TextSplit]:
    files = list_files(path, recursive=recursive)
    size = max(smallest, min(sum(file.size for file in files) // min_splits, largest))
    return [split for file in files for split in cut(file, size)]


# ------------------------------------------------------------------------------------------------ text
def _text(settings: JobSettings, *_classes: Writable | None) -> InputFormat:
    delimiter = settings.get(job.LINE_DELIMITER)
    if not delimiter:
        return InputFormat(text_splits_of, read_placed_lines)
    return InputFormat(text_splits_of, partial(read_delimited, delimiter=delimiter.encode()))


def _key_value_text(settings: JobSettings, *_classes: Writable | None) -> InputFormat:
    separator = settings.get(job.KEY_VALUE_SEPARATOR)
    first = "\t" if separator is None else separator[:1]
    if not first or not first.isascii():
        raise IllegalArgumentException(
            f"conf: {job.KEY_VALUE_SEPARATOR} is {separator!r}, but must begin with an ASCII character"
        )
    return InputFormat(text_splits_of, partial(_read_key_values, first))


def _read_key_values(separator: str, split: TextSplit) -> Pairs:
    return map(itemgetter(0, 2), map(methodcaller("partition", separator), read_text_split(split)))


# ------------------------------------------------------------------------------------------------ SequenceFiles
def _sequence(_settings: JobSettings, key: Writable | None, value: Writable | None) -> InputFormat:
    return InputFormat(byte_splits_of, partial(_read_sequence, key, value, _load), SYNC_INTERVAL)


def _sequence_as_text(_settings: JobSettings, key: Writable | None, value: Writable | None) -> InputFormat:
    return InputFormat(byte_splits_of, partial(_read_sequence, key, value, _load_text), SYNC_INTERVAL)


def _read_sequence(
    key: Writable | None,
    value: Writable | None,
    loader: Callable[[Writable], Callable[[bytes], Any]],
    split: TextSplit,
) -> Pairs:
    name = qualify(split.path)
    with open_raw(split.path, split.file_size) as file:
        reader = SequenceFileReader(file, name)
        header = reader.header
        try:
            load_key = loader(_class_of(header.key_class, header.metadata.get(KEY_ELEMENTS), key))
            load_value = loader(_class_of(header.value_class, header.metadata.get(VALUE_ELEMENTS), value))
        except IllegalArgumentException as error:
            raise SparkException(f"{name}: {error}") from error
        for key_bytes, value_bytes in reader.pairs(split.start, split.length):
            try:
                pair = load_key(key_bytes), load_value(value_bytes)
            except SparkException as error:
                raise SparkException(f"{name}: {error}") from error
            yield pair


def _class_of(name: str, elements: str | None, given: Writable | None) -> Writable:
    """What a file's class is read as: for those that are not ours it's the one given."""
    try:
        return writable(f"{name}<{elements}>" if elements else name)
    except IllegalArgumentException:
        if given is None:
            raise
        return given


def _load(kind: Writable) -> Callable[[bytes], Any]:
    return kind.load


def _load_text(kind: Writable) -> Callable[[bytes], str]:
    show = java_float_text if kind.name == FLOAT else java_text
    return lambda data: show(kind.load(data))


_FORMATS: Mapping[str, Callable[..., InputFormat]] = {
    "TextInputFormat": _text,
    "KeyValueTextInputFormat": _key_value_text,
    "SequenceFileInputFormat": _sequence,
    "SequenceFileAsTextInputFormat": _sequence_as_text,
}
