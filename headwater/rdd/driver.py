"""What RDDs and streams ask of the context that made them.

A `SparkContext` is a `Driver`; nothing below it names the class. Names in camelCase are PySpark's, and programs use
them by `rdd.context`; the others are for Headwater's own parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from headwater.conf import SparkConf

if TYPE_CHECKING:
    from headwater.broadcast import Broadcast
    from headwater.engine.application import Application
    from headwater.engine.jobhandle import JobHandle
    from headwater.engine.lineage import Dataset
    from headwater.rdd import RDD

T = TypeVar("T")


class Driver(Protocol):
    """The driver's side of an application. Any thread may use it; only `run_job` waits.

    Once it has stopped, all of it raises `IllegalStateException` that needs the engine: `application`,
    `check_running`, the jobs, and what makes RDDs and broadcasts.
    """

    checkpoint_directory: str | None
    """Where RDD checkpoints go, a URL that all executors reach; None until one is set."""

    # -------------------------------------------------------------------------------------------- what it is
    @property
    def conf(self) -> SparkConf:
        """The settings themselves, not a copy: to be read."""
        ...

    @property
    def application(self) -> Application:
        """The engine's side: ids, blocks, states, receivers.

        Raises:
            IllegalStateException: the context has stopped.
        """
        ...

    def check_running(self) -> None:
        """See to it that there is an application.

        Raises:
            IllegalStateException: the context has stopped.
        """
        ...

    @property
    def defaultParallelism(self) -> int:
        """The number of partitions where none is given: `spark.default.parallelism`, or else the cores."""
        ...

    @property
    def defaultMinPartitions(self) -> int:
        """The least number of partitions of files where none is given."""
        ...

    @property
    def reduce_partitions(self) -> int | None:
        """The number of partitions after a shuffle where none is given; None: that of the parents."""
        ...

    # -------------------------------------------------------------------------------------------- jobs
    def run_job(
        self, rdd: Dataset, function: Callable[[int, Iterator[Any]], Any], partitions: Sequence[int]
    ) -> list[Any]:
        """Run a job of the calling thread, and the checkpoints that it brings about; waits for both.

        Args:
            rdd: what the job computes.
            function: `function(partition, records)`; called in tasks.
            partitions: which ones, each once.

        Returns:
            What `function` has returned for each partition, in their order.

        Raises:
            Exception: what a task has failed with for the last time.
            JobCancelled: the job was cancelled.
        """
        ...

    def submit_job(
        self,
        rdd: Dataset,
        function: Callable[[int, Iterator[Any]], Any],
        partitions: Sequence[int],
        on_result: Callable[[int, Any], None] | None = None,
    ) -> JobHandle:
        """Start a job of the calling thread; doesn't wait, and makes no checkpoints.

        Args:
            rdd, function, partitions: as for `run_job`.
            on_result: is called with the position in `partitions` and what `function` has returned, as tasks end, on
                a thread of the engine.

        Raises:
            SerializationError: the function can't be pickled.
        """
        ...

    @property
    def job_properties(self) -> Mapping[str, str]:
        """The properties that the calling thread's jobs carry; replaced as a whole, never changed."""
        ...

    @job_properties.setter
    def job_properties(self, properties: Mapping[str, str]) -> None: ...

    def job_properties_restored(self) -> AbstractContextManager[None]:
        """Within the block the calling thread's properties may be set; afterwards they are as before."""
        ...

    def setJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> None:
        """Give the calling thread's jobs a group, by which they can be cancelled."""
        ...

    # -------------------------------------------------------------------------------------------- RDDs
    def want_checkpoint(self, rdd: Dataset) -> None:
        """Have a checkpoint made of an RDD by the next `run_job` whose lineage it's in."""
        ...

    def parallelize(self, c: Iterable[T], numSlices: int | None = None) -> RDD[T]:
        """An RDD of a collection's records; None is `defaultParallelism` partitions."""
        ...

    def emptyRDD(self) -> RDD[Any]:
        """An RDD without partitions."""
        ...

    def union(self, rdds: Sequence[RDD[T]]) -> RDD[T]:
        """The records of all RDDs, in their order."""
        ...

    def broadcast(self, value: T) -> Broadcast[T]:
        """A read-only value that is sent to each executor once, when a task first uses it."""
        ...
