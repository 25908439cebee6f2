"""The live states of a worker: which partitions are in its heap, and which of them go to disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from headwater.base.cipher import Cipher, KeySource, cipher_of
from headwater.engine.states import files
from headwater.engine.states.partition import StatePartition
from headwater.engine.successors import Successors

logger = logging.getLogger("headwater.engine.states")


class StateDescription(NamedTuple):
    """What tasks must know of a state."""

    state_id: int
    directory: str  # of its segments, on any file system
    epoch: str  # the part of it that this run writes to
    timed: bool = False  # entries are (value, time in ms), and idle keys can be asked for
    successors: Successors | None = None  # of the classes in segments of earlier drivers, if there were any
    taken_over: Callable[[Any], int] | None = None  # a key's partition, by the program that took an earlier one's state


class LiveStates:
    """The state partitions in one worker's heap.

    Args:
        memory_limit: bytes that the entries of all partitions may take together; the largest go to disk above it.
        scratch: the directory for those.
        key: by which those, and the segments, are encrypted; None: they aren't.
    """

    def __init__(self, memory_limit: int, scratch: str, key: KeySource | None = None) -> None:
        self._key = key
        self._memory_limit = memory_limit
        self._scratch = scratch
        self._latest: dict[tuple[int, int], StatePartition] = {}  # by (state, partition)
        self._past: list[tuple[tuple[int, int], StatePartition]] = []  # earlier ones, for the task that runs
        self._numbers = count()

    @property
    def cipher(self) -> Cipher | None:
        """For what is stored and put on disk, if that is encrypted."""
        return cipher_of(self._key)

    def find(self, state_id: int, partition: int, version: int | None) -> StatePartition | None:
        """A partition here that sees the version."""
        key = (state_id, partition)
        latest = self._latest.get(key)
        if latest is not None and latest.sees(version):
            return latest
        return next((past for where, past in self._past if where == key and past.sees(version)), None)

    def put(self, state_id: int, partition: int, made: StatePartition) -> None:
        """Hold a partition that was begun or restored; one that is newer stays the latest."""
        key = (state_id, partition)
        latest = self._latest.get(key)
        if latest is not None and (made.version or 0) <= (latest.version or 0):
            self._past.append((key, made))
            return
        if latest is not None:
            self._past.append((key, latest))  # the task may be reading it
        self._latest[key] = made

    def restore(self, state: StateDescription, partition: int, version: int, names: Sequence[str]) -> None:
        """Hold a version as it was stored; it goes to disk at once if its segments alone are over the limit."""
        made = StatePartition(timed=state.timed)
        if sum(files.size(f"{state.directory}/{name}") for name in names) > self._memory_limit:
            made.spill(self._path(state.state_id, partition), self.cipher)
        partition_of = state.taken_over
        belongs = None if partition_of is None else (lambda key: partition_of(key) == partition)
        made.restore(state.directory, version, names, cipher=self.cipher, successors=state.successors, belongs=belongs)
        self.put(state.state_id, partition, made)

    def _path(self, state_id: int, partition: int) -> str:
        return os.path.join(self._scratch, f"state-{state_id}-{partition}-{os.getpid()}-{next(self._numbers)}")

    def relieve(self) -> None:
        """Put the largest partitions on disk as long as all together take too much memory."""
        weights = {key: held.held_bytes() for key, held in self._latest.items() if isinstance(held.entries, dict)}
        total = sum(weights.values())
        for key in sorted(weights, key=weights.__getitem__, reverse=True):
            if total <= self._memory_limit:
                return
            logger.info("state %d, partition %d goes to disk", *key)
            self._latest[key].spill(self._path(*key), self.cipher)
            total -= weights[key]

    def end_task(self) -> None:
        """Let go of what only the task that has ended needed."""
        for _, past in self._past:
            past.close()
        self._past.clear()

    def drop(self, state_id: int, partition: int) -> None:
        """Hold a partition no more, in whatever version: it can be restored, or made again."""
        key = (state_id, partition)
        dropped = [past for where, past in self._past if where == key]
        self._past = [(where, past) for where, past in self._past if where != key]
        if key in self._latest:
            dropped.append(self._latest.pop(key))
        for held in dropped:
            held.close()

    def forget(self, state_id: int) -> None:
        """Drop all partitions of a state."""
        for key in [key for key in self._latest if key[0] == state_id]:
            self._latest.pop(key).close()
