"""Text and binary files: how they are split among partitions, read, and written.

- A line belongs to the split in which it starts, so that every line is read once whatever the splits.
- Lines end by `\\n`, `\\r\\n` or a lone `\\r`; the last one needs no end. Undecodable bytes become U+FFFD.
- A compressed file is one split.

Splits are Hadoop's: the total over the partitions asked for, at most a block, and a last one up to a tenth larger.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO, cast

from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import (
    CODEC_EXTENSIONS,
    FileStatus,
    codec_name,
    decompressed,
    is_compressed,
    list_files,
    open_raw,
    open_read,
    open_write,
    qualify,
    zstandard,
)

SPLIT_BYTES = 32 * 1024 * 1024
_SLOP = 1.1  # a last split may be this much larger, rather than one more be tiny
_PIECE_BYTES = 64 * 1024  # read, decoded and split at once; a MiB is half as fast, its lines outgrow the cache
_HELD_BYTES_MAX = 16 << 20  # of a decompressed file that is read to its end before its first line is given
_SEEK_BYTES = 4096  # looked through for the end of the line that a split begins within
_WRITE_RECORDS = 1000
_LINE_END = re.compile(rb"\n|\r\n?")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class TextSplit:
    """The lines of a file that start in `[start, start + length)`, in stored bytes; all of them if it's compressed."""

    path: str
    start: int
    length: int
    file_size: int | None = field(default=None, compare=False)  # as listed


@dataclass(frozen=True, slots=True)
class RecordSplit:
    """Whole records of a fixed length in a file."""

    path: str
    start: int
    length: int
    record_length: int
    file_size: int | None = field(default=None, compare=False)  # as listed


def text_splits(path: str, min_partitions: int, split_size: int = SPLIT_BYTES) -> list[TextSplit]:
    """The splits of a list of input paths, in order; none of an empty file.

    Args:
        path: as `list_files` takes it.
        min_partitions: how many splits there should be at least, from 1. Small or compressed files may make fewer.
        split_size: bytes of a split at most, apart from the slop.
    """
    files = list_files(path)
    goal = sum(file.size for file in files) // max(1, min_partitions)
    size = max(1, min(goal, split_size))
    return [split for file in files for split in text_splits_of(file, size)]


def text_splits_of(file: FileStatus, size: int = SPLIT_BYTES) -> Iterator[TextSplit]:
    """The splits of one file, of `size` bytes."""
    return byte_splits_of(file, file.size if is_compressed(file.path) else size)


def byte_splits_of(file: FileStatus, size: int) -> Iterator[TextSplit]:
    """As `text_splits_of`, for formats that compress within the file: those are split whatever their names say."""
    start, left = 0, file.size
    while left / max(1, size) > _SLOP:
        yield TextSplit(file.path, start, size, file.size)
        start += size
        left -= size
    if left:
        yield TextSplit(file.path, start, left, file.size)


def read_text_split(split: TextSplit, use_unicode: bool = True) -> Iterator[Any]:
    """The split's lines without their ends: str, or bytes unless `use_unicode`."""
    pieces = text_pieces(split)
    return lines_of(pieces) if use_unicode else chain.from_iterable(map(_bytes_lines, pieces))


class TextLines(chain[str]):
    """Lines, which can be had as the pieces that they are in, instead: by who takes no line before.

    Attributes:
        pieces: of whole lines, as bytes.
    """

    pieces: Iterator[bytes]


def lines_of(pieces: Iterator[bytes]) -> TextLines:
    """The lines of pieces of whole lines."""
    lines = TextLines.from_iterable(map(text_lines, pieces))
    assert isinstance(lines, TextLines)
    lines.pieces = pieces
    return lines


def count_lines(piece: bytes) -> int:
    """How many lines there are in a piece of whole lines."""
    if b"\r" in piece:
        return len(text_lines(piece))
    ends = len(piece) - len(piece.replace(b"\n", b""))  # twice as quick as `count`
    return ends + (not piece.endswith(b"\n") and bool(piece))


def text_lines(piece: bytes) -> list[str]:
    """The lines, without their ends, of a piece of whole lines."""
    text = piece.decode("utf-8", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _bytes_lines(piece: bytes) -> list[bytes]:
    if b"\r" in piece:
        piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = piece.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def text_pieces(split: TextSplit, opened: BinaryIO | None = None) -> Iterator[bytes]:
    """The split's bytes, in pieces of whole lines; `opened` is its file, if `open_split` has opened it."""
    return (piece.removeprefix(BYTE_ORDER_MARK) if at == 0 else piece for at, piece in _placed_pieces(split, opened))


def read_placed_lines(split: TextSplit) -> Iterator[tuple[int, str]]:
    """The split's lines without their ends, each with the byte of the decompressed file at which it starts."""
    return chain.from_iterable(map(_placed_lines, _placed_pieces(split)))


def _placed_lines(placed: tuple[int, bytes]) -> Iterator[tuple[int, str]]:
    at, piece = placed
    starts = [at, *(at + found.end() for found in _LINE_END.finditer(piece))]
    return zip(starts, text_lines(piece.removeprefix(BYTE_ORDER_MARK) if at == 0 else piece))


def _placed_pieces(split: TextSplit, opened: BinaryIO | None = None) -> Iterator[tuple[int, bytes]]:
    """The split's bytes, in pieces of whole lines, each with its place in the decompressed file."""
    with decompressing(split.path), opened or open_split(split) as file:
        left = None if is_compressed(split.path) else _seek_lines(file, split)
        at = split.start if left is None else file.tell()
        for piece in _whole_lines(file, left):
            yield at, piece
            at += len(piece)


def open_split(split: TextSplit) -> BinaryIO:
    """The file of a split, decompressed."""
    return open_read(split.path, split.file_size)


def open_sound(split: TextSplit | RecordSplit, identity: int | str | None) -> BinaryIO:
    """The file of a split, if it's the one that was listed and its bytes can be had.

    A compressed text file is decompressed to its end first. What is small is decompressed once and held; of a larger
    file nothing is held, and it is decompressed again.

    Args:
        split: of the file.
        identity: of the file, as listed.

    Raises:
        Exception: it can't be opened or decompressed, has been replaced, or become shorter; or, if it's compressed,
            longer; whatever the file system raises.
    """
    compressed = isinstance(split, TextSplit) and is_compressed(split.path)
    file = open_raw(split.path, split.file_size)
    try:
        _check_listed(file, split, identity, whole=compressed)
        return _decompress(file, split.path) if compressed else file
    except BaseException:
        file.close()
        raise


def _check_listed(file: BinaryIO, split: TextSplit | RecordSplit, identity: int | str | None, *, whole: bool) -> None:
    if isinstance(identity, int) and os.fstat(file.fileno()).st_ino != identity:
        raise SparkException(f"{qualify(split.path)} was replaced by another file after it had been listed")
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size < split.start + split.length or (whole and size != split.file_size):
        raise SparkException(
            f"{qualify(split.path)} has {size} bytes, and had {split.file_size} when it was listed. Was it listed "
            "while it was written?"
        )


def _decompress(file: BinaryIO, path: str) -> BinaryIO:
    """The decompressed file, at its beginning, after it was read to its end."""
    held: list[bytes] = []
    size = 0
    with decompressing(path):
        sound = decompressed(file, path)
        while data := sound.read(_PIECE_BYTES):
            size += len(data)
            if size <= _HELD_BYTES_MAX:
                held.append(data)
            else:
                held.clear()
        if size <= _HELD_BYTES_MAX:
            sound.close()
            return io.BytesIO(b"".join(held))
        sound.seek(0)
        return sound


@contextmanager
def decompressing(path: str) -> Iterator[None]:
    """Names the file in what a decompressor raises: each has exceptions of its own, and none knows the name."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SparkException) or not is_compressed(path):
            raise
        raise SparkException(f"{qualify(path)} can't be decompressed: {error}. Was it written to its end?") from error


def _seek_lines(file: BinaryIO, split: TextSplit) -> int:
    """Go to the split's first line; returns the length of its lines.

    Both ends are found by one rule, so neighbours can't disagree, also within `\\r\\n`.
    """
    start = _line_start(file, split.start)
    end = _line_start(file, split.start + split.length)
    file.seek(start)
    return end - start


def _line_start(file: BinaryIO, position: int) -> int:
    """The first start of a line at or after `position`; the file's size if there is none."""
    if position == 0:
        return 0
    at = position - 1  # the byte before shows whether a line starts right here
    file.seek(at)
    after_return = False
    while data := file.read(_SEEK_BYTES):
        if after_return:
            return at + data.startswith(b"\n")
        found = _LINE_END.search(data)
        if found and (found.end() < len(data) or found[0].endswith(b"\n")):
            return at + found.end()
        after_return = found is not None  # a \r that ends the data may be half of \r\n
        at += len(data)
    return at


def _whole_lines(file: BinaryIO, left: int | None) -> Iterator[bytes]:
    """The next `left` bytes (None: all), cut only where a line ends."""
    rest: list[bytes] = []  # of the line that no piece has ended yet
    while left != 0 and (data := file.read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))):
        if left is not None:
            left -= len(data)
        # A \r that ends the data may be half of \r\n.
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(len(data) - 1, 0))) + 1
        if cut:
            rest.append(data[:cut])
            yield b"".join(rest)
            rest = [data[cut:]]
        else:
            rest.append(data)
    if last := b"".join(rest):
        yield last


def file_groups(path: str, min_partitions: int) -> list[list[FileStatus]]:
    """The files of a list of input paths, grouped for partitions that hold whole files."""
    files = list_files(path)
    most = -(-sum(file.size for file in files) // max(1, min_partitions))
    groups: list[list[FileStatus]] = []
    size = 0
    for file in files:
        if not groups or size + file.size > most:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return groups


def whole_text(path: str, use_unicode: bool = True) -> tuple[str, Any]:
    """A file's URI and its decompressed content: str, or bytes unless `use_unicode`."""
    with decompressing(path), open_read(path) as file:
        content = file.read()
    return qualify(path), content.decode("utf-8", "replace") if use_unicode else content


def binary_file(path: str) -> tuple[str, bytes]:
    """A file's URI and its content as it is stored."""
    with open_raw(path) as file:
        return qualify(path), file.read()


def binary_record_splits(
    path: str, record_length: int, min_partitions: int = 1, split_size: int = SPLIT_BYTES
) -> list[RecordSplit]:
    """The splits of files of records of `record_length` bytes, from 1.

    Raises:
        SparkException: a file ends within a record.
    """
    if record_length < 1:
        raise IllegalArgumentException(f"recordLength is {record_length}: it must be at least 1 byte")
    files = list_files(path)
    goal = min(sum(file.size for file in files) // max(1, min_partitions), split_size)
    return [split for file in files for split in record_splits_of(file, record_length, goal)]


def record_splits_of(file: FileStatus, record_length: int, size: int = SPLIT_BYTES) -> list[RecordSplit]:
    """The splits of one file, of `size` bytes rounded down to whole records, but of one record at least.

    Raises:
        SparkException: the file ends within a record.
    """
    if file.size % record_length:
        raise _partial_record(file.path, file.size, record_length)
    size = max(1, size // record_length) * record_length
    return [
        RecordSplit(file.path, start, min(size, file.size - start), record_length, file.size)
        for start in range(0, file.size, size)
    ]


def _partial_record(path: str, size: int, record_length: int) -> SparkException:
    return SparkException(
        f"{qualify(path)} ends within a record: its {size} bytes are {size // record_length} records of {record_length}"
        f" bytes and {size % record_length} bytes more. Is recordLength right, and was the file written to its end?"
    )


def read_binary_records(split: RecordSplit) -> Iterator[bytes]:
    """The split's records."""
    return chain.from_iterable(record_pieces(split))


def record_pieces(split: RecordSplit, opened: BinaryIO | None = None) -> Iterator[list[bytes]]:
    """The split's records, some at a time; `opened` is its file, if it has been opened."""
    length = split.record_length
    batch_bytes = max(1, _PIECE_BYTES // length) * length
    with opened or open_raw(split.path, split.file_size) as file:
        file.seek(split.start)
        for start in range(split.start, split.start + split.length, batch_bytes):
            wanted = min(batch_bytes, split.start + split.length - start)
            data = file.read(wanted)
            if len(data) < wanted:  # the file was cut after it had been listed
                raise _partial_record(split.path, start + len(data), length)
            yield [data[at : at + length] for at in range(0, wanted, length)]


def write_text(records: Iterable[Any], file: BinaryIO) -> None:
    """Write `str()` of each record as a line of UTF-8; bytes as they are."""
    source = iter(records)
    while batch := list(islice(source, _WRITE_RECORDS)):
        try:
            file.write(("\n".join(batch) + "\n").encode())
        except TypeError:  # not all of them are strings
            file.write(b"".join(map(_line, batch)))


def _line(record: Any) -> bytes:
    return (record if isinstance(record, bytes) else str(record).encode()) + b"\n"


def codec_extension(codec: str | None) -> str:
    """The extension of files that a Hadoop compression codec writes; empty for None.

    Args:
        codec: a class name, with or without its package.

    >>> codec_extension("org.apache.hadoop.io.compress.GzipCodec"), codec_extension(None)
    ('.gz', '')
    """
    return "" if codec is None else CODEC_EXTENSIONS[codec_name(codec)]


@contextmanager
def create_file(path: str) -> Iterator[BinaryIO]:
    """A new file to write, compressed if its name ends in .gz, .bz2, .zst or .deflate."""
    with open_write(path) as file:
        compressor = _COMPRESSORS.get(os.path.splitext(path)[1])
        if compressor is None:
            yield file
        else:
            with compressor(file) as compressed:
                yield compressed


class _Deflating(io.RawIOBase):
    """One zlib stream."""

    def __init__(self, below: BinaryIO) -> None:
        self._below = below
        self._deflate = zlib.compressobj()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._below.write(self._deflate.compress(data))
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._below.write(self._deflate.flush())
        super().close()


def _zstd(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, zstandard().ZstdCompressor().stream_writer(file, closefd=False))


_COMPRESSORS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="wb", mtime=0)),
    ".bz2": lambda file: cast(BinaryIO, bz2.BZ2File(file, "wb")),
    ".zst": _zstd,
    ".deflate": lambda file: cast(BinaryIO, _Deflating(file)),
}
