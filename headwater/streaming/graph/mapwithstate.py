"""mapWithState: a state of which a batch sees only the keys that have data, or whose time is up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from headwater.engine.states import GONE, Evolution, View, freeze, thaw
from headwater.rdd.partitioner import Partitioner
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import local_datetime
from headwater.streaming.graph.node import Node
from headwater.streaming.graph.stateful import pairs, partitioned
from headwater.streaming.graph.versioned import Load, Versioned
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.state import State, StateSpec

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver

_UNSEEN: Any = object()


class WithState(Versioned):
    """The state that a spec's function keeps; its own records are all keys with their states.

    Args:
        sc: makes RDDs.
        parent: a stream of pairs.
        spec: what the user wants.
        partitioner: of the state.
        initial: the pairs to begin with.
    """

    not_kept = Versioned.not_kept | {"_initial"}
    _initial: RDD[Any] | None

    def __init__(
        self, sc: Driver, parent: Node, spec: StateSpec, partitioner: Partitioner, initial: RDD[Any] | None
    ) -> None:
        super().__init__(sc, (parent,), partitioner, timed=spec._timeout_ms is not None)
        self._spec = spec.without_initial()
        self._initial = initial

    def _reset(self) -> None:
        super()._reset()
        self._initial = None  # a checkpoint has it as the first version

    def first(self) -> tuple[RDD[Any], Evolution] | None:
        if self._initial is None:
            return None
        assert self.zero_ms is not None
        first_ms = self.zero_ms + self.slide_ms if self._timed else None
        return partitioned(self._initial, self._partitioner), Load(first_ms)

    def step(self, time_ms: int) -> tuple[list[RDD[Any]], Evolution] | None:
        rdd = self.parents[0].rdd(time_ms)
        data = self._sc.emptyRDD() if rdd is None else rdd  # timeouts fall due all the same
        return [partitioned(data, self._partitioner)], MapEach(self._spec, time_ms)

    def idle_before_ms(self, time_ms: int) -> int | None:
        return None if self._spec._timeout_ms is None else time_ms - self._spec._timeout_ms

    @property
    def reader(self) -> Callable[[View], Iterable[Any]]:
        return timed_pairs if self._timed else pairs

    def describe(self) -> str:
        return "stream of mapWithState's state"


class MappedWithState(Node):
    """What the function of a `WithState` returns. Its RDDs are kept in memory: the function is called once a record."""

    def __init__(self, state: WithState) -> None:
        super().__init__((state,))

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        super().start(zero_ms, remember_ms, keeping)
        if self.storage_level is None:
            self.storage_level = StorageLevel.MEMORY_AND_DISK

    @property
    def checkpointed(self) -> Node:
        return self.state

    @property
    def state(self) -> WithState:
        state = self.parents[0]
        assert isinstance(state, WithState)
        return state

    def compute(self, time_ms: int) -> RDD[Any] | None:
        self.state.rdd(time_ms)
        step = self.state.evolved(time_ms)
        return None if step is None else step.mapPartitions(_as_they_are)

    def describe(self) -> str:
        return "stream of mapWithState"


class Snapshots(Node):
    """All keys with their states. Computed from the mapped records of the batch, so that those are kept."""

    is_stored = True
    holds_latest = True

    def __init__(self, mapped: MappedWithState) -> None:
        super().__init__((mapped,))

    def compute(self, time_ms: int) -> RDD[Any] | None:
        mapped = self.parents[0]
        assert isinstance(mapped, MappedWithState)
        records, state = mapped.rdd(time_ms), mapped.state
        plain = state.rdd(time_ms)
        if records is None or plain is None:
            return plain
        return state.read(time_ms, [records, *plain.parents], state.reader)

    def describe(self) -> str:
        return "stream of stateSnapshots"


class MapEach:
    """The evolution of `WithState`: each record in turn, then the keys whose time is up."""

    def __init__(self, spec: StateSpec, time_ms: int) -> None:
        self._function = spec._function
        self._with_time = spec._with_time
        self._timeout_ms = spec._timeout_ms
        self._time_ms = time_ms

    def __call__(self, view: View, inputs: Sequence[Iterable[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        function, get, timed = self._function, view.get, self._timeout_ms is not None
        first = (local_datetime(self._time_ms),) if self._with_time else ()
        values: dict[Any, Any] = {}  # of the keys that were touched; GONE if there is none
        updated: set[Any] = set()
        records: list[Any] = []
        for key, value in inputs[0]:
            current = values.get(key, _UNSEEN)
            if current is _UNSEEN:
                entry = get(key, GONE)
                current = GONE if entry is GONE else thaw(entry[0] if timed else entry)
            state = State() if current is GONE else State(current)
            record = function(*first, key, value, state)
            if state._removed:
                values[key] = GONE
            else:
                values[key] = state._value if state.exists() else GONE
                if state._updated:
                    updated.add(key)
            if record is not None or not first:
                records.append(record)
        changes: dict[Any, Any] = {}
        for key, value in values.items():
            if value is GONE:
                if get(key, GONE) is not GONE:
                    changes[key] = GONE
            elif timed:
                changes[key] = (freeze(value) if key in updated else get(key, GONE)[0], self._time_ms)
            elif key in updated:
                changes[key] = freeze(value)
        if self._timeout_ms is not None:
            for key in view.idle(self._time_ms - self._timeout_ms):
                if key in values:
                    continue
                record = function(*first, key, None, State(thaw(get(key, GONE)[0]), timing_out=True))
                changes[key] = GONE
                if record is not None or not first:
                    records.append(record)
        return changes, records


def timed_pairs(view: View) -> Iterable[Any]:
    """Each key with its state, of a state with a timeout."""
    return ((key, thaw(entry[0])) for key, entry in view.settled())


def _as_they_are(records: Iterable[Any]) -> Iterable[Any]:
    return records
