"""The operators on states: the step to a version, and what is read of one.

A version is in the heap of the worker to which tasks on its partition go (`Operator.pinned`): the step to it makes it
there, or it is restored from its segments, whose names the driver keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from headwater.engine.lineage import Leaf, Operator, Records, TaskView, Thunk
from headwater.engine.states.live import StateDescription
from headwater.engine.states.partition import StatePartition
from headwater.engine.states.view import Evolution, View

logger = logging.getLogger("headwater.engine.states")


@dataclass(frozen=True, eq=False)
class Evolve(Operator):
    """The step to a version: its parents are the previous version (if `previous` isn't None) and `width` data parents.

    Its records are those that the evolution gives.
    """

    pinned: ClassVar[bool] = True

    state: StateDescription
    previous: int | None
    version: int
    width: int
    evolution: Evolution
    idle_before_ms: int | None  # of a timed state: which entries the evolution takes for idle
    stores: bool

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(parent, partition) for parent in range(self.width + (self.previous is not None))]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        live, state_id = task.states, self.state.state_id
        data = parents
        if self.previous is None:
            found = live.find(state_id, partition, None)
            if found is None:
                found = StatePartition(timed=self.state.timed)
                live.put(state_id, partition, found)
        else:
            data = parents[1:]
            found = live.find(state_id, partition, self.previous)
            if found is None:
                parents[0]()
                found = live.find(state_id, partition, self.previous)
                assert found is not None, (state_id, partition, self.previous)
        changes, records = self.evolution(found.view(self.previous), [iter(parent()) for parent in data])
        if not found.sees(self.version):
            try:
                found.advance(self.version, changes, previous=self.previous)
            except BaseException:  # a full disk, or the task is killed: half of the changes may be made
                live.drop(state_id, partition)
                raise
            if self.idle_before_ms is not None:
                found.swept(self.version, self.idle_before_ms)
            if self.stores:
                self._store(task, partition, found)
        return records

    def _store(self, task: TaskView, partition: int, held: StatePartition) -> None:
        name = f"{self.state.epoch}/p{partition:05d}-{self.version}-{task.task_id}"
        try:
            segments = held.store(self.state.directory, name, task.states.cipher)
        except OSError as error:
            # Nothing is lost: the version can be made again from the last one that was stored.
            logger.error("%s: state %d could not be stored: %s", name, self.state.state_id, error)
            return
        task.report_version(state_id=self.state.state_id, version=self.version, partition=partition, segments=segments)
        task.states.relieve()


@dataclass(frozen=True, eq=False)
class Reach(Operator):
    """Sees to it that a version is in the worker's heap; without records. Its parent is the step to the version."""

    pinned: ClassVar[bool] = True

    state_id: int
    version: int

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        if task.states.find(self.state_id, partition, self.version) is None:
            parents[0]()
        return ()


@dataclass(frozen=True, eq=False)
class StoredState(Leaf):
    """Stands for `Reach` once the version is stored; a payload is (partition, its segments' names)."""

    pinned: ClassVar[bool] = True

    state: StateDescription
    version: int

    def read(self, task: TaskView, payload: tuple[int, tuple[str, ...]]) -> Records:
        partition, names = payload
        if task.states.find(self.state.state_id, partition, self.version) is None:
            task.states.restore(self.state, partition, self.version, names)
        return ()


@dataclass(frozen=True, eq=False)
class Entries(Operator):
    """The records that `function` makes of a version; parents lead to the version, the last one for certain."""

    pinned: ClassVar[bool] = True

    state_id: int
    version: int
    width: int
    function: Callable[[View], Records]

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(parent, partition) for parent in range(self.width)]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        for parent in (None, *parents):
            if parent is not None:
                parent()
            held = task.states.find(self.state_id, partition, self.version)
            if held is not None:
                return self.function(held.view(self.version))
        raise AssertionError((self.state_id, partition, self.version))
