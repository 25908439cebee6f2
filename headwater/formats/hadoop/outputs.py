"""Hadoop's output formats by their class names: how pairs become the parts of a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import CODEC_EXTENSIONS, codec_name
from headwater.formats.hadoop import settings as job
from headwater.formats.hadoop.settings import Api, JobSettings, find_format
from headwater.formats.sequencefile import KEY_ELEMENTS, VALUE_ELEMENTS, Compression, write_pairs
from headwater.formats.textfiles import write_text
from headwater.formats.writables import NULL, class_for, java_text, writable

_SEQUENCE_CODEC, _TEXT_CODEC = "DefaultCodec", "GzipCodec"  # where only compression is asked for, as Hadoop's
_COMPRESSIONS: tuple[Compression, ...] = ("NONE", "RECORD", "BLOCK")


@dataclass(frozen=True)
class TextOutput:
    """Lines of key, separator and value; a None has neither a text nor a separator, a pair of two not even a line."""

    separator: str
    extension: str  # says how it is compressed

    wants_first = False

    def write(self, records: Iterable[Any], file: BinaryIO) -> None:
        """Write a part. Raises SparkException if a record isn't a pair, IllegalArgumentException if it has no text."""
        write_text(self._lines(records), file)

    def _lines(self, records: Iterable[Any]) -> Iterator[str]:
        for pair in _checked(records):
            halves = [java_text(half) for half in pair if half is not None]
            if halves:
                yield self.separator.join(halves)


@dataclass(frozen=True)
class SequenceOutput:
    """A SequenceFile for each part. A class that is None is that of the first record."""

    key_class: str | None
    value_class: str | None
    compression: Compression
    codec: str

    extension = ""

    @property
    def wants_first(self) -> bool:
        """Whether `for_first` must be asked before anything is written."""
        return self.key_class is None or self.value_class is None

    def for_first(self, records: Sequence[Any]) -> SequenceOutput:
        """The format for an RDD that begins with these records: one, or none, whose classes are NullWritable then.

        Raises:
            SparkException: the record isn't a pair.
            IllegalArgumentException: a half of it can't be written as a Writable.
        """
        key, value = next(_checked(records), (None, None))
        return replace(
            self, key_class=self.key_class or class_for(key), value_class=self.value_class or class_for(value)
        )

    def write(self, records: Iterable[Any], file: BinaryIO) -> None:
        """Write a part. Raises SparkException if a record isn't a pair, IllegalArgumentException if it doesn't fit."""
        key, value = writable(self.key_class or NULL), writable(self.value_class or NULL)
        metadata = {KEY_ELEMENTS: key.elements, VALUE_ELEMENTS: value.elements}
        write_pairs(
            ((key.encode(one), value.encode(other)) for one, other in _checked(records)),
            file,
            key.java_class,
            value.java_class,
            compression=self.compression,
            codec=self.codec,
            metadata={name: elements for name, elements in metadata.items() if elements},
        )


OutputFormat = TextOutput | SequenceOutput


def output_format(
    api: Api,
    name: str,
    key_class: str | None,
    value_class: str | None,
    settings: JobSettings,
    codec: str | None = None,
) -> OutputFormat:
    """The format of a class name.

    Args:
        api: to which the class must belong.
        name: of the class.
        key_class: Java's name of the Writable that keys are written as; None: what the settings say, or the first key.
        value_class: as `key_class`.
        settings: of the job.
        codec: the class that compresses, then by block; None leaves both to the settings.

    Raises:
        IllegalArgumentException: the format, a class or a setting isn't supported.
    """
    make = find_format(_FORMATS, name, api.output_package, api.other.output_package)
    classes = [
        None if one is None else writable(one).name
        for one in (key_class or settings.get(job.KEY_CLASS), value_class or settings.get(job.VALUE_CLASS))
    ]
    return make(classes, settings, codec)


def format_in(settings: JobSettings, api: Api) -> str:
    """The class name of the format that a job's settings name; TextOutputFormat if they name none, as in Hadoop.

    Raises:
        IllegalArgumentException: they name it for the other API.
    """
    name = settings.get(api.output_format_key)
    if name is None and settings.get(api.other.output_format_key) is not None:
        raise IllegalArgumentException(
            f"conf: {api.other.output_format_key} is for Hadoop's other API. Set {api.output_format_key}, or save by "
            "the method with, or without, newAPI in its name"
        )
    return name or api.output_package + "TextOutputFormat"


def _text(_classes: Sequence[str | None], settings: JobSettings, codec: str | None) -> TextOutput:
    separator = settings.get(job.OUTPUT_SEPARATOR)
    if codec is None and settings.flag(job.COMPRESS):
        codec = settings.get(job.COMPRESS_CODEC) or _TEXT_CODEC
    return TextOutput("\t" if separator is None else separator, CODEC_EXTENSIONS[codec_name(codec)] if codec else "")


def _sequence(classes: Sequence[str | None], settings: JobSettings, codec: str | None) -> SequenceOutput:
    compression: Compression = "NONE"
    if codec is not None:
        compression = "BLOCK"
    elif settings.flag(job.COMPRESS):
        codec = settings.get(job.COMPRESS_CODEC)
        compression = _compression(settings.get(job.COMPRESS_TYPE) or "RECORD")
    return SequenceOutput(classes[0], classes[1], compression, codec_name(codec or _SEQUENCE_CODEC))


def _compression(name: str) -> Compression:
    for compression in _COMPRESSIONS:
        if name == compression:
            return compression
    raise IllegalArgumentException(f"conf: {job.COMPRESS_TYPE} is {name!r}, but must be one of {_COMPRESSIONS}")


_FORMATS: Mapping[str, Callable[..., OutputFormat]] = {"TextOutputFormat": _text, "SequenceFileOutputFormat": _sequence}


def _checked(records: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for record in records:
        if not isinstance(record, tuple) or len(record) != 2:
            text = repr(record)
            raise SparkException(
                f"{text[:80]} of type {type(record).__name__} is no pair: Hadoop's formats hold tuples of a key and a "
                "value. Make them by map, as map(lambda value: (None, value))"
            )
        yield record
