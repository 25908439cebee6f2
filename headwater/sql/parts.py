"""A task's work for a relation: its partition's rows as Arrow, in its answer while they are few, else in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from headwater.sql.rows import Row

__all__ = ["Part", "Shape", "inferred", "part_of", "renamed_to", "rows_of_stream", "schema_of"]

_LOOKED_AT = 100  # rows, to infer a schema, as in Spark


class Shape(NamedTuple):
    """How rows become columns.

    Args:
        schema: the columns; None has it inferred.
        names: of columns that are inferred; None takes them from the rows.
        verify: whether a row that doesn't fit is an error; else what doesn't fit is null.
        atomic: whether records are the values of one column.
    """

    schema: pa.Schema | None = None
    names: Sequence[str] | None = None
    verify: bool = True
    atomic: bool = False
    keys: tuple[str, ...] | None = None  # by which dicts and objects are read, if those aren't the columns' names


class Part(NamedTuple):
    """What has become of a partition: a stream of Arrow, or a file that was written (then `stream` is empty)."""

    schema: pa.Schema | None  # None: there are no rows to infer it from
    keys: tuple[str, ...] | None
    stream: bytes
    rows: int


def part_of(shape: Shape, directory: str, inline_max: int, partition: int, records: Iterable[Any]) -> Part:
    """Turn a partition's records into Arrow.

    Args:
        directory: where the file goes; made if it isn't there.
        inline_max: bytes of a stream that is answered.

    Raises:
        TypeError, ValueError: a record doesn't fit; the message names it, with column and value.
    """
    from headwater.sql import arrowrows

    rows = iter(records)
    schema, keys = shape.schema, shape.keys
    if schema is None:
        first = list(islice(rows, _LOOKED_AT))
        if not first:
            return Part(None, None, b"", 0)
        schema, keys = inferred(first, shape.names, all_rows=False)
        rows = chain(first, rows)
    verify = shape.verify and shape.schema is not None
    batches = arrowrows.batches(rows, schema, verify=verify, atomic=shape.atomic, keys=keys)
    head: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        head.append(batch)
        size += batch.nbytes
        if size > inline_max:
            path = os.path.join(directory, f"part-{partition:05d}.arrow")
            return Part(schema, keys, b"", arrowrows.write_file(path, chain(head, batches), schema))
    return Part(schema, keys, arrowrows.to_stream(head, schema), sum(batch.num_rows for batch in head))


def schema_of(records: Iterable[Any]) -> Iterator[pa.Schema]:
    """The one schema, before columns are renamed, that fits all records of a partition; nothing if there are none."""
    from headwater.sql import inference

    if rows := list(records):
        yield inference.infer_from(rows, all_rows=True)


def inferred(
    rows: Sequence[Any], names: Sequence[str] | None, *, all_rows: bool
) -> tuple[pa.Schema, tuple[str, ...] | None]:
    """The schema of rows, with the columns' names that are given, and the names that dicts and objects have for them.

    Raises:
        TypeError, ValueError: see `infer_from` and `renamed`.
    """
    from headwater.sql import inference

    schema = inference.infer_from(rows, all_rows=all_rows)
    return renamed_to(schema, names)


def renamed_to(schema: pa.Schema, names: Sequence[str] | None) -> tuple[pa.Schema, tuple[str, ...] | None]:
    """A schema with other names, if there are any, and then the names that it had."""
    from headwater.sql import inference

    return (schema, None) if names is None else (inference.renamed(schema, names), tuple(schema.names))


def rows_of_stream(stream: bytes) -> Iterator[Row]:
    """The rows of a stream of Arrow; none of no bytes."""
    from headwater.sql import arrowrows

    return chain.from_iterable(map(arrowrows.rows_of, arrowrows.from_stream(stream) if stream else ()))
