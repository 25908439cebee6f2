"""What every RDD has: its identity, how it is kept, and the transformations that know nothing about its records.

- A transformation only adds a node to the lineage, in microseconds; it checks its arguments and looks at no data.
- Functions reach workers as they are or bound by `partial` to a module's function: that pickles faster than a closure.
- After its construction only an RDD's name and how it is kept can change.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from headwater.base.callsite import place
from headwater.engine.lineage import (
    Cartesian,
    Coalesce,
    Dataset,
    Operator,
    PerPartition,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Together,
    Union,
)
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    SerializationError,
    UnsupportedOperationException,
    see,
)
from headwater.rdd import functions
from headwater.rdd.checks import check_function, check_positive
from headwater.rdd.partitioner import Partitioner
from headwater.storagelevel import StorageLevel

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

    from headwater.context import SparkContext
    from headwater.engine.application import Application
    from headwater.engine.lineage import Combiner
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver

T = TypeVar("T")
U = TypeVar("U")


class BaseRDD(Dataset, Generic[T]):
    """The part of `RDD` that its other families of methods build on."""

    _name: str | None = None
    _checkpoint: str = ""  # "", "wanted", "wanted locally", "done" or "done locally"
    _checkpoint_path: str | None = None  # where the partitions lie once a checkpoint is done

    def __init__(
        self,
        ctx: Driver,
        operator: Operator,
        parents: Sequence[Dataset],
        num_partitions: int,
        *,
        payloads: Sequence[Any] | None = None,
        shuffle: Shuffle | None = None,
        partitioner: Partitioner | None = None,
    ) -> None:
        dataset_id = ctx.application.new_dataset_id()
        super().__init__(dataset_id, operator, parents, num_partitions, payloads=payloads, shuffle=shuffle)
        self.ctx = ctx
        self.partitioner = partitioner
        self.place = place()

    # -------------------------------------------------------------------------------------------- building and running
    def _narrow(self, operator: Operator, keep_partitioner: bool = False) -> RDD[Any]:
        """An RDD with as many partitions, each computed from one of this RDD's."""
        partitioner = self.partitioner if keep_partitioner else None
        return cast("RDD[Any]", type(self)(self.ctx, operator, (self,), self.num_partitions, partitioner=partitioner))

    def _joined(
        self,
        operator: Operator,
        parents: Sequence[Dataset],
        num_partitions: int,
        partitioner: Partitioner | None = None,
    ) -> RDD[Any]:
        """An RDD whose partitions are computed from partitions of several RDDs."""
        return cast("RDD[Any]", type(self)(self.ctx, operator, parents, num_partitions, partitioner=partitioner))

    def _shuffled(self, partitioner: Partitioner, aggregator: Combiner | None = None) -> RDD[Any]:
        """This RDD's pairs, regrouped by the partitioner."""
        n = partitioner.numPartitions
        if not n and self.num_partitions:
            raise IllegalArgumentException(
                f"numPartitions is 0, so the records of {self!r} would have no partition to go to: give 1 or more"
            )
        write = ShuffleWrite(n, partitioner.partitionFunc, aggregator, place())
        shuffle = Shuffle(self.ctx.application.new_shuffle_id(), self, write)
        read = ShuffleRead(aggregator)
        return cast("RDD[Any]", type(self)(self.ctx, read, (), n, shuffle=shuffle, partitioner=partitioner))

    def _run(self, function: Callable[[int, Iterator[Any]], Any], partitions: Sequence[int] | None = None) -> list[Any]:
        """Run a job: `function(partition, records)` of each partition, or of those given, in their order."""
        return self.ctx.run_job(self, function, range(self.num_partitions) if partitions is None else partitions)

    def _default_partitions(self) -> int:
        """The number of reduce partitions where the user gives none."""
        return self.ctx.reduce_partitions or self.num_partitions

    def _check_same_context(self, other: Any, method: str) -> None:
        if not isinstance(other, BaseRDD):
            raise TypeError(f"{method}: expected an RDD, got {other!r} of type {type(other).__name__}")
        if other.ctx is not self.ctx:
            raise IllegalArgumentException(f"{method}: {other!r} belongs to another SparkContext, stopped by now")

    # -------------------------------------------------------------------------------------------- identity
    def id(self) -> int:
        """A number that no other RDD of this context has."""
        return self.dataset_id

    @property
    def context(self) -> SparkContext:
        """The SparkContext that made this RDD."""
        return cast("SparkContext", self.ctx)

    def name(self) -> str | None:
        """The name that `setName` gave, or None."""
        return self._name

    def setName(self, name: str) -> RDD[T]:
        """Name this RDD, for logs and `toDebugString`."""
        self._name = name
        return cast("RDD[T]", self)

    def getNumPartitions(self) -> int:
        """The number of partitions.

        >>> sc.parallelize([1, 2, 3, 4], 2).getNumPartitions()
        2
        """
        return self.num_partitions

    def toDebugString(self) -> bytes:
        """The lineage as text, indented at each shuffle."""
        from headwater.rdd.debug import lineage_text

        return lineage_text(self).encode()

    def __repr__(self) -> str:
        from headwater.rdd.debug import title

        return title(self)

    def __reduce__(self) -> NoReturn:
        raise SerializationError(
            "It appears that you are attempting to broadcast an RDD or reference an RDD from an action or"
            f" transformation. {self!r} exists in the driver only: a function that runs in tasks can't use it. Collect"
            " what the function needs and broadcast that, or join the two RDDs." + see("cant-be-pickled")
        )

    # -------------------------------------------------------------------------------------------- persistence
    @property
    def is_cached(self) -> bool:
        """Whether this RDD is to be kept."""
        return self.storage_level is not None

    def cache(self) -> RDD[T]:
        """Keep the partitions in memory once they are computed."""
        return self.persist(StorageLevel.MEMORY_ONLY)

    def persist(self, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> RDD[T]:
        """Keep the partitions, once they are computed, at a storage level.

        Raises:
            UnsupportedOperationException: another level was set before. Call `unpersist` first.
        """
        if not isinstance(storageLevel, StorageLevel):
            raise TypeError(f"storageLevel should be a StorageLevel, got {storageLevel!r}")
        if self.storage_level not in (None, storageLevel):
            raise UnsupportedOperationException(
                "Cannot change storage level of an RDD after it was already assigned a level:"
                f" {self!r} has {self.storage_level!r}. Call unpersist() first."
            )
        if self.storage_level is None and storageLevel != StorageLevel.NONE:
            self.storage_level = storageLevel
            application = weakref.ref(self.ctx.application)
            weakref.finalize(self, _forget, application, self.dataset_id).atexit = False
        return cast("RDD[T]", self)

    def unpersist(self, blocking: bool = False) -> RDD[T]:
        """Forget the partitions that are kept; they will be computed again when they are needed.

        Args:
            blocking: return only when they are gone.
        """
        self.storage_level = None
        self.ctx.application.unpersist(self.dataset_id, blocking)
        return cast("RDD[T]", self)

    def getStorageLevel(self) -> StorageLevel:
        """How the partitions are kept; `StorageLevel.NONE` if they aren't."""
        return self.storage_level or StorageLevel.NONE

    # -------------------------------------------------------------------------------------------- checkpoints
    @property
    def is_checkpointed(self) -> bool:
        """Whether a checkpoint was asked for or has been made."""
        return bool(self._checkpoint)

    def checkpoint(self) -> None:
        """Have the partitions written to the checkpoint directory after the next action, and the lineage cut.

        The action is followed by a second job that computes the RDD once more, unless it is persisted.

        Raises:
            IllegalStateException: no checkpoint directory is set.
        """
        if self.ctx.checkpoint_directory is None:
            raise IllegalStateException(
                "Checkpoint directory has not been set in the SparkContext; call setCheckpointDir(dir) first"
            )
        self._want_checkpoint("wanted")

    def localCheckpoint(self) -> None:
        """Have the partitions kept in the executors' stores after the next action, and the lineage cut.

        Faster than `checkpoint`, but the data dies with the executors that hold it.
        """
        if self.storage_level is None:
            self.persist(StorageLevel.MEMORY_AND_DISK)
        self._want_checkpoint("wanted locally")

    def _want_checkpoint(self, kind: str) -> None:
        if not self._checkpoint.startswith("done"):
            self._checkpoint = kind
            self.ctx.want_checkpoint(self)

    def isCheckpointed(self) -> bool:
        """Whether the checkpoint has been made."""
        return self._checkpoint.startswith("done")

    def isLocallyCheckpointed(self) -> bool:
        """Whether `localCheckpoint` was called for this RDD."""
        return self._checkpoint.endswith("locally")

    def getCheckpointFile(self) -> str | None:
        """The directory that holds the checkpoint, or None while there is none."""
        return self._checkpoint_path

    # -------------------------------------------------------------------------------------------- record by record
    def map(self, f: Callable[[T], U], preservesPartitioning: bool = False) -> RDD[U]:
        """`f(record)` for each record.

        Args:
            f: record -> new record.
            preservesPartitioning: `f` keeps the keys, so that this RDD's partitioner is the new one's too.

        >>> sc.parallelize(["b", "a"]).map(lambda x: (x, 1)).collect()
        [('b', 1), ('a', 1)]
        """
        check_function("f", f)
        return self._narrow(PerRecord("map", f), preservesPartitioning)

    def flatMap(self, f: Callable[[T], Iterable[U]], preservesPartitioning: bool = False) -> RDD[U]:
        """All that `f` gives for each record, one after the other.

        >>> sc.parallelize(["a b", "", "c"]).flatMap(str.split).collect()
        ['a', 'b', 'c']
        """
        check_function("f", f)
        return self._narrow(PerRecord("flatMap", f), preservesPartitioning)

    def filter(self, f: Callable[[T], Any]) -> RDD[T]:
        """The records for which `f` is true.

        >>> sc.parallelize([1, 2, 3, 4]).filter(lambda x: x % 2 == 0).collect()
        [2, 4]
        """
        check_function("f", f)
        return self._narrow(PerRecord("filter", f), True)

    def keyBy(self, f: Callable[[T], U]) -> RDD[tuple[U, T]]:
        """Pairs `(f(record), record)`."""
        check_function("f", f)
        return self._narrow(PerRecord("map", partial(functions.with_key, f)))

    # ------------------------------------------------------------------------------------- partition by partition
    def mapPartitions(self, f: Callable[[Iterator[T]], Iterable[U]], preservesPartitioning: bool = False) -> RDD[U]:
        """`f(records)` for each partition: an iterator of records -> an iterable of new records.

        >>> sc.parallelize([1, 2, 3, 4], 2).mapPartitions(lambda records: [sum(records)]).collect()
        [3, 7]
        """
        check_function("f", f)
        return self._narrow(PerPartition(partial(functions.without_index, f)), preservesPartitioning)

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[T]], Iterable[U]], preservesPartitioning: bool = False
    ) -> RDD[U]:
        """`f(partition's number, iterator of records)` for each partition."""
        check_function("f", f)
        return self._narrow(PerPartition(f), preservesPartitioning)

    def mapPartitionsWithSplit(
        self, f: Callable[[int, Iterator[T]], Iterable[U]], preservesPartitioning: bool = False
    ) -> RDD[U]:
        """The old name of `mapPartitionsWithIndex`."""
        import warnings

        warnings.warn(
            "mapPartitionsWithSplit is deprecated; use mapPartitionsWithIndex instead", DeprecationWarning, stacklevel=2
        )
        return self.mapPartitionsWithIndex(f, preservesPartitioning)

    def glom(self) -> RDD[list[T]]:
        """Each partition as one list.

        >>> sc.parallelize([1, 2, 3], 2).glom().collect()
        [[1], [2, 3]]
        """
        return self._narrow(PerPartition(functions.as_one_list))

    def pipe(self, command: str, env: Mapping[str, str] | None = None, checkCode: bool = False) -> RDD[str]:
        """The lines that an external command prints when it is given a partition's records, one per line.

        Args:
            command: program and arguments, split as a shell would, but not run by one.
            env: the command's whole environment; None or empty leaves the worker's.
            checkCode: fail the task if the command's exit code isn't 0.

        >>> sc.parallelize(["1", "2", "", "3"]).pipe("cat").collect()
        ['1', '2', '', '3']
        """
        import shlex

        if not isinstance(command, str):
            raise TypeError(f"command should be a str, got {command!r}")
        pipe = partial(functions.pipe, shlex.split(command), dict(env or {}), checkCode)
        return self._narrow(PerPartition(pipe))

    def foreach(self, f: Callable[[T], Any]) -> None:
        """Call `f` with each record, in the workers."""
        check_function("f", f)
        self._run(partial(functions.call_each, f))

    def foreachPartition(self, f: Callable[[Iterator[T]], Any]) -> None:
        """Call `f` with each partition's iterator of records, in the workers."""
        check_function("f", f)
        self._run(partial(functions.call_with_all, f))

    # -------------------------------------------------------------------------------------------- shape
    def union(self, other: RDD[U]) -> RDD[T | U]:
        """The records of both; the partitions of one after the other.

        RDDs with equal partitioners are united partition by partition instead, and the result keeps the partitioner.
        """
        self._check_same_context(other, "union")
        return self._union([self, other])

    def _union(self, rdds: Sequence[BaseRDD[Any]]) -> RDD[Any]:
        partitioner = rdds[0].partitioner
        if partitioner is not None and all(rdd.partitioner == partitioner for rdd in rdds):
            together = Together(len(rdds), functions.one_after_the_other)
            return self._joined(together, rdds, partitioner.numPartitions, partitioner)
        counts = tuple(rdd.num_partitions for rdd in rdds)
        return self._joined(Union(counts), rdds, sum(counts))

    def __add__(self, other: RDD[U]) -> RDD[T | U]:
        if not isinstance(other, BaseRDD):
            raise TypeError(f"only an RDD can be added to an RDD, got {other!r} of type {type(other).__name__}")
        return self.union(other)

    def cartesian(self, other: RDD[U]) -> RDD[tuple[T, U]]:
        """All pairs of a record of this RDD and one of the other; n partitions and m give n x m."""
        self._check_same_context(other, "cartesian")
        n, m = self.num_partitions, other.num_partitions
        return self._joined(Cartesian(m), (self, other), n * m)

    def coalesce(self, numPartitions: int, shuffle: bool = False) -> RDD[T]:
        """The same records in fewer partitions, each a group of neighbours; with a shuffle also in more.

        Args:
            numPartitions: at least 1. Without a shuffle the number of partitions never grows.
            shuffle: distribute the records evenly.

        >>> sc.parallelize([1, 2, 3, 4, 5], 3).coalesce(1).glom().collect()
        [[1, 2, 3, 4, 5]]
        """
        check_positive("numPartitions", numPartitions)
        if shuffle:
            deal = PerPartition(partial(functions.deal_round_robin, numPartitions))
            dealt = self._narrow(deal)._shuffled(Partitioner(numPartitions, functions.as_is))
            return dealt._narrow(PerRecord("flatMap", functions.second))
        n = self.num_partitions
        if numPartitions >= n:
            return cast("RDD[T]", self)
        groups = tuple(tuple(range(i * n // numPartitions, (i + 1) * n // numPartitions)) for i in range(numPartitions))
        return self._joined(Coalesce(groups), (self,), numPartitions)

    def repartition(self, numPartitions: int) -> RDD[T]:
        """The same records, distributed evenly over that many partitions.

        >>> sorted(map(len, sc.parallelize(range(40), 8).repartition(4).glom().collect()))
        [10, 10, 10, 10]
        """
        return self.coalesce(numPartitions, shuffle=True)

    def zip(self, other: RDD[U]) -> RDD[tuple[T, U]]:
        """Pairs of the first records, the second ones and so on.

        Raises:
            ValueError: the numbers of partitions differ; in the tasks also if two partitions' lengths do.

        >>> sc.parallelize(range(3), 2).zip(sc.parallelize("abc", 2)).collect()
        [(0, 'a'), (1, 'b'), (2, 'c')]
        """
        self._check_same_context(other, "zip")
        if self.num_partitions != other.num_partitions:
            raise ValueError(
                "Can only zip with RDD which has the same number of partitions:"
                f" here {self.num_partitions}, in the other {other.num_partitions}"
            )
        return self._joined(Together(2, functions.zip_exactly), (self, other), self.num_partitions)

    def zipWithIndex(self) -> RDD[tuple[T, int]]:
        """Each record with its position in the whole RDD. Runs a job if there is more than one partition.

        >>> sc.parallelize(["a", "b", "c"], 2).zipWithIndex().collect()
        [('a', 0), ('b', 1), ('c', 2)]
        """
        starts = [0]
        if self.num_partitions > 1:
            for length in self._run(functions.count_records, range(self.num_partitions - 1)):
                starts.append(starts[-1] + length)
        return self._narrow(PerPartition(partial(functions.with_position, starts)))

    def zipWithUniqueId(self) -> RDD[tuple[T, int]]:
        """Each record with a number of its own: partition k of n gives k, n+k, 2n+k ... Runs no job."""
        return self._narrow(PerPartition(partial(functions.with_unique_id, self.num_partitions)))

    # ----------------------------------------------------------------------------------- what has no meaning here
    def barrier(self) -> NoReturn:
        """Not supported: tasks of a stage don't wait for each other."""
        raise UnsupportedOperationException("barrier() is not supported: the tasks of a stage run independently")

    def toDF(self, schema: Any = None, sampleRatio: float | None = None) -> DataFrame:
        """A DataFrame of this RDD's rows, in the session that lives, or in a new one.

        Args:
            schema, sampleRatio: as for `SparkSession.createDataFrame`.

        >>> sc.parallelize([("to", 2), ("be", 2)]).toDF(["word", "count"]).collect()
        [Row(word='to', count=2), Row(word='be', count=2)]
        """
        from headwater.sql.session import SparkSession

        session: SparkSession = SparkSession.builder.getOrCreate()
        return session.createDataFrame(self, schema, sampleRatio)

    def withResources(self, profile: Any) -> NoReturn:
        """Not supported: tasks ask for one core each."""
        raise UnsupportedOperationException("withResources() is not supported: each task is given one core")

    def cleanShuffleDependencies(self, blocking: bool = False) -> None:
        """Does nothing: a shuffle's output is removed as soon as no RDD can read it any more."""


def _forget(application: weakref.ref[Application], dataset_id: int) -> None:
    """The last reference to a persisted RDD is gone."""
    running = application()
    if running is not None:
        running.unpersist(dataset_id, False)
