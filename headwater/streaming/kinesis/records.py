"""Records of a stream, taken out of the aggregated ones that the Kinesis producer library writes.

An aggregated record is `F3 89 9A C2`, a protocol buffer, and the MD5 of that. The buffer has a table of partition keys
(1), one of explicit hash keys (2) and records (3), each of them an index into the first (1), one into the second (2),
and data (3). What only begins like that is a record of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

MAGIC = b"\xf3\x89\x9a\xc2"
MD5_BYTES = 16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS_MAX = 70


class Record(NamedTuple):
    """A record as a message handler gets it.

    Fields: `data`, bytes; `partitionKey`; `sequenceNumber`, which the parts of an aggregated record share, and
    `subSequenceNumber`, which counts them from 0; `approximateArrivalTimestamp`; `explicitHashKey` and `shardId`.
    """

    data: bytes
    partitionKey: str
    sequenceNumber: str
    subSequenceNumber: int
    approximateArrivalTimestamp: datetime | None
    explicitHashKey: str | None
    shardId: str


class Malformed(ValueError):
    """Not an aggregated record."""


def parts_of(answer: Mapping[str, Any], shard: str) -> list[Record]:
    """The records that one record of GetRecords' answer holds."""
    data: bytes = answer["Data"]
    arrived: datetime | None = answer.get("ApproximateArrivalTimestamp")
    sequence: str = answer["SequenceNumber"]
    if data.startswith(MAGIC):
        try:
            return [
                Record(part, key, sequence, sub, arrived, hash_key, shard)
                for sub, (part, key, hash_key) in enumerate(disaggregate(data))
            ]
        except Malformed:
            pass  # its beginning is chance
    return [Record(data, answer["PartitionKey"], sequence, 0, arrived, None, shard)]


def disaggregate(data: bytes) -> list[tuple[bytes, str, str | None]]:
    """The (data, partition key, explicit hash key or None) in an aggregated record.

    Raises:
        Malformed: it is no aggregated record.
    """
    message, digest = data[len(MAGIC) : -MD5_BYTES], data[-MD5_BYTES:]
    if not data.startswith(MAGIC) or hashlib.md5(message, usedforsecurity=False).digest() != digest:
        raise Malformed("the magic number or the digest is not that of an aggregated record")
    keys: list[str] = []
    hash_keys: list[str] = []
    records: list[bytes] = []
    try:
        for field, value in _fields(message):
            if field == 1 and isinstance(value, bytes):
                keys.append(value.decode())
            elif field == 2 and isinstance(value, bytes):
                hash_keys.append(value.decode())
            elif field == 3 and isinstance(value, bytes):
                records.append(value)
        return [_part(record, keys, hash_keys) for record in records]
    except (IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _part(record: bytes, keys: list[str], hash_keys: list[str]) -> tuple[bytes, str, str | None]:
    fields: dict[int, Any] = dict(_fields(record))
    data = fields[3]
    if not isinstance(data, bytes):
        raise Malformed("the data of a record are no bytes")
    return data, keys[fields[1]], hash_keys[fields[2]] if 2 in fields else None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: number and value."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise Malformed(f"wire type {kind} at byte {at}")
        if at + size > len(message):
            raise Malformed(f"a field of {size} bytes at byte {at} of {len(message)}")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _VARINT_BITS_MAX:
            raise Malformed(f"a number without end at byte {at}")
