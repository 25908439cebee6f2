"""Relations over data of the driver's and of RDDs: the leaves of a plan that are Arrow, and how they get to the engine.

A small relation travels in the plan; a large one is a directory of Arrow files, which tasks write where they run and
the engine reads. The files go when no DataFrame, and nothing that a session has told the engine, refers to them.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pyspark.sql.connect.plan import LogicalPlan

from headwater.errors import UnsupportedOperationException
from headwater.sql import arrowrows, inference, jsoninference
from headwater.sql.parts import Lines, Part, Rows, inferred, observed_in, part_of, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

    from headwater.rdd import RDD

__all__ = [
    "Content",
    "Directory",
    "Inline",
    "NoRows",
    "Relation",
    "directories_in",
    "json_schema",
    "of_rdd",
    "of_rows",
    "of_table",
]

logger = logging.getLogger(__name__)

INLINE_MAX = 1 << 20  # bytes of a relation that travels in its plan
SECRET_MAX = 64 << 20  # likewise, where nothing may be written to disk as it is: a message has 128 MB at most


class Inline(NamedTuple):
    """A relation as the bytes of an Arrow stream."""

    stream: bytes


class Directory:
    """A relation as Arrow files, which go with this object; who writes the first one makes it."""

    _all: ClassVar[weakref.WeakValueDictionary[str, Directory]] = weakref.WeakValueDictionary()

    def __init__(self, within: str) -> None:
        name = f"relation-{uuid.uuid4().hex}"
        self.path = os.path.join(within, name)
        Directory._all[name] = self
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def file(self, number: int) -> str:
        """The path of its file of a number."""
        return os.path.join(self.path, f"part-{number:05d}.arrow")


Content = Inline | Directory

_NAME = re.compile(rb"relation-[0-9a-f]{32}")


def directories_in(request: bytes) -> object:
    """The directories that a serialized request refers to: who remembers it must hold them."""
    return [found for name in _NAME.findall(request) if (found := Directory._all.get(name.decode())) is not None]


class NoRows(ValueError):
    """There is no row from which to infer a schema."""

    def __init__(self) -> None:
        super().__init__("RDD is empty: with no row to infer a schema from, one has to be given")


class Relation(LogicalPlan):
    """A leaf whose content is made when a plan with it is first sent. Any thread may send it.

    Args:
        load: makes the content; called once, unless it raises.
        types: gives the JSON of its columns' types, once there is a content.
    """

    def __init__(self, load: Callable[[], Content], types: Callable[[], str]) -> None:
        super().__init__(None)
        self._types = types
        self._load: Callable[[], Content] | None = load
        self._content: Content | None = None
        self._lock = threading.Lock()  # held while the content is made; guards both above

    def content(self) -> Content:
        """What it holds; made now, unless it was before."""
        with self._lock:
            if self._content is None:
                assert self._load is not None
                self._content = self._load()
                self._load = None  # and the RDD with it
            return self._content

    def plan(self, session: Any) -> Any:
        content = self.content()
        message = self._create_proto_relation()
        if isinstance(content, Inline):
            message.local_relation.data = content.stream
            message.local_relation.schema = self._types()  # without rows the stream's own doesn't suffice
        else:
            message.read.data_source.format = "arrow"
            message.read.data_source.paths.append(content.path)
        return message

    def print(self, indent: int = 0) -> str:
        return f"{' ' * indent}<Relation>\n"


# ------------------------------------------------------------------------------------------------ data of the driver's
def of_table(table: pa.Table, within: str) -> Content:
    """A table of Arrow as a relation; large ones are written below the directory `within`, if there is one."""
    batches = table.to_batches()
    if table.nbytes <= INLINE_MAX or not within:
        return _inline(arrowrows.to_stream(batches, table.schema))
    directory = Directory(within)
    arrowrows.write_file(directory.file(0), batches, table.schema)
    return directory


def of_rows(rows: Sequence[Any], shape: Rows, within: str) -> tuple[pa.Schema, Content]:
    """Rows of the driver's as a relation, and its schema, which is inferred from all of them if it isn't given."""
    import pyarrow as pa

    schema, keys = shape.schema, shape.keys
    if schema is None:
        schema, keys = inferred(rows, shape.names, all_rows=True)
    batches = arrowrows.batches(rows, schema, verify=shape.verify, atomic=shape.atomic, keys=keys)
    return schema, of_table(pa.Table.from_batches(batches, schema), within)


# ------------------------------------------------------------------------------------------------ RDDs


def of_rdd(rdd: RDD[Any], shape: Rows | Lines, within: str) -> tuple[pa.Schema | None, Content | None]:
    """Compute an RDD: its schema and a relation of its records; None and None if there are no rows, and no schema.

    Each task infers from its own first rows. Where tasks disagree, the first partition's schema counts for all, as in
    Spark, and the RDD is computed once more.
    """
    directory = Directory(within) if within else None
    parts = _parts(rdd, shape, directory)
    if not parts:
        return None, None
    schema, keys = parts[0].schema, parts[0].keys
    if isinstance(shape, Rows) and any((part.schema, part.keys) != (schema, keys) for part in parts):
        parts = _parts(rdd, shape._replace(schema=schema, keys=keys, verify=False), directory)
    if malformed := sum(part.malformed for part in parts):
        logger.warning("%d lines of %s aren't JSON of the schema, or of no type that fits", malformed, rdd)
    streams = [part.stream for part in parts if part.stream]
    if directory is None or (len(streams) == len(parts) and sum(map(len, streams)) <= INLINE_MAX):
        batches = chain.from_iterable(map(arrowrows.from_stream, streams))
        return schema, _inline(streams[0] if len(streams) == 1 else arrowrows.to_stream(batches, schema))
    for number, part in enumerate(parts):
        if part.stream:
            arrowrows.write_file(directory.file(number), arrowrows.from_stream(part.stream), schema)
    return schema, directory


def merged_schema(rdd: RDD[Any]) -> pa.Schema:
    """The schema that fits all records of an RDD.

    Raises:
        NoRows: there are none.
        TypeError: two records have no schema in common.
    """
    found = rdd.mapPartitions(schema_of).collect()
    if not found:
        raise NoRows
    return reduce(inference.merge_schemas, found)


def json_schema(rdd: RDD[Any], mode: str, corrupt_column: str) -> pa.Schema:
    """The schema that Spark infers from all lines of JSON of an RDD.

    Raises:
        ValueError: a line isn't JSON, and the mode is FAILFAST.
    """
    found = rdd.mapPartitions(partial(observed_in, mode, corrupt_column)).collect()
    return jsoninference.schema_of(found)


def _inline(stream: bytes) -> Inline:
    if len(stream) > SECRET_MAX:
        raise UnsupportedOperationException(
            f"A relation of {len(stream) >> 20} MB would have to be a file for the SQL engine, which reads none that "
            f"are encrypted, and headwater.encryption.keyFile is set: up to {SECRET_MAX >> 20} MB go without a file"
        )
    return Inline(stream)


def _parts(rdd: RDD[Any], shape: Rows | Lines, directory: Directory | None) -> list[Part]:
    partitions = rdd.getNumPartitions()
    path, inline_max = ("", sys.maxsize) if directory is None else (directory.path, INLINE_MAX // max(partitions, 1))
    function = partial(part_of, shape, path, inline_max)
    found: list[Part] = rdd.ctx.run_job(rdd, function, range(partitions))
    return [part for part in found if part.schema is not None]
