"""What executors and workers ask of another executor's block server."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class ReadBlock(NamedTuple):
    """Answered with the block's bytes, or a range of them; None if it isn't here."""

    block_id: str
    offset: int = 0
    length: int = -1


class KeepCopy(NamedTuple):
    """Answered with whether the block was stored."""

    block_id: str
    in_memory: bool
    data: bytes


Request: TypeAlias = ReadBlock | KeepCopy
