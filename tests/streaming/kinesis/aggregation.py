"""Aggregated records as the producer library writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MAGIC = b"\xf3\x89\x9a\xc2"


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def aggregated(parts: Sequence[tuple[str, str | None, bytes]]) -> bytes:
    """One record of (partition key, explicit hash key, data) parts."""
    keys = list(dict.fromkeys(key for key, _, _ in parts))
    hashes = list(dict.fromkeys(hash_key for _, hash_key, _ in parts if hash_key is not None))
    message = b"".join(field(1, key.encode()) for key in keys)
    message += b"".join(field(2, hash_key.encode()) for hash_key in hashes)
    for key, hash_key, data in parts:
        record = field(1, keys.index(key))
        if hash_key is not None:
            record += field(2, hashes.index(hash_key))
        message += field(3, record + field(3, data))
    return MAGIC + message + hashlib.md5(message).digest()
