"""PySpark's serializers: what they write they read, and the bytes are PySpark's."""

from __future__ import annotations

import datetime
import io
from typing import Any

import pytest

from headwater import MarshalSerializer, SparkContext
from headwater.serializers import (
    AutoBatchedSerializer,
    AutoSerializer,
    BatchedSerializer,
    CartesianDeserializer,
    CloudPickleSerializer,
    CompressedSerializer,
    CPickleSerializer,
    FlattenedValuesSerializer,
    NoOpSerializer,
    PairDeserializer,
    PickleSerializer,
    Serializer,
    UTF8Deserializer,
    read_int,
    write_int,
    write_with_length,
)

RECORDS = [None, 1, "two", ("three", [3.0]), {"four": b"4"}]


def written(serializer: Serializer, records: Any) -> io.BytesIO:
    stream = io.BytesIO()
    serializer.dump_stream(iter(records), stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    "serializer",
    [
        PickleSerializer(),
        CloudPickleSerializer(),
        MarshalSerializer(),
        AutoSerializer(),
        CompressedSerializer(PickleSerializer()),
        BatchedSerializer(PickleSerializer()),
        BatchedSerializer(PickleSerializer(), 2),
        AutoBatchedSerializer(PickleSerializer()),
        AutoBatchedSerializer(CompressedSerializer(MarshalSerializer()), 8),
    ],
    ids=repr,
)
def test_records_come_back_in_their_order(serializer: Serializer) -> None:
    records = RECORDS * 20
    assert list(serializer.load_stream(written(serializer, records))) == records
    assert list(serializer.load_stream(written(serializer, []))) == []


def test_a_frame_is_a_length_of_four_bytes_and_as_many_bytes() -> None:
    assert written(NoOpSerializer(), [b"ab", b""]).getvalue() == b"\0\0\0\2ab\0\0\0\0"
    assert list(NoOpSerializer().load_stream(io.BytesIO(b"\0\0\0\2ab"))) == [b"ab"]


def test_a_section_ends_at_its_mark_and_the_stream_goes_on() -> None:
    stream = written(NoOpSerializer(), [b"a"])
    stream.seek(0, io.SEEK_END)
    write_int(-1, stream)
    write_int(7, stream)
    stream.seek(0)
    assert list(NoOpSerializer().load_stream(stream)) == [b"a"]
    assert read_int(stream) == 7


def test_a_stream_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(ValueError, match="a frame of 5 bytes ends after 2: the stream is cut off"):
        list(NoOpSerializer().load_stream(io.BytesIO(b"\0\0\0\5ab")))
    with pytest.raises(ValueError, match="a frame's length is -77: this is no stream of frames"):
        list(NoOpSerializer().load_stream(io.BytesIO(b"\xff\xff\xff\xb3")))


def test_batches_have_the_size_that_was_asked_for() -> None:
    stream = written(BatchedSerializer(PickleSerializer(), 2), range(5))
    assert list(PickleSerializer().load_stream(stream)) == [[0, 1], [2, 3], [4]]


def test_automatic_batches_grow_up_to_the_best_size() -> None:
    stream = written(AutoBatchedSerializer(PickleSerializer(), 1000), range(3000))
    sizes = [len(batch) for batch in PickleSerializer().load_stream(stream)]
    assert sizes[:5] == [1, 2, 4, 8, 16]
    assert max(sizes) < 1000
    assert sum(sizes) == 3000


def test_long_lists_of_values_are_cut() -> None:
    stream = written(FlattenedValuesSerializer(PickleSerializer(), 2), [("a", [1, 2, 3]), ("b", [4])])
    assert list(PickleSerializer().load_stream(stream)) == [("a", [1, 2]), ("a", [3]), ("b", [4])]


def test_auto_serializer_pickles_what_marshal_does_not_know() -> None:
    serializer, day = AutoSerializer(), datetime.date(2026, 11, 29)
    assert [serializer.dumps(record)[:1] for record in (1, day, 1)] == [b"M", b"P", b"P"]
    assert serializer.loads(serializer.dumps(day)) == day


@pytest.mark.parametrize("encoded", [True, False])
def test_text_is_read_from_frames(encoded: bool) -> None:
    stream = io.BytesIO()
    for text in ("caf\u00e9", ""):
        write_with_length(text.encode(), stream)
    write_int(-5, stream)
    stream.seek(0)
    texts = list(UTF8Deserializer(use_unicode=encoded).load_stream(stream))
    assert texts == (["caf\u00e9", "", None] if encoded else [b"caf\xc3\xa9", b"", None])


def test_pairs_are_read_from_two_streams_in_one() -> None:
    batches = BatchedSerializer(PickleSerializer(), BatchedSerializer.UNKNOWN_BATCH_SIZE)
    stream = written(PickleSerializer(), [["a", "b"], [1, 2], ["c"], [3]])
    assert list(PairDeserializer(batches, batches).load_stream(stream)) == [("a", 1), ("b", 2), ("c", 3)]
    stream.seek(0)
    assert list(CartesianDeserializer(batches, batches).load_stream(stream))[:3] == [("a", 1), ("a", 2), ("b", 1)]
    with pytest.raises(ValueError, match=r"different number of items in batches: \(2, 1\)"):
        list(PairDeserializer(batches, batches).load_stream(written(PickleSerializer(), [["a", "b"], [1]])))


def test_serializers_are_equal_by_kind_and_parts() -> None:
    assert PickleSerializer() == CPickleSerializer()
    assert BatchedSerializer(PickleSerializer(), 2) == BatchedSerializer(PickleSerializer(), 2)
    assert BatchedSerializer(PickleSerializer(), 2) != BatchedSerializer(PickleSerializer(), 3)
    assert repr(BatchedSerializer(PickleSerializer(), 2)) == "BatchedSerializer(PickleSerializer(), 2)"


def test_a_context_takes_a_serializer(no_context: None) -> None:
    with SparkContext("local", "x", serializer=AutoBatchedSerializer(MarshalSerializer())) as sc:
        assert sc.parallelize(RECORDS).collect() == RECORDS
