"""Operations with a state for each key that lasts from batch to batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from headwater.base.hashing import portable_hash
from headwater.rdd import RDD
from headwater.rdd.checks import check_function
from headwater.rdd.partitioner import Partitioner
from headwater.streaming.dstream.windows import WindowOperations
from headwater.streaming.graph.mapwithstate import MappedWithState, WithState
from headwater.streaming.graph.stateful import Updated
from headwater.streaming.state import StateSpec

if TYPE_CHECKING:
    from headwater.streaming.dstream import DStream, MapWithStateDStream

U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
T_co = TypeVar("T_co", covariant=True)


class StateOperations(WindowOperations[T_co]):
    """The methods of `DStream` that remember something of each key."""

    def updateStateByKey(
        self: StateOperations[tuple[K, V]],
        updateFunc: Callable[[list[V], U | None], U | None],
        numPartitions: int | None = None,
        initialRDD: RDD[tuple[K, U]] | Iterable[tuple[K, U]] | None = None,
        partitionFunc: Callable[[K], int] = portable_hash,
    ) -> DStream[tuple[K, U]]:
        """`(key, state)` for all keys: each batch, `updateFunc` is called for every key that has data or a state.

        Needs a directory for checkpoints. A batch costs as much as there are keys; with `mapWithState` it costs what it
        touches.

        Args:
            updateFunc: (list of the key's new values, its state or None) -> its new state; None drops the key. It may
                change the state that it gets, and return it.
            numPartitions: of the state, at least 1; None is the context's default parallelism.
            initialRDD: pairs of key and state to begin with, as an RDD or an iterable.
            partitionFunc: key -> int; a key's partition is `partitionFunc(key) % numPartitions`.

        >>> _ = harness.checkpoint()
        >>> pairs = harness.stream([[("a", 1)], [("b", 5), ("a", 2)], []])
        >>> harness.results(pairs.updateStateByKey(lambda new, total: sum(new) + (total or 0)), dict)
        [{'a': 1}, {'a': 3, 'b': 5}, {'a': 3, 'b': 5}]
        """
        check_function("updateFunc", updateFunc)
        check_function("partitionFunc", partitionFunc)
        partitioner = Partitioner(self._partitions(numPartitions), partitionFunc)
        return self._new(Updated(self._sc, self._node, updateFunc, partitioner, self._initial(initialRDD)))

    def mapWithState(self: StateOperations[tuple[K, V]], spec: StateSpec) -> MapWithStateDStream:
        """What a function returns for each record and the state of its key; a batch costs what it touches.

        Needs a directory for checkpoints.

        Args:
            spec: the function, and how the state begins, is partitioned and times out; see `StateSpec`.

        Returns:
            a stream of these results, whose `stateSnapshots` has all keys.

        Raises:
            TypeError: it is no `StateSpec`.

        >>> from headwater.streaming import StateSpec
        >>> def running_total(key, value, state):
        ...     state.update((state.getOption() or 0) + value)
        ...     return key, state.get()
        >>> _ = harness.checkpoint()
        >>> pairs = harness.stream([[("a", 1), ("a", 2)], [("b", 5), ("a", 3)]])
        >>> harness.results(pairs.mapWithState(StateSpec.function(running_total)), sorted)
        [[('a', 1), ('a', 3)], [('a', 6), ('b', 5)]]
        """
        if not isinstance(spec, StateSpec):
            raise TypeError(f"expected a StateSpec, such as StateSpec.function(f), got {type(spec).__name__}")
        partitioner = spec._partitioner or Partitioner(self._sc.defaultParallelism)
        state = WithState(self._sc, self._node, spec, partitioner, self._initial(spec._initial))
        return cast("MapWithStateDStream", self._new(MappedWithState(state)))

    def _initial(self, pairs: RDD[Any] | Iterable[tuple[Any, Any]] | None) -> RDD[Any] | None:
        return pairs if pairs is None or isinstance(pairs, RDD) else self._sc.parallelize(pairs)
