"""Blocks: immutable bytes with an id, kept as files by the executor that owns them.

Received data, cached partitions, shuffle outputs and broadcasts are all blocks. A block's first byte is its codec. A
block is written under a temporary name and renamed, so that who finds it finds all of it; it outlives the worker
that wrote it. Memory means a memory file system where there is one; disk means `spark.local.dir`. What memory takes no
more goes to disk, if it may.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from headwater.base.cipher import Cipher, KeySource, SealedReader
from headwater.base.pickling import dump_records, load_records
from headwater.engine.blockids import family
from headwater.engine.scratch import free_bytes
from headwater.errors import SparkException

logger = logging.getLogger(__name__)

_RECORDS, _TEXT, _COMPRESSED = b"P", b"T", b"Z"
# Smaller blocks gain nothing from compression.
_COMPRESS_FROM_BYTES = 4096
# Text is decoded and split piece by piece: the lines of a larger piece outgrow the processor's cache.
_TEXT_PIECE_BYTES = 64 * 1024
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


# ------------------------------------------------------------------------------------------------ encodings
def encode_records(records: list[Any], *, compress: bool = False) -> bytes:
    """A block of Python records."""
    body = dump_records(records)
    if compress and len(body) >= _COMPRESS_FROM_BYTES:
        import zstandard

        return _COMPRESSED + zstandard.ZstdCompressor(level=1).compress(body)
    return _RECORDS + body


def text_block(pieces: Sequence[bytes]) -> list[bytes]:
    """A block of text: whole UTF-8 lines, each ended by a newline, as they came; returned in pieces, not copied."""
    return [_TEXT, *pieces]


def decode(block: bytes, load: Callable[[bytes | memoryview], list[Any]] = load_records) -> Iterable[Any]:
    """A block's records; `load` unpickles those that aren't text.

    Text that isn't UTF-8 is decoded with U+FFFD; who stored it has counted such lines.
    """
    codec = block[:1]
    if codec == _RECORDS:
        return load(memoryview(block)[1:])
    if codec == _COMPRESSED:
        import zstandard

        return load(zstandard.ZstdDecompressor().decompress(memoryview(block)[1:]))
    if codec == _TEXT:
        return chain.from_iterable(map(_text_lines, _text_pieces(block)))
    raise SparkException(f"a block of unknown codec {codec!r}")


def _text_pieces(block: bytes) -> Iterator[bytes]:
    """A text block in pieces of whole lines."""
    start = 1
    while start < len(block):
        end = block.find(b"\n", start + _TEXT_PIECE_BYTES) + 1 or len(block)
        yield block[start:end]
        start = end


def _text_lines(piece: bytes) -> list[str]:
    text = piece.decode(errors="replace")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    return lines


# ------------------------------------------------------------------------------------------------ the files
class NoSpace(SparkException):
    """A place takes no more."""


class Placed(NamedTuple):
    """A block that was written: its size in bytes, and where it is."""

    size: int
    in_memory: bool


@dataclass(frozen=True)
class Places:
    """Where an executor's blocks are files: picklable, so that its workers can write and read them.

    With a key, what is on disk is encrypted. What is in a memory file system is memory, and is not.
    """

    memory: str
    disk: str
    reserve: int = 0  # bytes of the memory file system that stay free, for what others have there
    key: KeySource | None = None
    memory_is_disk: bool = False  # there is no useful memory file system

    def make(self) -> None:
        for path in {self.memory, self.disk}:
            os.makedirs(path, mode=0o700, exist_ok=True)

    def takes(self, size: int) -> bool:
        """Whether memory has room for that many bytes. Asks the file system, which has other users, and costs 2 us."""
        return not self.reserve or free_bytes(self.memory) >= self.reserve + size

    def place(self, block_id: str, pieces: Sequence[bytes | memoryview], *, use_memory: bool, use_disk: bool) -> Placed:
        """Write a block to memory, or to disk if memory may not be used or takes no more.

        Raises:
            NoSpace: no place that may be used takes it.
        """
        if use_memory and (not use_disk or self.takes(sum(map(len, pieces)))):
            try:
                return Placed(self.write(block_id, pieces, in_memory=True), in_memory=True)
            except NoSpace:
                if not use_disk:
                    raise
        return Placed(self.write(block_id, pieces, in_memory=False), in_memory=False)

    def in_memory(self, block_id: str) -> bool:
        """Whether a block that is here is in memory."""
        return os.path.exists(os.path.join(self.memory, block_id))

    def write(self, block_id: str, pieces: Iterable[bytes | memoryview], *, in_memory: bool) -> int:
        """Write a block to one place; returns its size in bytes.

        Raises:
            NoSpace: that is full. Nothing is left behind.
        """
        path = os.path.join(self.memory if in_memory else self.disk, block_id)
        temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
        size = 0
        cipher = self._cipher(os.path.dirname(path))
        if cipher is not None:
            pieces = cipher.seal(pieces, block_id)
        try:
            with open(temporary, "wb", buffering=0) as file:
                for piece in pieces:
                    size += len(piece)
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
            os.rename(temporary, path)
        except OSError as error:
            if os.path.exists(temporary):
                os.unlink(temporary)
            if error.errno in _DISK_FULL:
                raise NoSpace(
                    f"no space left on {os.path.dirname(path)} for block {block_id}: free some, or point "
                    "spark.local.dir to a larger disk"
                ) from error
            raise
        return size

    def remove_prefix(self, prefix: str) -> None:
        """Remove the files whose block's id starts so, unfinished ones included."""
        for directory in (self.memory, self.disk):
            for name in os.listdir(directory):
                if name.startswith(prefix):
                    _unlink(os.path.join(directory, name))

    def read(self, block_id: str, offset: int = 0, length: int = -1) -> bytes | None:
        """A block's bytes, or a range of them; None if the block isn't here."""
        for directory in (self.memory, self.disk):
            try:
                fd = os.open(os.path.join(directory, block_id), os.O_RDONLY)
            except FileNotFoundError:
                continue
            with open(fd, "rb", buffering=0):
                cipher = self._cipher(directory)
                if cipher is not None:
                    return _read_sealed(fd, cipher, block_id, offset, length)
                if length < 0:
                    length = os.fstat(fd).st_size - offset
                return _read_exactly(fd, offset, length)
        return None

    def _cipher(self, directory: str) -> Cipher | None:
        """What the blocks of a directory are encrypted by, if they are."""
        on_disk = directory == self.disk or self.memory_is_disk
        return self.key.cipher if self.key is not None and on_disk else None


def _read_exactly(fd: int, offset: int, length: int) -> bytes:
    first = os.pread(fd, length, offset)
    if len(first) == length:
        return first
    pieces, got = [first], len(first)
    while got < length:  # a read returns 2 GiB at most
        piece = os.pread(fd, length - got, offset + got)
        if not piece:
            raise SparkException(f"a block ended {length - got} bytes early")
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)


def _read_sealed(fd: int, cipher: Cipher, block_id: str, offset: int, length: int) -> bytes:
    def read_at(at: int, count: int) -> bytes:
        return os.pread(fd, count, at)

    return SealedReader(cipher, read_at, os.fstat(fd).st_size, block_id, f"block {block_id}").read(offset, length)


# ------------------------------------------------------------------------------------------------ the store
@dataclass(slots=True)
class _Held:
    size: int
    in_memory: bool
    may_move_to_disk: bool
    evictable: bool


class Put(NamedTuple):
    """What came of a block that was put."""

    in_memory: bool
    dropped: list[str]  # the blocks that were dropped for it


class BlockStore:
    """The index of an executor's blocks: what is where, how much memory it takes, what must leave.

    Any thread may call it: one lock guards the index. Past `memory_limit`, or when the memory file system is nearly
    full, the blocks used longest ago leave memory: those that may are moved to disk, cached partitions at a memory-only
    level are dropped (and computed anew when they are needed); the others stay, since nothing could bring them back.
    """

    def __init__(self, places: Places, memory_limit: int) -> None:
        self._places = places
        self._memory_limit = memory_limit
        self._lock = threading.RLock()
        self._held: dict[str, _Held] = {}
        self._leaving: OrderedDict[str, None] = OrderedDict()  # those that may leave memory, used longest ago first
        self._families: defaultdict[str, set[str]] = defaultdict(set)  # the ids of those held, by `blockids.family`
        self._memory_used = 0  # the sum of the sizes of what is held in memory
        self._warned = False  # that the memory file system is nearly full
        places.make()

    def put(
        self, block_id: str, pieces: Sequence[bytes | memoryview], *, use_memory: bool, use_disk: bool, evictable: bool
    ) -> Put:
        """Write a block; one that nothing could bring back goes to disk when memory is full, whatever its level.

        Raises:
            NoSpace: no place that it may be in takes it.
        """
        fits = not use_disk or sum(map(len, pieces)) <= self._memory_limit
        placed = self._places.place(
            block_id, pieces, use_memory=use_memory and fits, use_disk=use_disk or not evictable
        )
        dropped = self.added(block_id, *placed, use_disk=use_disk, evictable=evictable)
        return Put(placed.in_memory, dropped)

    def takes(self, size: int) -> bool:
        """Whether memory has room for that many bytes; see `Places.takes`."""
        return self._places.takes(size)

    def added(self, block_id: str, size: int, in_memory: bool, *, use_disk: bool, evictable: bool) -> list[str]:
        """A worker wrote this block; returns the ids of the blocks that were dropped to make room."""
        with self._lock:
            before = self._held.get(block_id)
            self._forget(block_id)
            if before is not None and before.in_memory != in_memory:
                if os.path.exists(self._file(block_id, in_memory)):
                    _unlink(self._file(block_id, before.in_memory))
                else:
                    in_memory = before.in_memory  # it was moved after the worker had found it there
            self._held[block_id] = _Held(size, in_memory, use_disk, evictable)
            self._families[family(block_id)].add(block_id)
            if in_memory and (use_disk or evictable):
                self._leaving[block_id] = None
            if in_memory:
                self._memory_used += size
            return self._make_room()

    def _make_room(self) -> list[str]:
        dropped: list[str] = []
        staying = []
        while self._is_full() and self._leaving:
            block_id, _ = self._leaving.popitem(last=False)
            held = self._held[block_id]
            if not held.may_move_to_disk:
                self.remove([block_id])
                dropped.append(block_id)
            elif not self._move_to_disk(block_id, held):
                staying.append(block_id)
        for block_id in reversed(staying):
            self._leaving[block_id] = None
            self._leaving.move_to_end(block_id, last=False)
        return dropped

    def _is_full(self) -> bool:
        """Whether something must leave memory: before the file system takes no more, so that what is new goes there."""
        if self._memory_used > self._memory_limit:
            return True
        scarce = not self._places.takes(self._places.reserve)
        if scarce and not self._warned:
            self._warned = True
            logger.warning(
                "the memory file system of %s is nearly full: blocks go to disk, or are dropped and computed again if "
                "they are kept in memory only. Make it larger (docker run --shm-size), or see what else is there",
                self._places.memory,
            )
        return scarce

    def _move_to_disk(self, block_id: str, held: _Held) -> bool:
        """Move a block; if the disk takes no more, that is logged, the block stays where it is, and this is False."""
        data = self._places.read(block_id)
        if data is not None:
            try:
                self._places.write(block_id, [data], in_memory=False)
            except (OSError, SparkException) as error:
                logger.warning("block %s can't leave memory for the disk: %s", block_id, error)
                return False
            os.unlink(os.path.join(self._places.memory, block_id))
        held.in_memory = False
        self._memory_used -= held.size
        return True

    def used(self, block_ids: Iterable[str]) -> None:
        """These blocks were read just now: others leave before them."""
        with self._lock:
            for block_id in block_ids:
                if block_id in self._leaving:
                    self._leaving.move_to_end(block_id)

    def get(self, block_id: str, offset: int = 0, length: int = -1) -> bytes | None:
        """A block's bytes; None if it isn't here."""
        return self._places.read(block_id, offset, length)

    def remove(self, block_ids: Iterable[str]) -> None:
        """Remove blocks; those that aren't here are passed over."""
        with self._lock:
            for block_id in block_ids:
                held = self._held.get(block_id)
                self._forget(block_id)
                if held is not None:
                    _unlink(self._file(block_id, held.in_memory))

    def _file(self, block_id: str, in_memory: bool) -> str:
        return os.path.join(self._places.memory if in_memory else self._places.disk, block_id)

    def remove_prefix(self, prefix: str) -> None:
        """Remove every block of a dataset or shuffle whose id starts so; `prefix` names at least these."""
        with self._lock:
            candidates = self._families.get(family(prefix), ())
            self.remove([block_id for block_id in candidates if block_id.startswith(prefix)])

    def _forget(self, block_id: str) -> None:
        held = self._held.pop(block_id, None)
        if held is None:
            return
        if held.in_memory:
            self._memory_used -= held.size
        self._leaving.pop(block_id, None)
        relatives = self._families[family(block_id)]
        relatives.discard(block_id)
        if not relatives:
            del self._families[family(block_id)]

    def sizes(self, prefix: str = "") -> tuple[int, int]:
        """(bytes in memory, bytes on disk) of the blocks whose id starts so."""
        with self._lock:
            chosen = [held for block_id, held in self._held.items() if block_id.startswith(prefix)]
            memory = sum(held.size for held in chosen if held.in_memory)
            return memory, sum(held.size for held in chosen) - memory

    def check(self) -> None:
        """Assert what must always be true."""
        with self._lock:
            assert self._memory_used == sum(held.size for held in self._held.values() if held.in_memory)
            assert sum(map(len, self._families.values())) == len(self._held)
            may_leave = {i for i, held in self._held.items() if held.may_move_to_disk or held.evictable}
            assert self._leaving.keys() == {i for i in may_leave if self._held[i].in_memory}


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # a worker that was killed before it reported the block has no file to show
