"""Compressed files as readable streams, by the extension of their names; Hadoop's names of what compresses them."""

from __future__ import annotations

import importlib
import io
import os
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from headwater.errors import IllegalArgumentException, SparkException

CODEC_PACKAGE = "org.apache.hadoop.io.compress."
# Hadoop's codecs, without their package -> the extension of files that they write.
CODEC_EXTENSIONS = {
    "GzipCodec": ".gz",
    "BZip2Codec": ".bz2",
    "ZStandardCodec": ".zst",
    "DeflateCodec": ".deflate",
    "DefaultCodec": ".deflate",
}
CODECS = ", ".join(CODEC_PACKAGE + name for name in CODEC_EXTENSIONS)
_READ_BYTES = 1024 * 1024
_INFLATE_BYTES = 64 * 1024  # compressed bytes read at once: they may become a thousand times more


def codec_name(codec: str) -> str:
    """The name, without its package, of a Hadoop codec that is supported.

    Raises:
        IllegalArgumentException: it isn't.
    """
    name = codec.removeprefix(CODEC_PACKAGE)
    if name not in CODEC_EXTENSIONS:
        raise IllegalArgumentException(f"compression codec {codec!r} is unknown. Use one of: {CODECS}")
    return name


def decompressed(file: BinaryIO, path: str) -> BinaryIO:
    """The decompressed content of a file, which is closed with it; the file itself if its name isn't that of one."""
    decompressor = _DECOMPRESSORS.get(os.path.splitext(path)[1])
    return decompressor(file) if decompressor else file


def is_compressed(path: str) -> bool:
    """Whether `decompressed` reads this file; then it can't be read from the middle."""
    return os.path.splitext(path)[1] in _DECOMPRESSORS


class _Decompressed(io.BufferedReader):
    """A decompressing stream that closes the file below with itself."""

    def __init__(self, stream: Any, below: BinaryIO) -> None:
        super().__init__(stream, _READ_BYTES)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _Inflating(io.RawIOBase):
    """Compressed streams one after the other, each read by a decompressor of its own (as `zlib.decompressobj()`)."""

    def __init__(self, below: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._below = below
        self._new = decompressor
        self._current: Any = None  # None between two streams
        self._input = b""  # what a stream left for the next
        self._output = memoryview(b"")  # decompressed, not handed out yet
        self._position = 0  # of what was handed out

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only to the beginning, or to where it is."""
        if offset or whence == io.SEEK_END:
            raise io.UnsupportedOperation(f"seek({offset}, {whence}) in a compressed file")
        if whence == io.SEEK_SET:
            self._below.seek(0)
            self._current, self._input, self._output, self._position = None, b"", memoryview(b""), 0
        return self._position

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            data = self._input or self._below.read(_INFLATE_BYTES)
            if not data:
                if self._current is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return 0
            self._current = self._current or self._new()
            self._output = memoryview(self._current.decompress(data))
            self._input = b""
            if self._current.eof:
                self._input = self._current.unused_data
                self._current = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        self._position += count
        return count


def _gunzip(file: BinaryIO) -> BinaryIO:
    import gzip

    return _Decompressed(gzip.GzipFile(fileobj=file, mode="rb"), file)


def _bunzip(file: BinaryIO) -> BinaryIO:
    import bz2

    return _Decompressed(bz2.BZ2File(file), file)


def _unzstd(file: BinaryIO) -> BinaryIO:
    return _Decompressed(_Inflating(file, lambda: zstandard().ZstdDecompressor().decompressobj()), file)


def _inflate(file: BinaryIO) -> BinaryIO:
    return _Decompressed(_Inflating(file, zlib.decompressobj), file)


_DECOMPRESSORS = {".gz": _gunzip, ".bz2": _bunzip, ".zst": _unzstd, ".deflate": _inflate}


def zstandard() -> Any:
    """The package zstandard, which only some users need."""
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise SparkException("zstd compression needs the package zstandard (pip install zstandard)") from error
