"""Text whose records end with a text of the program's own, as `textinputformat.record.delimiter` says.

A record belongs to the split in which it starts. Where one starts is found by one rule for a split's begin and end:
delimiters are counted from a place that none of them can straddle, so that neighbours see the same `\\n\\n` within
`\\n\\n\\n`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, chain
from typing import BinaryIO

from headwater.filesystem import is_compressed
from headwater.formats.textfiles import BYTE_ORDER_MARK, TextSplit, decompressing, open_split

_READ_BYTES = 64 * 1024


def read_delimited(split: TextSplit, delimiter: bytes) -> Iterator[tuple[int, str]]:
    """The split's records without their delimiters, each with the byte of the decompressed file at which it starts."""
    return chain.from_iterable(_some(split, delimiter))


def _some(split: TextSplit, delimiter: bytes) -> Iterator[Iterator[tuple[int, str]]]:
    with decompressing(split.path), open_split(split) as file:
        start, left = 0, None
        if not is_compressed(split.path):
            start = _record_start(file, split.start, delimiter)
            left = _record_start(file, split.start + split.length, delimiter) - start
            file.seek(start)
        rest = b""  # of the record that isn't complete yet
        while data := _read(file, len(rest), left):
            if left is not None:
                left -= len(data)
            *records, rest = (rest + data).split(delimiter)
            yield _placed(start, records, delimiter)
            start += sum(map(len, records)) + len(records) * len(delimiter)
        if rest:
            yield _placed(start, [rest], delimiter)


def _read(file: BinaryIO, waiting: int, left: int | None) -> bytes:
    """The next bytes: more, the more are waiting, so that a long record isn't copied for each of its pieces."""
    count = max(_READ_BYTES, waiting)
    return file.read(count if left is None else min(count, left))


def _placed(start: int, records: list[bytes], delimiter: bytes) -> Iterator[tuple[int, str]]:
    starts = accumulate([len(record) + len(delimiter) for record in records], initial=start)
    texts = [record.decode("utf-8", "replace") for record in records]
    if start == 0 and texts:
        texts[0] = texts[0].removeprefix(BYTE_ORDER_MARK.decode())
    return zip(starts, texts)


def _record_start(file: BinaryIO, position: int, delimiter: bytes) -> int:
    """The first start of a record at or after `position`; the file's size if there is none."""
    if position == 0:
        return 0
    at = _undivided(file, max(0, position - len(delimiter)), delimiter)
    file.seek(at)
    data = b""
    while more := file.read(_READ_BYTES):
        data += more
        end = 0
        while (found := data.find(delimiter, end)) >= 0:
            end = found + len(delimiter)
            if at + end >= position:
                return at + end
        done = max(end, len(data) - len(delimiter) + 1)
        at, data = at + done, data[done:]
    return at + len(data)


def _undivided(file: BinaryIO, place: int, delimiter: bytes) -> int:
    """The last byte up to `place` that isn't within a delimiter, or is its first one."""
    reach = len(delimiter) - 1
    while place > 0:
        start = max(0, place - reach)
        file.seek(start)
        if delimiter not in file.read(place + reach - start):
            break
        place -= 1
    return place
