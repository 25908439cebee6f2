"""Tasks to run, in an executor of files alone."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from headwater.base.cipher import KeySource
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, loads
from headwater.engine.blocks import Placed, Places
from headwater.engine.events import MapSegment, TaskReply, TaskSpec
from headwater.engine.lineage import (
    Action,
    BlockRef,
    Combiner,
    Dataset,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
)
from headwater.engine.stages import Stage
from headwater.engine.states import LiveStates
from headwater.engine.task import TaskRunner, reply_bytes

COLLECT = Action(lambda partition, records: list(records))
ids = count()


class Surroundings:
    """An executor `a` whose blocks are files below a directory, and its neighbour `b`."""

    executor_id = "a"

    def __init__(self, root: Path, *, inline_limit: int = 1 << 20, memory_limit: int = 1 << 40) -> None:
        self.scratch = str(root / "spill")
        self.memory_limit = memory_limit
        self.inline_limit = inline_limit
        self.result_limit = 1 << 20
        self.compress = False
        self.key: KeySource | None = None
        self.states = LiveStates(1 << 20, self.scratch)
        self.here = Places(str(root / "memory"), str(root / "disk"))
        self.there = Places(str(root / "b-memory"), str(root / "b-disk"))
        self.here.make()
        self.there.make()

    def read(self, block_id: str, locations: tuple[str, ...], offset: int = 0, length: int = -1) -> bytes | None:
        data = self.here.read(block_id, offset, length)
        return self.there.read(block_id, offset, length) if data is None and "b" in locations else data

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        return self.here.place(block_id, pieces, use_memory=use_memory, use_disk=use_disk)

    def in_memory(self, block_id: str) -> bool:
        return self.here.in_memory(block_id)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int, *, in_memory: bool) -> tuple[str, ...]:
        self.there.write(block_id, pieces, in_memory=in_memory)
        return ("b",)


def run(
    around: Surroundings,
    dataset: Dataset,
    ending: Action | ShuffleWrite = COLLECT,
    *,
    partition: int = 0,
    segments: list[MapSegment] | None = None,
    cached: dict[tuple[int, int], BlockRef] | None = None,
) -> TaskReply:
    """Run a stage's task: task 7 of stage 5, at its third attempt."""
    stage = Stage(5, dataset, ending)
    inputs: dict[tuple[int, int], Any] = {}
    for i, node in enumerate(stage.nodes):
        for p in range(node.num_partitions):
            if node.origin.payloads is not None:
                inputs[i, p] = node.origin.payloads[p]
            elif node.shuffle is not None:
                inputs[i, p] = segments
    shipped = stage.ship()
    shuffle_id = 3 if isinstance(ending, ShuffleWrite) else -1
    spec = TaskSpec(7, 1, 5, partition, 2, shipped.name, inputs, stage.caching, cached or {}, {"k": "v"}, shuffle_id)
    reply = TaskRunner(around).run(spec, shipped.data)
    assert reply.task_id == 7
    assert not os.path.exists(os.path.join(around.scratch, "spill-7"))
    seen: TaskReply = pickle.loads(reply_bytes(reply))  # by the executor
    return seen


def result(around: Surroundings, dataset: Dataset, **more: Any) -> Any:
    reply = run(around, dataset, **more)
    assert reply.failure is None, reply.failure.traceback
    assert isinstance(reply.value, bytes)
    return loads(reply.value)


def source(*partitions: list[Any]) -> Dataset:
    return Dataset(next(ids), Slice(), (), len(partitions), payloads=[dump_records(records) for records in partitions])


def step(parent: Dataset, kind: Any, function: Callable[[Any], Any]) -> Dataset:
    return Dataset(next(ids), PerRecord(kind, function), (parent,), parent.num_partitions)


def mapped(parent: Dataset, function: Callable[[Any], Any]) -> Dataset:
    return step(parent, "map", function)


def reduced(aggregator: Combiner | None) -> Dataset:
    shuffle = Shuffle(3, source([]), ShuffleWrite(1, portable_hash))
    return Dataset(next(ids), ShuffleRead(aggregator), (), 1, shuffle=shuffle)


def add(a: int, b: int) -> int:
    return a + b


def boom(record: int) -> int:
    return 1 // record
