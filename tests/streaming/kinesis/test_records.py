"""Aggregated records, and what only looks like one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.streaming.kinesis.records import MAGIC, Malformed, disaggregate, parts_of
from tests.streaming.kinesis.aggregation import aggregated, field

PARTS = [("k1", None, b"one"), ("k2", "340282366920938463463374607431768211455", b""), ("k1", "0", b"\x00" * 300)]


def answer(data: bytes) -> dict[str, object]:
    return {"Data": data, "PartitionKey": "outer", "SequenceNumber": "17"}


def signed(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message).digest()


def test_parts_of_an_aggregated_record_share_its_number_and_are_counted() -> None:
    parts = parts_of(answer(aggregated(PARTS)), "shard-0")
    assert [(part.partitionKey, part.explicitHashKey, part.data) for part in parts] == PARTS
    assert [(part.sequenceNumber, part.subSequenceNumber, part.shardId) for part in parts] == [
        ("17", 0, "shard-0"),
        ("17", 1, "shard-0"),
        ("17", 2, "shard-0"),
    ]


@given(st.lists(st.tuples(st.text(), st.none() | st.text(), st.binary()), max_size=8))
def test_disaggregation_gives_what_was_aggregated(parts: list[tuple[str, str | None, bytes]]) -> None:
    assert disaggregate(aggregated(parts)) == [(data, key, hash_key) for key, hash_key, data in parts]


def test_fields_of_newer_producers_are_passed_over() -> None:
    record = field(1, 0) + field(3, b"one") + field(4, field(1, b"tag")) + field(9, 5)
    more = field(7, 300) + b"\x45" + b"1234" + b"\x41" + b"12345678"  # a varint, a fixed32 and a fixed64
    assert disaggregate(signed(field(1, b"k") + more + field(3, record))) == [(b"one", "k", None)]


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + b"short",
        aggregated(PARTS)[:-1] + b"!",  # another digest
        aggregated(PARTS)[4:],
        signed(field(3, field(1, 0) + field(3, b"no table of keys"))),
        signed(field(1, b"k") + field(3, field(1, 0))),  # no data
        signed(b"\x0a\x7fcut"),
        signed(b"\x0f"),  # an unknown wire type
        signed(b"\xff" * 12),
        signed(field(1, b"\xff") + field(3, field(1, 0) + field(3, b"x"))),  # a key that isn't text
        b"plain",
    ],
    ids=range(11),
)
def test_what_is_not_aggregated_is_one_record(data: bytes) -> None:
    with pytest.raises(Malformed):
        disaggregate(data)
    (record,) = parts_of(answer(data), "s")
    assert (record.data, record.partitionKey, record.subSequenceNumber) == (data, "outer", 0)


@given(st.binary())
def test_any_signed_bytes_are_understood_or_kept_whole(message: bytes) -> None:
    data = signed(message)
    try:
        expected = len(disaggregate(data))
    except Malformed:
        expected = 1
    assert len(parts_of(answer(data), "s")) == expected
