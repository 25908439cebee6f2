"""Lines of text as Arrow's record batches: the records of one column, without a look at what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa

__all__ = ["batches", "chunks", "text_of"]

_LINES_MAX = 32 << 10  # of a chunk
_LINES_FIRST = 1 << 10  # of the first chunk, which tells how long lines are
_BYTES = 8 << 20  # that a chunk should not exceed

Line = str | bytes | None


def batches(records: Iterable[Line], name: str = "value") -> Iterator[pa.RecordBatch]:
    """Lines as record batches of one string column.

    Args:
        records: text, or its UTF-8; bytes that are none become U+FFFD. None is null.
        name: of the column.

    >>> [batch.to_pydict() for batch in batches(["a", b"b\\xff", None])]
    [{'value': ['a', 'b\ufffd', None]}]
    """
    for lines in chunks(records):
        try:
            column = pa.array(lines, pa.string())
        except (pa.ArrowInvalid, UnicodeEncodeError):  # one isn't UTF-8, or is half of a surrogate pair
            column = pa.array([None if line is None else text_of(line) for line in lines], pa.string())
        parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]  # several above 2 GB
        yield from (pa.record_batch([part], [name]) for part in parts)


def chunks(records: Iterable[Line]) -> Iterator[list[Line]]:
    """The records in lists of about 8 MB, of 32 Ki records at most."""
    source = iter(records)
    count = _LINES_FIRST
    while lines := list(islice(source, count)):
        yield lines
        size = sum(len(line) for line in lines if line is not None)
        count = max(1, min(_LINES_MAX, 8 * count, _BYTES * len(lines) // max(1, size)))


def text_of(line: str | bytes) -> str:
    """The line as text that can be encoded: what is no UTF-8 becomes U+FFFD, half of a surrogate pair `?`."""
    if isinstance(line, bytes):
        return line.decode("utf-8", "replace")
    return line.encode("utf-8", "replace").decode()
