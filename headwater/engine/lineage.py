"""The lineage of a dataset: how each partition's records follow from its parents', down to sources and shuffles.

A `Dataset` stays in the driver and knows parents, ids and storage; its `Operator` travels to the workers and knows
neither, so that the same program serves every batch. Operators keep the kind and the user's function (not an opaque
closure): a chain of `PerRecord` operators is compiled into one loop (see `fusion`).
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from headwater.base.cipher import Cipher
from headwater.storagelevel import StorageLevel

Records = Iterable[Any]
Thunk = Callable[[], Records]
Kind = Literal["map", "flatMap", "filter", "keys", "values", "mapValues", "flatMapValues"]


class BlockRef(NamedTuple):
    """A stored block and where its copies were when last heard of."""

    block_id: str
    locations: tuple[str, ...]  # executor ids
    records: int = -1  # -1: not counted


class Caching(NamedTuple):
    """A node of the program whose partitions are to be kept: under which dataset's id, at which level."""

    dataset_id: int
    use_disk: bool
    use_memory: bool
    replication: int


class TaskView(Protocol):
    """What an operator may ask of the task that computes it: one attempt, on its thread, until its reply."""

    @property
    def task_id(self) -> int:
        """Its number, which no other attempt of the application has."""

    @property
    def cipher(self) -> Cipher | None:
        """Of what is written to disk and to the directory for checkpoints, if that is encrypted."""

    @property
    def states(self) -> Any:
        """The live states of its worker, a `states.LiveStates`: only the operators there look into it."""

    def read_block(self, ref: BlockRef) -> Records:
        """The records of a stored block.

        Raises:
            BlockLost: no executor has it.
        """

    def read_shuffle(self, segments: Sequence[Any], aggregator: Combiner | None) -> Records:
        """The pairs of a reduce partition, merged if there is an aggregator; `segments` came as the leaf's payload."""

    def report_version(self, *, state_id: int, version: int, partition: int, segments: tuple[str, ...]) -> None:
        """Tell the driver, with the reply, that a version of a state's partition was stored.

        Args:
            state_id, version, partition: which.
            segments: the names of those that it stands on, oldest first; the last one is new.
        """


class Operator:
    """One step of a lineage. Immutable; pickled into programs."""

    #: Whether tasks on a partition go to the worker that had that partition before: it holds live state.
    pinned: ClassVar[bool] = False
    #: Whether its payloads say, as `locations`, on which executors they are best read.
    has_locations: ClassVar[bool] = False

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        """(parent's position, parent's partition) of all that `partition` is computed from."""
        return ((0, partition),)

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        """The records of `partition`; `parents` follow the order of `inputs(partition)`."""
        raise NotImplementedError

    def placed(self, place: str) -> Operator:
        """The operator, knowing the program's operation that it belongs to, if it names that in errors."""
        return self


class Leaf(Operator):
    """An operator without narrow parents: each partition is read from a payload that comes with the task."""

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return ()

    def read(self, task: TaskView, payload: Any) -> Records:
        """The records that a partition's payload stands for."""
        raise NotImplementedError


# ------------------------------------------------------------------------------------------------ narrow operators
@dataclass(frozen=True, eq=False)
class PerRecord(Operator):
    """A function of one record (of its value, for the kinds that keep the key). `place` names it in errors."""

    kind: Kind
    function: Callable[[Any], Any]
    place: str = ""

    def placed(self, place: str) -> PerRecord:
        return PerRecord(self.kind, self.function, place)


@dataclass(frozen=True, eq=False)
class PerPartition(Operator):
    """`function(partition, records)` gives the partition's new records."""

    function: Callable[[int, Any], Records]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        return self.function(partition, iter(parents[0]()))


@dataclass(frozen=True, eq=False)
class Union(Operator):
    """The parents' partitions one after the other; `counts` are the parents' numbers of partitions."""

    counts: tuple[int, ...]
    _ends: tuple[int, ...] = field(init=False)  # of each parent's partitions

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", tuple(accumulate(self.counts)))

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        parent = bisect_right(self._ends, partition)
        return ((parent, partition - self._ends[parent] + self.counts[parent]),)

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        return parents[0]()


@dataclass(frozen=True, eq=False)
class Coalesce(Operator):
    """Each partition is a group of the parent's partitions, in order."""

    groups: tuple[tuple[int, ...], ...]

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(0, p) for p in self.groups[partition]]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        return chain.from_iterable(parent() for parent in parents)


@dataclass(frozen=True, eq=False)
class Cartesian(Operator):
    """All pairs of a left and a right partition; `right` is the right parent's number of partitions."""

    right: int

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return ((0, partition // self.right), (1, partition % self.right))

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        left, right = parents[0](), list(parents[1]())
        return ((a, b) for a in left for b in right)


@dataclass(frozen=True, eq=False)
class Together(Operator):
    """`function(partition, [records of each parent])` over the same partition of several parents: zip, cogroup."""

    width: int
    function: Callable[[int, list[Any]], Records]

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(parent, partition) for parent in range(self.width)]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        return self.function(partition, [iter(parent()) for parent in parents])


# ------------------------------------------------------------------------------------------------ leaves
class Slice(Leaf):
    """Records handed over by the driver; the payload is `serializers.dump_records(records)`."""

    def read(self, task: TaskView, payload: bytes) -> Records:
        from headwater.base.pickling import load_records

        return load_records(payload)


class StoredBlocks(Leaf):
    """Blocks in the executors' stores: received data, or cached partitions whose lineage was cut.

    The payload is a `BlockRef`; a block that no executor has any more fails the task with `BlockLost`.
    """

    has_locations = True

    def read(self, task: TaskView, payload: Any) -> Records:
        return task.read_block(payload)


@dataclass(frozen=True, eq=False)
class Combiner:
    """How a key's values become one combiner.

    `create` None means that the first value is the combiner (reduceByKey). With `map_side` the map tasks combine
    before they write, and the reduce tasks merge combiners; without it the reduce tasks merge values.
    """

    create: Callable[[Any], Any] | None
    merge_value: Callable[[Any, Any], Any]
    merge_combiners: Callable[[Any, Any], Any]
    map_side: bool = True


@dataclass(frozen=True, eq=False)
class ShuffleRead(Leaf):
    """The pairs of one reduce partition, merged by the aggregator if there is one; the payload is its segments."""

    aggregator: Combiner | None

    def read(self, task: TaskView, payload: Any) -> Records:
        return task.read_shuffle(payload, self.aggregator)


# ------------------------------------------------------------------------------------------------ how a stage ends
@dataclass(frozen=True, eq=False)
class ShuffleWrite:
    """The stage's pairs go to `partition_func(key) % partitions`. `place` names, in errors, who wants that."""

    partitions: int
    partition_func: Callable[[Any], int]
    aggregator: Combiner | None = None
    place: str = ""


@dataclass(frozen=True, eq=False)
class Action:
    """The stage's result for a partition is `function(partition, records)`. `place` names the action in errors."""

    function: Callable[[int, Any], Any]
    place: str = ""


# ------------------------------------------------------------------------------------------------ the driver's side
class Deferred(Sequence[Any]):
    """Payloads that are made when a job that needs them is planned for the first time, by the thread that submits it.

    Args:
        make: makes them, and may wait for other jobs; called once, unless it raises.
        number: how many they will be.
    """

    def __init__(self, make: Callable[[], Sequence[Any]], number: int) -> None:
        self._make: Callable[[], Sequence[Any]] | None = make
        self._number = number
        self._made: Sequence[Any] = ()
        self._lock = threading.Lock()  # held while they are made; guards both above

    def made(self) -> Sequence[Any]:
        """The payloads; made now, unless they were before.

        Raises:
            Exception: what making them has raised.
        """
        with self._lock:
            if self._make is not None:
                self._made = self._make()
                self._make = None
            return self._made

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: Any) -> Any:
        return self.made()[index]


class Shuffle:
    """A wide dependency: the parent's pairs, regrouped. Its outputs are kept until this object is collected."""

    def __init__(self, shuffle_id: int, parent: Dataset, write: ShuffleWrite) -> None:
        self.id = shuffle_id
        self.parent = parent
        self.write = write
        self.watched = False  # whether its outputs are removed when it's collected


class Origin(NamedTuple):
    """What a dataset is made from. A value: threads that plan jobs read it in one go, while others may cut it."""

    operator: Operator
    parents: tuple[Dataset, ...]
    payloads: Sequence[Any] | None
    shuffle: Shuffle | None


class Dataset:
    """A node of the lineage graph, in the driver; `RDD` is its public face.

    Invariant: a `Leaf` has no parents and either payloads (one a partition) or, if it reads a shuffle, `shuffle`.
    Only the storage level and (by `cut`) the origin change after construction.
    """

    #: The program's operation that made it, such as `map at app.py:8`; empty if that isn't known.
    place: str = ""

    def __init__(
        self,
        dataset_id: int,
        operator: Operator,
        parents: Sequence[Dataset],
        num_partitions: int,
        *,
        payloads: Sequence[Any] | None = None,
        shuffle: Shuffle | None = None,
    ) -> None:
        self.dataset_id = dataset_id
        self.origin = Origin(operator, tuple(parents), payloads, shuffle)
        self.num_partitions = num_partitions
        self.storage_level: StorageLevel | None = None

    @property
    def operator(self) -> Operator:
        """The last step to its records."""
        return self.origin.operator

    @property
    def parents(self) -> tuple[Dataset, ...]:
        """The datasets that it's computed from without a shuffle."""
        return self.origin.parents

    @property
    def shuffle(self) -> Shuffle | None:
        """What it reads, if it is regrouped."""
        return self.origin.shuffle

    def cut(self, operator: Operator, parents: Sequence[Dataset], payloads: Sequence[Any] | None = None) -> None:
        """Replace the origin by a shorter one that gives the same records (a checkpoint); frees the old lineage."""
        self.origin = Origin(operator, tuple(parents), payloads, None)
