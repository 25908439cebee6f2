"""updateStateByKey: a state that the user's function sees all of in every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from headwater.base.pickling import loads
from headwater.engine.states import GONE, Evolution, Frozen, View, freeze, same, thaw
from headwater.rdd.partitioner import Partitioner
from headwater.streaming.graph.node import Node
from headwater.streaming.graph.versioned import Load, Versioned

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


class Updated(Versioned):
    """Pairs of key and state: `function(new values, state or None)` of every key that has either.

    A batch in which the parent has no RDD leaves the state as it is.

    Args:
        sc: makes RDDs.
        parent: a stream of pairs.
        function: returns the new state; None drops the key.
        partitioner: of the state.
        initial: the pairs to begin with.
    """

    not_kept = Versioned.not_kept | {"_initial"}
    _initial: RDD[Any] | None

    def __init__(
        self,
        sc: Driver,
        parent: Node,
        function: Callable[[list[Any], Any], Any],
        partitioner: Partitioner,
        initial: RDD[Any] | None,
    ) -> None:
        super().__init__(sc, (parent,), partitioner)
        self._function = function
        self._initial = initial

    def _reset(self) -> None:
        super()._reset()
        self._initial = None  # a checkpoint has it as the first version

    def first(self) -> tuple[RDD[Any], Evolution] | None:
        return None if self._initial is None else (partitioned(self._initial, self._partitioner), Load(None))

    def step(self, time_ms: int) -> tuple[list[RDD[Any]], Evolution] | None:
        rdd = self.parents[0].rdd(time_ms)
        return None if rdd is None else ([partitioned(rdd, self._partitioner)], UpdateAll(self._function))

    @property
    def reader(self) -> Callable[[View], Iterable[Any]]:
        return pairs

    def describe(self) -> str:
        return "stream of updateStateByKey"


class UpdateAll:
    """The evolution of `Updated`."""

    def __init__(self, function: Callable[[list[Any], Any], Any]) -> None:
        self._function = function

    def __call__(self, view: View, inputs: Sequence[Iterable[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        arrived: dict[Any, list[Any]] = {}
        for key, value in inputs[0]:
            try:
                arrived[key].append(value)
            except KeyError:
                arrived[key] = [value]
        changes: dict[Any, Any] = {}
        update, kept = self._function, same
        take: Callable[[Any, None], list[Any] | None] = arrived.pop
        for key, entry in view.items():
            state = loads(entry.data) if type(entry) is Frozen else entry
            updated = update(take(key, None) or [], state)
            if updated is entry and updated is not None:
                continue
            if updated is None:
                changes[key] = GONE
            elif not kept(frozen := freeze(updated), entry):
                changes[key] = frozen
        for key, values in arrived.items():
            updated = update(values, None)
            if updated is not None:
                changes[key] = freeze(updated)
        return changes, []


def partitioned(rdd: RDD[Any], partitioner: Partitioner) -> RDD[Any]:
    """The same pairs where the partitioner wants them; those that are there already stay."""
    moved: RDD[Any] = rdd.partitionBy(partitioner.numPartitions, partitioner.partitionFunc)
    return moved


def pairs(view: View) -> Iterable[Any]:
    """Each key with its state."""
    return ((key, thaw(entry)) for key, entry in view.settled())
