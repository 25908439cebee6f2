"""A task's work for a relation: its partition's rows as Arrow, in its answer while they are few, else in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from headwater.sql.rows import Row

__all__ = ["Part", "Shape", "part_of", "rows_of_stream", "schema_of", "write"]

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


class Part(NamedTuple):
    """What has become of a partition: a stream of Arrow, or a file that was written (then `stream` is empty)."""

    schema: pa.Schema | None  # None: there are no rows to infer it from
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
    from headwater.sql import arrowrows, inference

    rows = iter(records)
    schema = shape.schema
    if schema is None:
        first = list(islice(rows, _LOOKED_AT))
        if not first:
            return Part(None, b"", 0)
        schema = inference.infer_from(first, shape.names, all_rows=False)
        rows = chain(first, rows)
    batches = arrowrows.batches(rows, schema, verify=shape.verify and shape.schema is not None, atomic=shape.atomic)
    head: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        head.append(batch)
        size += batch.nbytes
        if size > inline_max:
            path = os.path.join(directory, f"part-{partition:05d}.arrow")
            return Part(schema, b"", write(path, chain(head, batches), schema))
    return Part(schema, arrowrows.to_stream(head, schema), sum(batch.num_rows for batch in head))


def schema_of(names: Sequence[str] | None, records: Iterable[Any]) -> Iterator[pa.Schema | None]:
    """The one schema that fits all records of a partition; None if there are none."""
    from headwater.sql import inference

    rows = list(records)
    yield inference.infer_from(rows, names, all_rows=True) if rows else None


def rows_of_stream(stream: bytes) -> Iterator[Row]:
    """The rows of a stream of Arrow; none of no bytes."""
    from headwater.sql import arrowrows

    return chain.from_iterable(map(arrowrows.rows_of, arrowrows.from_stream(stream) if stream else ()))


def write(path: str, batches: Iterable[pa.RecordBatch] | Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write a file of Arrow, whole or not at all; returns how many rows it has.

    A task may run twice, so it's written under another name first.
    """
    from headwater.sql import arrowrows

    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    written = f"{directory}-{name}.{os.getpid()}"  # beside the directory: all that is in there is read
    try:
        rows = arrowrows.write_file(written, batches, schema)
        os.replace(written, path)
    except BaseException:
        if os.path.exists(written):
            os.unlink(written)
        raise
    return rows
