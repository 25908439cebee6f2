"""Hadoop's SequenceFile, version 6: a container of keys and values, which can be compressed and can be split.

- Keys and values are bytes here; `headwater.formats.writables` knows what they mean.
- A file is sections, each but the first beginning with a sync mark. A section belongs to the split in which it begins.
- A file that was cut short, or whose parts contradict each other, is an error that names the file and the place.

The grammar is in docs/formats/sequencefile.md.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from headwater.errors import SparkException
from headwater.filesystem import CODEC_PACKAGE, CODECS, codec_name, zstandard
from headwater.formats.writables import decode_vint, decode_vints, encode_vint

Compression = Literal["NONE", "RECORD", "BLOCK"]
Pair = tuple[bytes, bytes]

# Names in the metadata of our files: the class of what keys or values hold that are arrays.
KEY_ELEMENTS, VALUE_ELEMENTS = "headwater.key.elements", "headwater.value.elements"
SYNC_INTERVAL = 100 * 1024  # bytes between sync marks, as Hadoop's: smaller splits may be empty
_MAGIC = b"SEQ"
_VERSION = 6
_SYNC_BYTES = 16
_SYNC_ESCAPE = -1  # in place of a record's length: the sync marker follows
_BLOCK_BYTES = 1_000_000  # of keys and values in a compressed block, as Hadoop's
_READ_BYTES = 256 * 1024  # at once, so that a damaged length takes no more memory than the file has bytes
_SEARCH_BYTES = 64 * 1024
_GZIP_HEADER = 31  # zlib's number for it
_INT = struct.Struct(">i")
_LENGTHS = struct.Struct(">ii")  # what a record begins with: its length, and its key's


class Codec(NamedTuple):
    """How bytes are compressed."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


class Header(NamedTuple):
    """What a file says of itself. `length` is the header's, in bytes."""

    key_class: str
    value_class: str
    compression: Compression
    codec: str  # class name; empty if nothing is compressed
    metadata: Mapping[str, str]
    sync: bytes
    length: int


# ------------------------------------------------------------------------------------------------ codecs
def _decompress(decompressor: Callable[[], Any], data: bytes) -> bytes:
    """The content of compressed streams that are all of the data, each for a decompressor as `zlib.decompressobj()`."""
    contents: list[bytes] = []
    while data or not contents:
        stream = decompressor()
        contents.append(stream.decompress(data))
        if not stream.eof:  # none of them says so itself
            raise ValueError("it was cut short")
        data = stream.unused_data
    return b"".join(contents)


_ZLIB = Codec(zlib.compress, partial(_decompress, zlib.decompressobj))
_CODECS = {
    "DefaultCodec": _ZLIB,
    "DeflateCodec": _ZLIB,
    "GzipCodec": Codec(
        lambda data: gzip.compress(data, mtime=0), partial(_decompress, lambda: zlib.decompressobj(_GZIP_HEADER))
    ),
    "BZip2Codec": Codec(bz2.compress, partial(_decompress, bz2.BZ2Decompressor)),
    "ZStandardCodec": Codec(
        lambda data: cast(bytes, zstandard().ZstdCompressor(write_checksum=True).compress(data)),
        partial(_decompress, lambda: zstandard().ZstdDecompressor().decompressobj()),
    ),
}


# ------------------------------------------------------------------------------------------------ writing
def write_pairs(
    pairs: Iterable[Pair],
    file: BinaryIO,
    key_class: str,
    value_class: str,
    *,
    compression: Compression = "NONE",
    codec: str = CODEC_PACKAGE + "DefaultCodec",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write serialised keys and values to a new file.

    Args:
        pairs: in this order.
        file: at its start.
        key_class: Java's name of what the keys are.
        value_class: and of what the values are.
        compression: NONE; of each value (RECORD); of many keys and values together (BLOCK).
        codec: the class that compresses, with or without its package.
        metadata: names and values for the header.

    The sync marker is random, so two files of the same pairs differ in it.

    Raises:
        IllegalArgumentException: the codec is unknown.
    """
    sync, codec = os.urandom(_SYNC_BYTES), codec_name(codec)
    file.write(_header(key_class, value_class, compression, CODEC_PACKAGE + codec, metadata or {}, sync))
    mark = _INT.pack(_SYNC_ESCAPE) + sync
    compress = _CODECS[codec].compress
    if compression == "BLOCK":
        for block in _blocks(pairs):
            file.write(mark + _packed_block(block, compress))
        return
    since_sync = 0
    for key, value in pairs:
        if since_sync >= SYNC_INTERVAL:
            file.write(mark)
            since_sync = 0
        if compression == "RECORD":
            value = compress(value)
        record = b"".join((_LENGTHS.pack(len(key) + len(value), len(key)), key, value))
        file.write(record)
        since_sync += len(record)


def _header(
    key_class: str, value_class: str, compression: Compression, codec: str, metadata: Mapping[str, str], sync: bytes
) -> bytes:
    parts = [_MAGIC, bytes([_VERSION]), _text(key_class), _text(value_class)]
    parts.append(bytes([compression != "NONE", compression == "BLOCK"]))
    if compression != "NONE":
        parts.append(_text(codec))
    parts.append(_INT.pack(len(metadata)))
    parts += (_text(name) + _text(value) for name, value in metadata.items())
    return b"".join((*parts, sync))


def _text(text: str) -> bytes:
    data = text.encode()
    return encode_vint(len(data)) + data


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    block: list[Pair] = []
    size = 0
    for pair in pairs:
        block.append(pair)
        size += len(pair[0]) + len(pair[1])
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _packed_block(block: list[Pair], compress: Callable[[bytes], bytes]) -> bytes:
    parts = [encode_vint(len(block))]
    for side in (0, 1):
        halves = [pair[side] for pair in block]
        for content in (b"".join(encode_vint(len(half)) for half in halves), b"".join(halves)):
            packed = compress(content)
            parts += (encode_vint(len(packed)), packed)
    return b"".join(parts)


# ------------------------------------------------------------------------------------------------ reading
class SequenceFileReader:
    """A file opened to be read; one thread uses it.

    Args:
        file: at its start; it can be sought.
        name: of the file, for errors.

    Raises:
        SparkException: it is no SequenceFile of version 6, is compressed by a codec that isn't here, or is cut short.
    """

    def __init__(self, file: BinaryIO, name: str = "the SequenceFile") -> None:
        self._file = file if isinstance(file, (io.BufferedReader, io.BytesIO)) else _buffered(file)
        self._name = name
        self._at = 0  # the byte of the file that is read next
        self.header = self._read_header()
        codec = self.header.codec.removeprefix(CODEC_PACKAGE)
        if codec and codec not in _CODECS:
            raise SparkException(f"{name} is compressed by {self.header.codec}. Those that can be read: {CODECS}")
        self._decompress = _CODECS[codec].decompress if codec else None

    def pairs(self, start: int = 0, length: int | None = None) -> Iterator[Pair]:
        """The keys and values of the sections that begin in `[start, start + length)` (None: to the end of the file).

        Raises:
            SparkException: the file is damaged or cut short.
        """
        end = float("inf") if length is None else start + length
        first = self.header.length
        if first >= end:
            return iter(())
        self._at = self._file.seek(first) if start <= first else self._seek_mark(start, end)
        return self._in_blocks(end) if self.header.compression == "BLOCK" else self._by_record(end)

    def _by_record(self, end: float) -> Iterator[Pair]:
        read, packed = self._file.read, self._decompress is not None
        while head := read(_LENGTHS.size):
            if len(head) < _LENGTHS.size:
                raise self._cut_short(_LENGTHS.size - len(head))
            length, key_length = _LENGTHS.unpack(head)
            if length == _SYNC_ESCAPE:
                if self._at >= end:
                    return
                self._check_sync(head)
                continue
            if not 0 <= key_length <= length:
                raise self._damaged(f"a record of {length} bytes has a key of {key_length} bytes")
            self._at += _LENGTHS.size
            record = self._exactly(length)
            value = record[key_length:]
            yield record[:key_length], self._unpacked(value) if packed else value

    def _in_blocks(self, end: float) -> Iterator[Pair]:
        while self._at < end and (head := self._file.read(_INT.size)):
            if len(head) < _INT.size:
                raise self._cut_short(_INT.size - len(head))
            if _INT.unpack(head)[0] != _SYNC_ESCAPE:
                raise self._damaged("a block doesn't begin with a sync marker")
            self._check_sync(head)
            count = self._vint()
            key_lengths, keys, value_lengths, values = [self._exactly(self._vint()) for _ in range(4)]
            yield from zip(self._pieces(count, key_lengths, keys), self._pieces(count, value_lengths, values))

    def _pieces(self, count: int, packed_lengths: bytes, packed: bytes) -> list[bytes]:
        content = self._unpacked(packed)
        try:
            lengths = decode_vints(self._unpacked(packed_lengths))
        except SparkException as error:
            raise self._damaged(str(error)) from error
        if len(lengths) != count or sum(lengths) != len(content) or min(lengths, default=0) < 0:
            raise self._damaged("the lengths of a block don't fit its content")
        return [content[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]

    def _unpacked(self, data: bytes) -> bytes:
        assert self._decompress is not None
        try:
            return self._decompress(data)
        except Exception as error:  # each codec has exceptions of its own
            raise self._damaged(f"a part can't be decompressed: {error}") from error

    def _seek_mark(self, start: int, end: float) -> int:
        """Go to the first sync mark at or after `start`; returns its place, or one from `end` on if none is before."""
        mark = _INT.pack(_SYNC_ESCAPE) + self.header.sync
        at, data = self._file.seek(start), b""
        while at < end and (more := self._file.read(_SEARCH_BYTES)):
            data += more
            found = data.find(mark)
            if found >= 0:
                return self._file.seek(at + found)
            kept = data[-len(mark) + 1 :]
            at += len(data) - len(kept)
            data = kept
        return self._file.seek(0, io.SEEK_END)

    # -------------------------------------------------------------------------------------------- the header
    def _read_header(self) -> Header:
        begin = self._file.read(4)
        self._at = len(begin)
        if begin != _MAGIC + bytes([_VERSION]):
            raise SparkException(f"{self._name} doesn't begin with SEQ and version 6, as a Hadoop SequenceFile does")
        classes = self._text(), self._text()
        compressed, by_block = self._exactly(2)
        if max(compressed, by_block) > 1 or by_block > compressed:
            raise self._damaged(f"it gives the compression {compressed}, {by_block}")
        compression: Compression = "NONE" if not compressed else "BLOCK" if by_block else "RECORD"
        codec = self._text() if compressed else ""
        metadata = {self._text(): self._text() for _ in range(self._int())}
        sync = self._exactly(_SYNC_BYTES)
        return Header(*classes, compression, codec, metadata, sync, self._at)

    def _check_sync(self, head: bytes) -> None:
        """Read the rest of a sync mark, whose first bytes are there."""
        self._at += len(head)
        if head[_INT.size :] + self._exactly(_INT.size + _SYNC_BYTES - len(head)) != self.header.sync:
            raise self._damaged("a sync marker differs from that of the file's header")

    def _text(self) -> str:
        return self._exactly(self._vint()).decode("utf-8", "replace")

    def _vint(self) -> int:
        first = self._exactly(1)
        signed = first[0] - 256 if first[0] > 127 else first[0]
        more = 0 if signed >= -112 else -120 - signed if signed < -120 else -112 - signed
        return decode_vint(first + self._exactly(more), 0)[0]

    def _int(self) -> int:
        return int(_INT.unpack(self._exactly(_INT.size))[0])

    def _exactly(self, count: int) -> bytes:
        if count < 0:
            raise self._damaged(f"it gives a length of {count} bytes")
        data = self._file.read(count if count < _READ_BYTES else _READ_BYTES)
        if len(data) < count:
            parts, left = [data], count - len(data)
            while left and (data := self._file.read(min(left, _READ_BYTES))):
                parts.append(data)
                left -= len(data)
            if left:
                raise self._cut_short(left)
            data = b"".join(parts)
        self._at += count
        return data

    def _cut_short(self, missing: int) -> SparkException:
        return SparkException(f"{self._name} was cut short: {missing} bytes are missing at its end")

    def _damaged(self, how: str) -> SparkException:
        return SparkException(f"{self._name} is damaged: {how} (before byte {self._at})")


def _buffered(file: BinaryIO) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, file), _READ_BYTES)
