"""The output of a map task: each reduce partition's pairs, pickled; inline while small, else in one block file.

A task that outgrows its memory adds several times: a partition's part is then several segments, and the reduce side,
which merges anyway, merges them too.
"""

from __future__ import annotations

from typing import Any, Protocol

from headwater.base.pickling import dump_records
from headwater.engine.blocks import Placed
from headwater.engine.events import MapOutput, MapSegment


class BlockWriter(Protocol):
    """Where shuffle outputs go."""

    inline_limit: int

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        """Write a block to memory, or to disk if memory may not be used or takes no more."""


class ShuffleWriter:
    """Collects a map task's output: inline up to a limit, then each further addition as a block of its own.

    Such a block's id is the task's prefix and a number; nothing is ever appended to a block.
    """

    def __init__(self, prefix: str, partitions: int, target: BlockWriter) -> None:
        self._prefix = prefix
        self._target = target
        self._parts: list[list[MapSegment]] = [[] for _ in range(partitions)]
        self._inline_bytes = 0
        self._blocks: list[tuple[str, int]] = []  # id, bytes
        self._on_disk: list[str] = []  # those blocks that memory didn't take

    def add(self, buckets: list[list[Any]]) -> None:
        """Take the pairs of each reduce partition."""
        pieces = [dump_records(bucket) if bucket else b"" for bucket in buckets]
        size = sum(map(len, pieces))
        if self._inline_bytes + size <= self._target.inline_limit:
            self._inline_bytes += size
            for part, piece in zip(self._parts, pieces, strict=True):
                if piece:
                    part.append(MapSegment(piece))
        else:
            self._flush(pieces, size)

    def _flush(self, pieces: list[bytes], size: int) -> None:
        block_id = f"{self._prefix}{len(self._blocks)}"
        self._blocks.append((block_id, size))
        if not self._target.write(block_id, pieces, use_memory=True, use_disk=True).in_memory:
            self._on_disk.append(block_id)
        offset = 0
        for part, piece in zip(self._parts, pieces, strict=True):
            if piece:
                part.append(MapSegment(None, block_id, offset, len(piece)))
                offset += len(piece)

    def finish(self) -> MapOutput:
        """What was written, for the reply."""
        return MapOutput(tuple(map(tuple, self._parts)), tuple(self._blocks), tuple(self._on_disk))
