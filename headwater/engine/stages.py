"""Stages: a lineage cut at its shuffles, each piece a program that one task runs on one partition.

Planning runs in the thread that submits the job, so that what can't be pickled is the caller's error, with its stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from headwater.base.pickling import dumps
from headwater.broadcast import Captured, captured
from headwater.engine.lineage import Action, Caching, Dataset, Deferred, Operator, Origin, Shuffle, ShuffleWrite


class Program(NamedTuple):
    """What the tasks of a stage run: operators, each with the positions of its parents, and how the stage ends."""

    nodes: tuple[tuple[Operator, tuple[int, ...]], ...]
    ending: ShuffleWrite | Action


class Recipe(NamedTuple):
    """A dataset's recipe as it was when the stage was made: a checkpoint may cut it since."""

    operator: Operator
    parents: tuple[int, ...]  # positions in the stage
    partitions: int
    payloads: Sequence[Any] | None
    shuffle: Shuffle | None

    def preferred(self, partition: int) -> tuple[str, ...]:
        """Executor ids that hold the input of a leaf's partition; empty when any will do."""
        payload = self.payloads[partition] if self.payloads is not None else None
        locations: tuple[str, ...] = getattr(payload, "locations", ())  # of a block
        return locations


class Shipped(NamedTuple):
    """A pickled program, named by its content, and the broadcasts that it refers to."""

    name: str
    data: bytes
    broadcasts: Captured  # kept, so that the values live as long as the program may run


class Stage:
    """The part of a lineage between shuffles: `nodes` are its datasets, parents first, the last one its result."""

    def __init__(self, stage_id: int, dataset: Dataset, ending: ShuffleWrite | Action, shuffle_id: int = -1) -> None:
        self.id = stage_id
        self.name = f"stage {stage_id}"
        self.dataset = dataset
        self.ending = ending
        self.shuffle_id = shuffle_id  # the shuffle that it writes; -1 for a job's result
        origins = _narrow_closure(dataset)
        self.nodes = [node for node, _ in origins]
        position = {id(node): i for i, node in enumerate(self.nodes)}
        self.recipes = [
            Recipe(
                origin.operator.placed(node.place) if node.place else origin.operator,
                tuple(position[id(parent)] for parent in origin.parents),
                node.num_partitions,
                origin.payloads.made() if isinstance(origin.payloads, Deferred) else origin.payloads,
                origin.shuffle,
            )
            for node, origin in origins
        ]
        # Captured now, with the program: a dataset that is persisted later is cached from the next job on.
        self.caching = {
            i: Caching(node.dataset_id, level.useDisk, level.useMemory, level.replication)
            for i, node in enumerate(self.nodes)
            if (level := node.storage_level) is not None
        }
        self.may_prefer = bool(self.caching) or any(recipe.operator.has_locations for recipe in self.recipes)
        self.pinned = any(recipe.operator.pinned for recipe in self.recipes)
        self.shuffles_read = frozenset(recipe.shuffle.id for recipe in self.recipes if recipe.shuffle is not None)
        self.datasets_cached = frozenset(caching.dataset_id for caching in self.caching.values())
        self._shipped: Shipped | None = None

    @property
    def is_result(self) -> bool:
        """Whether it ends in a job's action and not in a shuffle."""
        return self.shuffle_id < 0

    def ship(self) -> Shipped:
        """The pickled program; made once."""
        if self._shipped is None:
            self._shipped = _pickle(self._program())
        return self._shipped

    def _program(self) -> Program:
        return Program(tuple((recipe.operator, recipe.parents) for recipe in self.recipes), self.ending)


def _narrow_closure(dataset: Dataset) -> list[tuple[Dataset, Origin]]:
    """The dataset and all that it's computed from without a shuffle, parents first; lineages may be thousands deep.

    Each comes with its origin, read once: another thread may be cutting the lineage.
    """
    order: list[tuple[Dataset, Origin]] = []
    seen: set[int] = set()
    todo: list[tuple[Dataset, Origin | None]] = [(dataset, None)]  # with an origin: its parents are done
    while todo:
        node, origin = todo.pop()
        if origin is not None:
            order.append((node, origin))
        elif id(node) not in seen:
            seen.add(id(node))
            origin = node.origin
            todo.append((node, origin))
            todo.extend((parent, None) for parent in reversed(origin.parents))
    return order


def _pickle(program: Program) -> Shipped:
    with captured() as broadcasts:
        data = dumps(program)
    # Two checks of different kinds and the length: enough to tell a driver's own programs apart.
    return Shipped(f"{crc32(data):08x}{hash(data) & 0xFFFFFFFFFFFFFFFF:016x}{len(data):x}", data, broadcasts)


@dataclass(eq=False)
class Job:
    """An action on some partitions of a dataset; `stages` are the shuffle stages that may have to run first."""

    id: int
    result: Stage
    partitions: Sequence[int]
    stages: dict[int, Stage] = field(default_factory=dict)  # by shuffle id
    properties: Mapping[str, str] = field(default_factory=dict)
    call_site: str = ""

    @property
    def group(self) -> str | None:
        return self.properties.get("spark.jobGroup.id")

    @property
    def description(self) -> str:
        return self.properties.get("spark.job.description") or self.call_site


class Planner:
    """Cuts lineages into stages. Any thread may plan.

    Args:
        stage_ids: numbers that no other stage has; taken from by several threads at once.
        known: by shuffle, those that have a stage already.
    """

    def __init__(self, stage_ids: Iterator[int], known: Mapping[int, object]) -> None:
        self._stage_ids = stage_ids
        self._known = known

    def plan(
        self,
        job_id: int,
        dataset: Dataset,
        action: Action,
        partitions: Sequence[int],
        properties: Mapping[str, str],
        call_site: str,
    ) -> Job:
        """The job with all stages that it may need, their programs pickled.

        Raises:
            SerializationError: a function of the lineage captures something that can't be pickled.
        """
        stages: dict[int, Stage] = {}
        shuffles = [origin.shuffle for _, origin in _narrow_closure(dataset) if origin.shuffle is not None]
        while shuffles:
            shuffle = shuffles.pop()
            if shuffle.id in stages or shuffle.id in self._known:
                continue
            stage = stages[shuffle.id] = self._shuffle_stage(shuffle)
            shuffles += [recipe.shuffle for recipe in stage.recipes if recipe.shuffle is not None]
        result = Stage(next(self._stage_ids), dataset, action)
        result.ship()
        return Job(job_id, result, partitions, stages, properties, call_site)

    def _shuffle_stage(self, shuffle: Shuffle) -> Stage:
        stage = Stage(next(self._stage_ids), shuffle.parent, shuffle.write, shuffle.id)
        stage.ship()
        return stage
