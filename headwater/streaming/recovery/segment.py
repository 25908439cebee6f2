"""A segment of a log: its name, its format, and how it is read.

- The header comes first, and with it the version. A record's checksums cover its place and its segment.
- A segment that ends within a record, or in zeros, has a torn tail; whatever else can't be read is damage.

The format is described in docs/formats/log.md.
"""

from __future__ import annotations

import io
import os
import re
import struct
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

from headwater.base.cipher import KEY_ID_BYTES, Cipher, wrong_key
from headwater.errors import SparkException

RECORD_BYTES_MAX = 1 << 30  # AES-GCM's library takes less than 2 GiB at once
READ_BYTES = 1 << 20

_MAGIC = b"HWL\x01"  # the last byte is the format's version
_MARK = b"\xf7REC"  # begins a record, so that the next one is found behind damage
_PLAIN, _AES_256_GCM = 0, 1
_HEADER = struct.Struct("<4sI8s16s")  # magic, cipher, key id, salt; then the checksum of these
HEADER_BYTES = _HEADER.size + 4
_HEAD = struct.Struct("<4sI")  # mark, length of the body; then the head's checksum and the body's
_HEAD_BYTES = _HEAD.size + 8
_NAME = re.compile(r"log-(\d+)-(\d+)-(\d+)-([0-9a-f]{8})")


# ------------------------------------------------------------------------------------------------ values
class LogPosition(NamedTuple):
    """Where a record is. `list(position)` is JSON, `LogPosition(*that)` the position again."""

    path: str  # of the segment
    offset: int  # of the record in it, in bytes
    length: int  # of the record as stored, in bytes

    @property
    def log(self) -> str:
        """The name of the log's directory."""
        return self.path.split("/")[-2]

    @property
    def segment(self) -> SegmentName | None:
        """What the segment's name says; None if it is no segment's."""
        return SegmentName.parse(self.path.rpartition("/")[2])

    def below(self, directory: str) -> LogPosition:
        """The same place, once the directory that holds the log is this one."""
        return self._replace(path="/".join((directory, *self.path.split("/")[-2:])))


class SegmentName(NamedTuple):
    """What a segment's name says; segments are read in this order. Its records' times are at most `stop_ms`."""

    number: int  # one more than the greatest that the writer found, or had itself
    writer: str  # 8 hex digits, random
    start_ms: int
    stop_ms: int

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        match = _NAME.fullmatch(name)
        return cls(int(match[3]), match[4], int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"log-{self.start_ms}-{self.stop_ms}-{self.number}-{self.writer}"


class CorruptLogException(SparkException):
    """A part of a log can't be read: `lost_bytes` of the segment `path` from `offset` on."""

    def __init__(self, path: str, offset: int, lost_bytes: int, reason: str) -> None:
        super().__init__(
            f"log segment {path}, offset {offset}: {reason}; {lost_bytes} bytes can't be read. Restore the file from a "
            "copy. To go on without them, set headwater.streaming.log.corruption to skip."
        )
        self.path = path
        self.offset = offset
        self.lost_bytes = lost_bytes
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return CorruptLogException, (self.path, self.offset, self.lost_bytes, self.reason)


# ------------------------------------------------------------------------------------------------ format
class SegmentFormat:
    """Turns payloads into records of one segment and back. `seed`, the header's checksum, is in that of each record."""

    def __init__(self, header: bytes, cipher: Cipher | None) -> None:
        self.header = header
        self._seed = crc32(header[: _HEADER.size])
        salt = _HEADER.unpack_from(header)[3]
        self._cipher = None if cipher is None else cipher.for_segment(salt)

    @classmethod
    def new(cls, cipher: Cipher | None) -> SegmentFormat:
        kind, key_id = (_PLAIN, bytes(KEY_ID_BYTES)) if cipher is None else (_AES_256_GCM, cipher.key_id)
        fields = _HEADER.pack(_MAGIC, kind, key_id, os.urandom(16))
        return cls(fields + crc32(fields).to_bytes(4, "little"), cipher)

    @classmethod
    def of(cls, header: bytes, path: str, cipher: Cipher | None) -> SegmentFormat:
        """The format of a segment's header.

        Raises:
            ValueError: it is damaged.
            SparkException: it is of another version, or needs another key.
        """
        magic, kind, key_id, _ = _HEADER.unpack_from(header)
        if magic[:3] == _MAGIC[:3] and magic != _MAGIC:
            raise SparkException(
                f"log segment {path} has format {magic[3]}, this version reads {_MAGIC[3]}. Read it with the "
                "version of Headwater that wrote it."
            )
        if magic != _MAGIC or header[_HEADER.size :] != crc32(header[: _HEADER.size]).to_bytes(4, "little"):
            raise ValueError("the header is damaged")
        if kind == _PLAIN:
            return cls(header, None)  # written before the log was encrypted
        if kind != _AES_256_GCM:
            raise SparkException(f"log segment {path} has cipher {kind}, which this version doesn't know")
        if cipher is None or cipher.key_id != key_id:
            raise wrong_key(f"log segment {path}", key_id, cipher)
        return cls(header, cipher)

    def encode(self, payload: bytes, offset: int) -> bytes:
        """The record that holds a payload at an offset."""
        body = payload if self._cipher is None else self._cipher.seal(payload, self._context(offset))
        head = _HEAD.pack(_MARK, len(body))
        head_sum = self._head_sum(head, offset)
        return b"".join((head, head_sum.to_bytes(4, "little"), crc32(body, head_sum).to_bytes(4, "little"), body))

    def body_bytes(self, head: bytes, offset: int) -> int | None:
        """The length of the body behind a head; None if there is no head at this offset."""
        if head[:4] != _MARK or head[8:12] != self._head_sum(head[:8], offset).to_bytes(4, "little"):
            return None
        return int.from_bytes(head[4:8], "little")

    def decode(self, head: bytes, body: bytes, offset: int) -> bytes:
        """The payload of a record.

        Raises:
            ValueError: the body isn't what was written here.
        """
        if head[12:16] != crc32(body, int.from_bytes(head[8:12], "little")).to_bytes(4, "little"):
            raise ValueError("the checksum is wrong")
        return body if self._cipher is None else self._cipher.open(body, self._context(offset))

    def _head_sum(self, head: bytes, offset: int) -> int:
        return crc32(head, crc32(offset.to_bytes(8, "little"), self._seed))

    def _context(self, offset: int) -> bytes:
        return self.header + offset.to_bytes(8, "little")


# ------------------------------------------------------------------------------------------------ reading
class SegmentReader:
    """A segment opened to be read.

    Raises:
        EOFError: it ends within its header.
        CorruptLogException: its header is damaged.
        SparkException: it is of another version, or needs another key.
    """

    def __init__(self, path: str, file: BinaryIO, cipher: Cipher | None) -> None:
        self.path = path
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        header = self._at(0, HEADER_BYTES)
        self._require(len(header) == HEADER_BYTES)
        try:
            self._format = SegmentFormat.of(header, path, cipher)
        except ValueError as error:
            self._require(not self._only_zeros(0))
            raise CorruptLogException(path, 0, self.size, str(error)) from None

    def read(self, offset: int) -> tuple[bytes, int]:
        """The payload of the record at an offset, and the offset behind it.

        Raises:
            EOFError: the segment ends within the record, or was never written from here on.
            CorruptLogException: there is no whole record here.
        """
        head = self._at(offset, _HEAD_BYTES)
        self._require(len(head) == _HEAD_BYTES)
        body_bytes = self._format.body_bytes(head, offset)
        if body_bytes is None:
            self._require(not self._only_zeros(offset))
            raise self._corrupt(offset, "no record begins here")
        end = offset + _HEAD_BYTES + body_bytes
        self._require(end <= self.size)
        try:
            return self._format.decode(head, self._at(offset + _HEAD_BYTES, body_bytes), offset), end
        except ValueError as error:
            raise self._corrupt(offset, str(error)) from None

    def _corrupt(self, offset: int, reason: str) -> CorruptLogException:
        return CorruptLogException(self.path, offset, self._next(offset + 1) - offset, reason)

    def _next(self, offset: int) -> int:
        """Where the next record's head is, from an offset on; the segment's size if there is none."""
        while chunk := self._at(offset, READ_BYTES):
            at = chunk.find(_MARK)
            while at >= 0:
                if self._format.body_bytes(self._at(offset + at, _HEAD_BYTES), offset + at) is not None:
                    return offset + at
                at = chunk.find(_MARK, at + 1)
            offset += max(1, len(chunk) - len(_MARK) + 1)  # a mark may lie across two chunks
        return self.size

    def _only_zeros(self, offset: int) -> bool:
        """Whether nothing was written from here on: a file may have grown before the machine failed."""
        while chunk := self._at(offset, READ_BYTES):
            if chunk.count(0) != len(chunk):
                return False
            offset += len(chunk)
        return True

    def _at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(min(size, max(0, self.size - offset)))

    def _require(self, whole: bool) -> None:
        if not whole:
            raise EOFError(f"log segment {self.path} ends within a record")
