"""A task's work for a relation: its partition's rows as Arrow, in its answer while they are few, else in a file."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from headwater.sql.rows import Row

__all__ = [
    "Lines",
    "Part",
    "Read",
    "Rows",
    "inferred",
    "observed_in",
    "part_of",
    "renamed_to",
    "rows_of_stream",
    "schema_of",
]

# New objects until the collector looks for cycles, in a process that makes rows. With Python's 700 it takes longer to
# look at 64 Ki rows, of which none is in a cycle, again and again than it takes to make them.
_COLLECTED_AFTER = 50_000
_LOOKED_AT = 100  # rows, to infer a schema, as in Spark


class Read(NamedTuple):
    """Records that are being turned into Arrow."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    keys: tuple[str, ...] | None = None  # by which dicts and objects are read, if those aren't the columns' names


class Rows(NamedTuple):
    """Records that are rows, and how they become columns.

    Args:
        schema: the columns; None has it inferred.
        names: of columns that are inferred; None takes them from the rows.
        verify: whether a row that doesn't fit is an error; else what doesn't fit is null.
        atomic: whether records are the values of one column.
        keys: see `Read`.
    """

    schema: pa.Schema | None = None
    names: Sequence[str] | None = None
    verify: bool = True
    atomic: bool = False
    keys: tuple[str, ...] | None = None

    def read(self, records: Iterable[Any]) -> Read | None:
        """The records as Arrow; None if there are none from which to infer a schema.

        Raises:
            TypeError, ValueError: a record doesn't fit; the message names it, with column and value.
        """
        from headwater.sql import arrowrows

        rows = iter(records)
        schema, keys = self.schema, self.keys
        if schema is None:
            first = list(islice(rows, _LOOKED_AT))
            if not first:
                return None
            schema, keys = inferred(first, self.names, all_rows=False)
            rows = chain(first, rows)
        verify = self.verify and self.schema is not None
        return Read(schema, arrowrows.batches(rows, schema, verify=verify, atomic=self.atomic, keys=keys), keys)


class Lines(NamedTuple):
    """Records that are lines, str or bytes, of JSON or of text.

    Args:
        schema: the columns; of text there is one, `value`.
        is_json: whether they are JSON.
        mode: what becomes of a line that isn't: see `jsonlines.batches`.
        corrupt_column: likewise.
        timezone: of instants that name none.
    """

    schema: pa.Schema
    is_json: bool = False
    mode: str = "PERMISSIVE"
    corrupt_column: str | None = None
    timezone: str = "UTC"

    def read(self, records: Iterable[Any]) -> Read | None:
        """The records as Arrow.

        Raises:
            ValueError: a line isn't JSON, and the mode is FAILFAST.
        """
        from headwater.sql import jsonlines, textlines

        if not self.is_json:
            return Read(self.schema, textlines.batches(records))
        lines = jsonlines.batches(
            records, self.schema, mode=self.mode, corrupt_column=self.corrupt_column, timezone=self.timezone
        )
        return Read(lines.schema, lines)


class Part(NamedTuple):
    """What has become of a partition: a stream of Arrow, or a file that was written (then `stream` is empty)."""

    schema: pa.Schema | None  # None: there are no rows to infer it from
    keys: tuple[str, ...] | None = None
    stream: bytes = b""
    malformed: int = 0  # lines


def part_of(shape: Rows | Lines, directory: str, inline_max: int, partition: int, records: Iterable[Any]) -> Part:
    """Turn a partition's records into Arrow.

    Args:
        directory: where the file goes; made if it isn't there.
        inline_max: bytes of a stream that is answered.

    Raises:
        TypeError, ValueError: see `read` of the shape.
    """
    from headwater.sql import arrowrows

    gc.set_threshold(max(_COLLECTED_AFTER, gc.get_threshold()[0]), *gc.get_threshold()[1:])
    read = shape.read(records)
    if read is None:
        return Part(None)
    head: list[pa.RecordBatch] = []
    size = 0
    stream = b""
    for batch in read.batches:
        head.append(batch)
        size += batch.nbytes
        if size > inline_max:
            path = os.path.join(directory, f"part-{partition:05d}.arrow")
            arrowrows.write_file(path, chain(head, read.batches), read.schema)
            break
    else:
        stream = arrowrows.to_stream(head, read.schema)
    return Part(read.schema, read.keys, stream, getattr(read.batches, "malformed", 0))


def schema_of(records: Iterable[Any]) -> Iterator[pa.Schema]:
    """The one schema, before columns are renamed, that fits all records of a partition; nothing if there are none."""
    from headwater.sql import inference

    if rows := list(records):
        yield inference.infer_from(rows, all_rows=True)


def observed_in(mode: str, corrupt_column: str, records: Iterable[Any]) -> Iterator[Any]:
    """What is known of the lines of JSON of a partition."""
    from headwater.sql import jsoninference

    yield jsoninference.observed(records, mode=mode, corrupt_column=corrupt_column)


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
