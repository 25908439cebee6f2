"""The settings of a Hadoop job, each of which has an old name and a new one, and the names of its formats.

`mapred` and `mapreduce` are Hadoop's two APIs. A format belongs to one of them; settings are read by both.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from headwater.conf import SparkConf
from headwater.errors import IllegalArgumentException

T = TypeVar("T")

INPUT = "mapreduce.input.fileinputformat.inputdir"
INPUT_RECURSIVE = "mapreduce.input.fileinputformat.input.dir.recursive"
SPLIT_MIN = "mapreduce.input.fileinputformat.split.minsize"
SPLIT_MAX = "mapreduce.input.fileinputformat.split.maxsize"
LINE_DELIMITER = "textinputformat.record.delimiter"
KEY_VALUE_SEPARATOR = "mapreduce.input.keyvaluelinerecordreader.key.value.separator"
OUTPUT = "mapreduce.output.fileoutputformat.outputdir"
OUTPUT_SEPARATOR = "mapreduce.output.textoutputformat.separator"
KEY_CLASS, VALUE_CLASS = "mapreduce.job.output.key.class", "mapreduce.job.output.value.class"
COMPRESS = "mapreduce.output.fileoutputformat.compress"
COMPRESS_CODEC = "mapreduce.output.fileoutputformat.compress.codec"
COMPRESS_TYPE = "mapreduce.output.fileoutputformat.compress.type"

_NEW_NAMES = {
    "mapred.input.dir": INPUT,
    "mapred.input.dir.recursive": INPUT_RECURSIVE,
    "mapred.min.split.size": SPLIT_MIN,
    "mapred.max.split.size": SPLIT_MAX,
    "key.value.separator.in.input.line": KEY_VALUE_SEPARATOR,
    "mapred.output.dir": OUTPUT,
    "mapred.textoutputformat.separator": OUTPUT_SEPARATOR,
    "mapred.output.key.class": KEY_CLASS,
    "mapred.output.value.class": VALUE_CLASS,
    "mapred.output.compress": COMPRESS,
    "mapred.output.compression.codec": COMPRESS_CODEC,
    "mapred.output.compression.type": COMPRESS_TYPE,
    "mapreduce.outputformat.class": "mapreduce.job.outputformat.class",
}
_SPARK_PREFIX = "spark.hadoop."


class Api(Enum):
    """One of Hadoop's APIs: the packages of its formats, the setting that names the output's, and how parts begin."""

    OLD = "org.apache.hadoop.mapred.", "org.apache.hadoop.mapred.", "mapred.output.format.class", "part-"
    NEW = (
        "org.apache.hadoop.mapreduce.lib.input.",
        "org.apache.hadoop.mapreduce.lib.output.",
        "mapreduce.job.outputformat.class",
        "part-r-",
    )

    def __init__(self, input_package: str, output_package: str, output_format_key: str, part_prefix: str) -> None:
        self.input_package = input_package
        self.output_package = output_package
        self.output_format_key = output_format_key
        self.part_prefix = part_prefix

    @property
    def other(self) -> Api:
        """The other one of the two."""
        return Api.OLD if self is Api.NEW else Api.NEW


class JobSettings:
    """The settings of a job: the application's (`spark.hadoop.*`), overridden by its own.

    Raises:
        TypeError: its own are no dict of strings.
    """

    def __init__(self, conf: SparkConf, own: Mapping[str, str] | None = None) -> None:
        if not isinstance(own, (Mapping, type(None))):
            raise TypeError(f"conf should be a dict, got {own!r} of type {type(own).__name__}")
        self._values: dict[str, str] = {}
        shared = {key.removeprefix(_SPARK_PREFIX): text for key, text in conf.getAll() if key.startswith(_SPARK_PREFIX)}
        for key, text in (*shared.items(), *(own or {}).items()):
            if not isinstance(key, str) or not isinstance(text, str):
                raise TypeError(f"conf: {key!r}: {text!r} should be a str and a str")
            self._values[_NEW_NAMES.get(key, key)] = text

    def get(self, key: str) -> str | None:
        """The text of a setting."""
        return self._values.get(key)

    def needed(self, key: str, meaning: str) -> str:
        """The text of a setting that must be there.

        Raises:
            IllegalArgumentException: it isn't.
        """
        text = self.get(key)
        if not text:
            raise IllegalArgumentException(f"conf doesn't say {meaning}: set {_names(key)}")
        return text

    def flag(self, key: str) -> bool:
        """A setting that is true or, by default, false.

        Raises:
            IllegalArgumentException: it is neither.
        """
        text = self._values.get(key, "false").strip().lower()
        if text not in ("true", "false"):
            raise IllegalArgumentException(f"conf: {_names(key)} is {text!r}, but must be true or false")
        return text == "true"

    def size(self, key: str, default: int) -> int:
        """A setting in bytes, from 1.

        Raises:
            IllegalArgumentException: it is no such number.
        """
        text = self._values.get(key, str(default))
        if not text.strip().isdecimal() or int(text) < 1:
            raise IllegalArgumentException(f"conf: {_names(key)} is {text!r}, but must be a number of bytes, from 1")
        return int(text)


def _names(key: str) -> str:
    """A setting's names, for errors."""
    return " or ".join((key, *(old for old, new in _NEW_NAMES.items() if new == key)))


def find_format(formats: Mapping[str, T], name: str, package: str, other_package: str) -> T:
    """The format of a class name.

    Raises:
        IllegalArgumentException: there is none, or the class is of the other API.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a format's class should be a str, got {name!r} of type {type(name).__name__}")
    short = name.removeprefix(package)
    if short in formats:
        return formats[short]
    hint = ""
    if name.removeprefix(other_package) in formats:
        hint = " That one belongs to Hadoop's other API, which has methods of its own, with and without newAPI."
    raise IllegalArgumentException(
        f"the format {name} is not supported here.{hint} Those that are: {', '.join(package + one for one in formats)}."
    )


def refuse_converters(key_converter: Any, value_converter: Any) -> None:
    """Raises IllegalArgumentException if there is a converter: it is a Java class."""
    for argument, converter in (("keyConverter", key_converter), ("valueConverter", value_converter)):
        if converter is not None:
            raise IllegalArgumentException(
                f"{argument}={converter!r}: converters are classes of Java, which can't run here; none is supported. "
                "Leave it out, and convert the records by map."
            )
