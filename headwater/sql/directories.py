"""Directories whose names are values of columns (`day=2024-05-01`): how they are named, and what types they have.

The names are Hive's, and the types those that Spark infers for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from headwater.sql.statements import quoted_part

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

__all__ = ["has_files", "name_as_parts", "partition_types", "with_names_of_directories", "with_values"]

_NULL = "__HIVE_DEFAULT_PARTITION__"  # for null and for an empty text
_TYPES = (  # the first that all of a column's values have
    ("int", re.compile(r"[+-]?\d{1,9}")),
    ("bigint", re.compile(r"[+-]?\d{1,18}")),
    ("double", re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")),
    ("date", re.compile(r"\d{4}-\d{2}-\d{2}")),
    ("timestamp", re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?")),
)


def with_names_of_directories(frame: DataFrame, columns: Iterable[str]) -> DataFrame:
    """The values of columns as texts for names of directories. For a null the engine itself writes 0, or nothing."""
    from pyspark.sql.connect import functions as F

    texts = {name: F.col(quoted_part(name)).cast("string") for name in columns}
    named = {name: F.when(text.isNull() | (text == ""), F.lit(_NULL)).otherwise(text) for name, text in texts.items()}
    return cast("DataFrame", cast("Any", frame).withColumns(named))


def with_values(frame: DataFrame, types: Mapping[str, str]) -> DataFrame:
    """The names of directories, which are texts, as values of types."""
    from pyspark.sql.connect import functions as F

    columns = {name: F.col(quoted_part(name)) for name in types}
    values = {name: F.when(column != _NULL, column).cast(types[name]) for name, column in columns.items()}
    return cast("DataFrame", cast("Any", frame).withColumns(values))


def partition_types(directory: str) -> dict[str, str]:
    """The columns in the names of the directories below one, with the types that Spark infers from their values."""
    values: dict[str, set[str]] = {}
    for name, value in _partitions(directory):
        found = values.setdefault(name, set())
        if value != _NULL:
            found.add(value)
    return {name: _type_of(found) for name, found in values.items()}


def _partitions(directory: str) -> Iterator[tuple[str, str]]:
    with os.scandir(directory) as entries:
        inside = [entry for entry in entries if "=" in entry.name and entry.is_dir()]
    for entry in inside:
        name, _, value = entry.name.partition("=")
        yield unquote(name), unquote(value)
        yield from _partitions(entry.path)


def _type_of(values: set[str]) -> str:
    fitting = (name for name, pattern in _TYPES if values and all(map(pattern.fullmatch, values)))
    return next(fitting, "string")


def name_as_parts(directory: str) -> None:
    """Give the files that the engine has written, in a directory and those below it, names as Spark's: `part-...`."""
    number = 0
    for within, directories, files in os.walk(directory):
        directories[:] = sorted(name for name in directories if not name.startswith(("_", ".")))
        for name in sorted(files):
            if not name.startswith(("_", ".", "part-")):
                stem, _, extensions = name.partition(".")
                *rest, last = extensions.split(".")
                once = ".".join([*(each for each in rest if each != last), last])
                os.rename(os.path.join(within, name), os.path.join(within, f"part-{number:05d}-{stem}.{once}"))
                number += 1


def has_files(directory: str) -> bool:
    """Whether there is a file of data in a directory, or in those below it."""
    for _, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(("_", "."))]
        if any(not name.startswith(("_", ".")) for name in files):
            return True
    return False
