from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import IllegalArgumentException, SparkException
from headwater.formats.picklefile import (
    dump_byte_arrays,
    load_byte_arrays,
    read_pickle_file,
    read_values,
    write_pickle_file,
)

DATA = Path(__file__).parent / "data"
HEADER = 95  # bytes of ours, up to the end of the sync marker


def _written(records: Iterable[Any], batch_size: int = 10) -> bytes:
    file = io.BytesIO()
    write_pickle_file(records, file, batch_size)
    return file.getvalue()


def _read(content: bytes) -> list[Any]:
    return list(read_pickle_file(io.BytesIO(content)))


@given(st.lists(st.none() | st.integers() | st.text() | st.binary() | st.tuples(st.floats(0), st.text())), st.data())
def test_pickle_file_gives_back_what_was_written(records: list[Any], data: st.DataObject) -> None:
    assert _read(_written(iter(records), data.draw(st.integers(1, 12)))) == records


@pytest.mark.parametrize("name", ["pyspark-4.pickle", "pyspark-4-record-zlib.pickle", "pyspark-4-block-gzip.pickle"])
def test_pickle_file_of_pyspark_is_read(name: str) -> None:
    expected = [*((number, f"w{number}") for number in range(23)), None, 2.5, b"x", {"a": [1, 2]}]
    with open(DATA / name, "rb") as file:
        assert list(read_pickle_file(file)) == expected


def test_pickle_file_begins_as_pyspark_s() -> None:
    with open(DATA / "pyspark-4.pickle", "rb") as file:
        assert file.read(HEADER - 16) == _written([])[: HEADER - 16]


def test_byte_arrays_are_serialised_as_java_does() -> None:
    with open(DATA / "pyspark-4.pickle", "rb") as file:
        (value,) = read_values(file)
    assert dump_byte_arrays(load_byte_arrays(value)) == value


def test_pickle_file_holds_ten_pickles_a_value() -> None:
    values = list(read_values(io.BytesIO(_written(range(250)))))
    assert [len(load_byte_arrays(value)) for value in values] == [10, 10, 5]


def test_pickle_file_has_sync_markers_for_those_who_split_it() -> None:
    content = _written([bytes(1000)] * 1100)
    sync = content[HEADER - 16 : HEADER]
    places = [found.start() for found in re.finditer(re.escape(sync), content)]
    distances = [after - before for before, after in itertools.pairwise(places)]
    assert len(distances) == 5
    assert all(100 * 1024 <= distance <= 210_000 for distance in distances)
    assert _read(content) == [bytes(1000)] * 1100


def test_byte_arrays_may_refer_to_an_earlier_one() -> None:
    twice = dump_byte_arrays([b"ab", b""])[: -5 - 5] + b"\x71\x00\x7e\x00\x03"
    assert load_byte_arrays(twice) == [b"ab", b"ab"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"abcd", "not a Java object stream"),
        (b"\xac\xed\x00\x05\x73", "not an array of byte arrays"),
        (b"\xac\xed\x00\x05\x75\x72\x00\x02[I", "it holds the class \\[I"),
        (dump_byte_arrays([])[:-1] + b"\1\x70", "its element has the type code 0x70"),
        (dump_byte_arrays([])[:-1] + b"\1\x71\x00\x7e\x00\x00", "its element isn't a byte array"),
        (dump_byte_arrays([b"ab"])[:-1], "it ends at byte"),
        (b"\xac\xed\x00\x05\x75\x71\x00\x7e\x00\x00", "unknown handle 0"),
    ],
)
def test_byte_arrays_of_something_else_are_refused(value: bytes, message: str) -> None:
    with pytest.raises(SparkException, match=message):
        load_byte_arrays(value)


def test_pickle_file_that_was_cut_short_is_an_error_at_every_byte() -> None:
    content = _written(["abc"])
    assert _read(content[:HEADER]) == []
    for length in (*range(HEADER), *range(HEADER + 1, len(content))):
        with pytest.raises(SparkException, match=r"cut short|doesn't begin with SEQ"):
            _read(content[:length])


def test_pickle_file_whose_sync_marker_differs_is_damaged() -> None:
    content = _written([bytes(1000)] * 300)
    marker = content.rindex(b"\xff\xff\xff\xff") + 4
    with pytest.raises(SparkException, match="damaged: a sync marker differs"):
        _read(content[:marker] + bytes([content[marker] ^ 1]) + content[marker + 1 :])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"SEQ\x06", b"SEQ\x05", "version 6"),
        (b"io.NullWritable", b"io.LongWritable", "io.LongWritable and"),
        (
            b"BytesWritable\0\0",
            b"BytesWritable\1\0\7com.Lzo",
            r"compressed by com\.Lzo\. Those that can be read: .*Gzip",
        ),
    ],
)
def test_pickle_file_of_another_kind_is_refused(before: bytes, after: bytes, message: str) -> None:
    with pytest.raises(SparkException, match=message):
        _read(_written([1]).replace(before, after))


def test_pickle_file_needs_a_positive_batch_size() -> None:
    with pytest.raises(IllegalArgumentException, match="batchSize is 0"):
        _written([], 0)


@pytest.mark.parametrize("stored", [b"\x7f", b"\x8f\x80", b"\x8e\x01\x2c"])
def test_pickle_file_may_have_metadata_of_any_length(stored: bytes) -> None:
    length = stored[0] if len(stored) == 1 else int.from_bytes(stored[1:], "big")
    content = _written(["abc"])
    metadata = b"\0\0\0\1" + b"\4name" + stored + b"x" * length
    assert _read(content[: HEADER - 20] + metadata + content[HEADER - 16 :]) == ["abc"]


def test_pickle_file_that_gives_a_negative_length_is_damaged() -> None:
    with pytest.raises(SparkException, match="it gives a length of -129 bytes"):
        _read(b"SEQ\x06\x87\x80")
