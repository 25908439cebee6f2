"""Hadoop's SequenceFile, version 6: a container of keys and values, which can be compressed and can be split.

1. Keys and values are bytes here; `headwater.writables` knows what they mean.
2. A file is sections, each but the first beginning with a sync mark. A section belongs to the split in which it begins.
3. A file that was cut short, or whose sync marks differ from the header's, is an error.
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
from typing import BinaryIO, Literal, NamedTuple, cast

from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import zstandard
from headwater.writables import decode_vint, encode_vint

Compression = Literal["NONE", "RECORD", "BLOCK"]
Pair = tuple[bytes, bytes]

_MAGIC = b"SEQ"
_VERSION = 6
_SYNC_BYTES = 16
_SYNC_ESCAPE = -1  # in place of a record's length: the sync marker follows
_SYNC_INTERVAL = 100 * 1024  # bytes between sync marks, as Hadoop's
_BLOCK_BYTES = 1_000_000  # of keys and values in a compressed block, as Hadoop's
_READ_BYTES = 256 * 1024
_SEARCH_BYTES = 64 * 1024
_INT = struct.Struct(">i")
_CODEC_PACKAGE = "org.apache.hadoop.io.compress."


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
def _unzstd(data: bytes) -> bytes:
    return cast(bytes, zstandard().ZstdDecompressor().decompressobj().decompress(data))


def _zstd(data: bytes) -> bytes:
    return cast(bytes, zstandard().ZstdCompressor().compress(data))


_CODECS = {
    "DefaultCodec": Codec(zlib.compress, zlib.decompress),
    "DeflateCodec": Codec(zlib.compress, zlib.decompress),
    "GzipCodec": Codec(lambda data: gzip.compress(data, mtime=0), gzip.decompress),
    "BZip2Codec": Codec(bz2.compress, bz2.decompress),
    "ZStandardCodec": Codec(_zstd, _unzstd),
}


def codec_class(name: str) -> str:
    """The full class name of a codec that we have.

    Raises:
        IllegalArgumentException: we haven't got it.
    """
    short = name.removeprefix(_CODEC_PACKAGE)
    if short not in _CODECS:
        raise IllegalArgumentException(f"compression codec {name!r} is unknown. Use one of: {_known_codecs()}")
    return _CODEC_PACKAGE + short


def _known_codecs() -> str:
    return ", ".join(_CODEC_PACKAGE + name for name in _CODECS)


# ------------------------------------------------------------------------------------------------ writing
def write_pairs(
    pairs: Iterable[Pair],
    file: BinaryIO,
    key_class: str,
    value_class: str,
    *,
    compression: Compression = "NONE",
    codec: str = _CODEC_PACKAGE + "DefaultCodec",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write serialised keys and values to a new file.

    The sync marker is random, so two files of the same pairs differ in it.
    """
    sync = os.urandom(_SYNC_BYTES)
    file.write(_header(key_class, value_class, compression, codec, metadata or {}, sync))
    mark = _INT.pack(_SYNC_ESCAPE) + sync
    compress = _CODECS[codec.removeprefix(_CODEC_PACKAGE)].compress
    if compression == "BLOCK":
        for block in _blocks(pairs):
            file.write(mark + _packed_block(block, compress))
        return
    since_sync = 0
    for key, value in pairs:
        if since_sync >= _SYNC_INTERVAL:
            file.write(mark)
            since_sync = 0
        if compression == "RECORD":
            value = compress(value)
        record = b"".join((_INT.pack(len(key) + len(value)), _INT.pack(len(key)), key, value))
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
        file: at its start.
        name: of the file, for errors.

    Raises:
        SparkException: it is no SequenceFile of version 6, is compressed by a codec that isn't here, or is cut short.
    """

    def __init__(self, file: BinaryIO, name: str = "the SequenceFile") -> None:
        self._file = file if isinstance(file, (io.BufferedReader, io.BytesIO)) else _buffered(file)
        self._name = name
        self._at = 0  # how many bytes of the file are read
        self.header = self._read_header()
        codec = self.header.codec.removeprefix(_CODEC_PACKAGE)
        if codec and codec not in _CODECS:
            raise SparkException(
                f"{name} is compressed by {self.header.codec}. Those that can be read: {_known_codecs()}"
            )
        self._decompress = _CODECS[codec].decompress if codec else None

    def pairs(self, start: int = 0, length: int | None = None) -> Iterator[Pair]:
        """The keys and values of the sections that begin in `[start, start + length)` (None: to the end of the file).

        Raises:
            SparkException: the file is damaged or cut short.
        """
        end = float("inf") if length is None else start + length
        if start > self.header.length:
            self._seek_mark(start)
        elif self.header.length >= end:
            return iter(())
        return self._in_blocks(end) if self.header.compression == "BLOCK" else self._by_record(end)

    def _by_record(self, end: float) -> Iterator[Pair]:
        while True:
            at = self._at
            head = self._file.read(4)
            if not head:
                return
            self._at += len(head)
            length = _INT.unpack(self._whole(head, 4))[0]
            if length == _SYNC_ESCAPE:
                if at >= end:
                    return
                self._check_sync()
                continue
            key_length = self._int()
            record = self._exactly(length)
            if not 0 <= key_length <= length:
                raise self._damaged(f"a record of {length} bytes tells a key of {key_length} bytes")
            value = record[key_length:]
            yield record[:key_length], self._unpacked(value) if self._decompress else value

    def _in_blocks(self, end: float) -> Iterator[Pair]:
        while True:
            at = self._at
            head = self._file.read(4)
            if not head or at >= end:
                return
            self._at += len(head)
            if _INT.unpack(self._whole(head, 4))[0] != _SYNC_ESCAPE:
                raise self._damaged("a block doesn't begin with a sync marker")
            self._check_sync()
            count = self._vint()
            key_lengths, keys, value_lengths, values = [self._exactly(self._vint()) for _ in range(4)]
            yield from zip(self._pieces(count, key_lengths, keys), self._pieces(count, value_lengths, values))

    def _pieces(self, count: int, packed_lengths: bytes, packed: bytes) -> Iterator[bytes]:
        lengths, content = self._unpacked(packed_lengths), self._unpacked(packed)
        at = start = 0
        for _ in range(count):
            length, at = decode_vint(lengths, at)
            if length < 0 or start + length > len(content):
                raise self._damaged("the lengths of a block don't fit its content")
            yield content[start : start + length]
            start += length

    def _unpacked(self, data: bytes) -> bytes:
        assert self._decompress is not None
        try:
            return self._decompress(data)
        except Exception as error:  # each codec has exceptions of its own
            raise self._damaged(f"a part can't be decompressed: {error}") from error

    def _seek_mark(self, start: int) -> None:
        """Go to the first sync mark at or after an offset, or to the end of the file."""
        mark = _INT.pack(_SYNC_ESCAPE) + self.header.sync
        self._file.seek(start)
        before, data = start, b""
        while more := self._file.read(_SEARCH_BYTES):
            data += more
            found = data.find(mark)
            if found >= 0:
                self._at = before + found
                self._file.seek(self._at)
                return
            before += max(0, len(data) - len(mark) + 1)
            data = data[-len(mark) + 1 :]
        self._at = self._file.seek(0, io.SEEK_END)

    # -------------------------------------------------------------------------------------------- the header
    def _read_header(self) -> Header:
        begin = self._file.read(4)
        self._at = len(begin)
        if begin != _MAGIC + bytes([_VERSION]):
            raise SparkException(f"{self._name} doesn't begin with SEQ and version 6, as a Hadoop SequenceFile does")
        classes = self._text(), self._text()
        compressed, by_block = self._exactly(2)
        compression: Compression = "NONE" if not compressed else "BLOCK" if by_block else "RECORD"
        codec = self._text() if compressed else ""
        metadata = {self._text(): self._text() for _ in range(self._int())}
        sync = self._exactly(_SYNC_BYTES)
        return Header(*classes, compression, codec, metadata, sync, self._at)

    def _check_sync(self) -> None:
        if self._exactly(_SYNC_BYTES) != self.header.sync:
            raise self._damaged("a sync marker differs from that of the file's header")

    def _text(self) -> str:
        return self._exactly(self._vint()).decode("utf-8", "replace")

    def _vint(self) -> int:
        first = self._exactly(1)
        signed = first[0] - 256 if first[0] > 127 else first[0]
        more = 0 if signed >= -112 else -120 - signed if signed < -120 else -112 - signed
        return decode_vint(first + self._exactly(more), 0)[0]

    def _int(self) -> int:
        return int(_INT.unpack(self._exactly(4))[0])

    def _exactly(self, count: int) -> bytes:
        if count < 0:
            raise self._damaged(f"it tells a length of {count} bytes")
        data = self._whole(self._file.read(count), count)
        self._at += count
        return data

    def _whole(self, data: bytes, count: int) -> bytes:
        if len(data) < count:
            raise SparkException(f"{self._name} was cut short: {count - len(data)} bytes are missing at its end")
        return data

    def _damaged(self, how: str) -> SparkException:
        return SparkException(f"{self._name} is damaged: {how}")


def _buffered(file: BinaryIO) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, file), _READ_BYTES)
