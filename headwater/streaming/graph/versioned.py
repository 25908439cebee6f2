"""Streams of versions of a keyed state: each batch's version follows from the one before and the batch's data.

- A version is an RDD without records (`Reach`) that brings it into the workers' heaps; `Entries` reads it. The lineage
  goes back to the last version that is stored, which takes the place of all before it.
- Every version is stored when its batch is processed, whether or not an output has read it: see `materialise`.
- A job of a batch begins when all versions before are made or given up: what the user's function raises for a batch
  ends in that batch. It's for all partitions or none: `advance` undoes what some of them had made.
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from headwater.engine.events import StoredVersion
from headwater.engine.lineage import Dataset, Records
from headwater.engine.states import Entries, Evolution, Evolve, Reach, StateDescription, StoredState, View
from headwater.errors import IllegalArgumentException, SparkException, see
from headwater.rdd.partitioner import Partitioner
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.graph.node import Node
from headwater.streaming.recovery.versions import StoredVersions
from headwater.streaming.runtime.holds import Hold

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver
    from headwater.streaming.recovery.keeping import Keeping
    from headwater.streaming.recovery.matching import Source

logger = logging.getLogger(__name__)


class Versioned(Node):
    """The part that all kinds of state have in common; a kind says how a version evolves, in `step`.

    Args:
        sc: makes RDDs.
        parents: the streams that it is computed from.
        partitioner: of the state's keys.
        slide_ms: how often there is a version; None: as often as the parents have data.
        timed: whether entries are `(value, time in ms)`.
    """

    is_stored = True
    holds_latest = True
    not_kept = (
        Node.not_kept
        | {"_keeping", "_stored", "_reached", "_cut_ms", "_asked_ms"}
        | {"_lock", "_settling", "_settled_ms", "_given_up"}
    )
    #: Whether a directory for checkpoints is demanded.
    must_checkpoint = True

    def __init__(
        self,
        sc: Driver,
        parents: Sequence[Node],
        partitioner: Partitioner,
        *,
        slide_ms: int | None = None,
        timed: bool = False,
    ) -> None:
        super().__init__(parents, slide_ms)
        self._sc = sc
        self._partitioner = partitioner
        self._timed = timed

    def _reset(self) -> None:
        super()._reset()
        self._keeping: Keeping | None = None
        self._stored: StoredVersions | None = None  # from start on
        self._reached: dict[int, RDD[Any]] = {}  # version -> the RDD that leads to it, ascending
        self._cut_ms = -1  # versions up to this are stored and have no lineage
        self._asked_ms: int | None = None  # the latest batch of which a version was asked for, once there is one
        self._lock = threading.Lock()  # guards `_reached` and lineages where threads of outputs change them
        self._settling = threading.Lock()  # held while earlier versions are made; guards the two below
        self._settled_ms = -1  # versions up to this are made, or given up
        self._given_up: dict[int, Exception] = {}  # batches that the state goes on without, as long as remembered

    # -------------------------------------------------------------------------------------------- what a kind answers
    @abstractmethod
    def step(self, time_ms: int) -> tuple[list[RDD[Any]], Evolution] | None:
        """The data of a batch, partitioned as the state is, and what to do with it; None: the state stays as it is."""

    def first(self) -> tuple[RDD[Any], Evolution] | None:
        """The pairs that the state begins with, partitioned as it is, and what to do with them."""
        return None

    def idle_before_ms(self, time_ms: int) -> int | None:
        """Of a timed state with a timeout: entries from before are idle in this batch."""
        return None

    @property
    @abstractmethod
    def reader(self) -> Callable[[View], Records]:
        """Makes the stream's records of a version; picklable."""

    # -------------------------------------------------------------------------------------------- its life
    def validate(self, checkpoint_directory: str | None) -> None:
        super().validate(checkpoint_directory)
        if self.must_checkpoint and checkpoint_directory is None:
            raise IllegalArgumentException(
                "requirement failed: The checkpoint directory has not been set. Please set it by "
                f"StreamingContext.checkpoint(): the {self.describe()} keeps its state there."
                + see("state-without-a-checkpoint-directory")
            )

    @property
    def parents_remember_ms(self) -> int:
        # What isn't stored with every batch may have to be computed again from the last time that it was.
        return self.remember_ms + (self.checkpoint_ms or 0)

    def source(self) -> Source:
        """What the state is, without what it is computed from; see `InputNode.source`."""
        return (self.describe(),)

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        super().start(zero_ms, remember_ms, keeping)
        if self._stored is not None:
            return
        self._keeping = keeping
        directory = f"{keeping.directory}/state/{self.uid}"
        self._stored = StoredVersions(directory, self._partitioner.numPartitions)
        self._stored.make(keeping.epoch)
        self._state_id = self._sc.application.open_state(self._on_stored)
        successors, taken_over = keeping.successors, None
        if successors is not None and successors.upgraded:
            taken_over = self._partitioner
        self._description = StateDescription(
            self._state_id, directory, keeping.epoch, self._timed, successors, taken_over
        )

    def _on_stored(self, stored: StoredVersion, wanted: bool) -> None:
        """A task has stored a version; on an engine's thread."""
        assert self._stored is not None and self._keeping is not None
        self._stored.add(stored, wanted)
        if wanted:
            self._keeping.version_stored(self.uid, stored)

    def begin(self) -> None:
        """Have the version that the state begins with stored, if there is one."""
        if self._reached and self._description.taken_over is not None:
            self._take_over()
        elif not self._reached and (begun := self.first()) is not None:
            assert self.zero_ms is not None
            self._evolve(self.zero_ms, [begun[0]], begun[1], None)
            self.materialise(self.zero_ms)

    def _take_over(self) -> None:
        """Have the version that the state goes on from read at once: better now than in a batch."""
        (reached,) = self._reached.values()
        try:
            self._sc.run_job(reached, _nothing, range(reached.num_partitions))
        except Exception as error:
            raise SparkException(f"the state {self.uid!r} can't go on with this program: {error}") from error

    @property
    def partitions(self) -> int:
        """How many partitions the state has."""
        return self._partitioner.numPartitions

    def restore(
        self, versions: Mapping[int, Mapping[int, Sequence[str]]], partitions_before: int | None, first_ms: int
    ) -> int | None:
        """Go on from what a previous driver has stored.

        Args:
            versions: version -> partition -> segments.
            partitions_before: how many the state had; None: the previous program didn't have it, so it begins here.
            first_ms: the first batch that is to be run again. Those before it that are remembered are computed again
                too, so it's the version before them that is gone on from.

        Returns:
            The version that it goes on from; None if it begins anew.

        Raises:
            SparkException: the state has another number of partitions, or what it goes on from was removed.
        """
        if partitions_before is None:
            self._asked_ms = next_multiple_ms(first_ms - 1, self.slide_ms, self.zero_ms or 0) - self.slide_ms
            return None
        partitions = self.partitions
        if versions and partitions_before != partitions:
            raise SparkException(
                f"the state {self.uid!r} was stored in {partitions_before} partitions, and the {self.describe()} has "
                f"{partitions}. Give it numPartitions={partitions_before}, or another checkpoint directory."
            )
        complete = [version for version, stored in versions.items() if len(stored) == partitions and version < first_ms]
        zero_ms = self.zero_ms or 0
        needed_ms = max(first_ms - self.remember_ms, zero_ms)
        early = [version for version in complete if version <= needed_ms]
        if not complete or (not early and needed_ms == zero_ms):
            return None
        assert self._stored is not None
        missing = self._stored.missing(versions[version] for version in complete)
        if missing:
            complete = [v for v in complete if missing.isdisjoint(chain.from_iterable(versions[v].values()))]
            early = [version for version in complete if version <= needed_ms]
        if not complete:
            raise SparkException(
                f"the state {self.uid!r} can't be gone on from: {len(missing)} of its segments are missing, such as "
                f"{self._stored.directory}/{min(missing)}. Restore them, or remove the directory of the checkpoints to "
                "begin anew."
            )
        version = max(early) if early else min(complete)
        self._stored.restore(version, {version: versions[version]})
        payloads = list(enumerate(self._stored.segments(version)))
        self._reached[version] = self._rdd(StoredState(self._description, version), (), payloads=payloads)
        self._cut_ms = self._asked_ms = self._settled_ms = version
        return version

    def stop(self) -> None:
        if self._stored is not None:
            self._sc.application.close_state(self._state_id)

    # -------------------------------------------------------------------------------------------- batches
    def compute(self, time_ms: int) -> RDD[Any] | None:
        self._cut()
        self._catch_up(time_ms)
        if self._asked_ms is not None and time_ms < self._asked_ms:
            raise SparkException(f"{self.describe()}: the state has gone on without the batch of {time_ms} ms")
        self._asked_ms = time_ms
        stepped = self.step(time_ms)
        if stepped is not None:
            self._evolve(time_ms, *stepped, self.idle_before_ms(time_ms))
        latest = self.latest(time_ms)
        return None if latest is None else self.read(latest[0], [latest[1]], self.reader)

    def _catch_up(self, time_ms: int) -> None:
        """The versions between the last one and this batch: after a restart, or where readers leave batches out."""
        assert self.zero_ms is not None
        asked_ms = self.zero_ms if self._asked_ms is None else self._asked_ms
        for at_ms in range(asked_ms + self.slide_ms, time_ms, self.slide_ms):
            self._asked_ms = at_ms  # also if it fails: the next batch is not to fail with it
            self.rdd(at_ms)

    def evolved(self, time_ms: int) -> RDD[Any] | None:
        """The step to a version: the records that its evolution gives. The lineage may be cut meanwhile."""
        reached = self._reached.get(time_ms)
        return None if reached is None or not reached.parents else reached.parents[0]  # type: ignore[return-value]

    def latest(self, time_ms: int) -> tuple[int, RDD[Any]] | None:
        """The latest version up to a batch, and what leads to it; a thread of an output may give versions up."""
        with self._lock:
            version = max((version for version in self._reached if version <= time_ms), default=None)
            return None if version is None else (version, self._reached[version])

    def read(self, version: int, parents: Sequence[Dataset], reader: Callable[[View], Records]) -> RDD[Any]:
        """The records that `reader` makes of a version; the last of the parents leads to it."""
        operator = Entries(self._state_id, version, len(parents), reader)
        return self._rdd(operator, parents, partitioner=self._partitioner)

    def _evolve(self, version: int, data: list[RDD[Any]], evolution: Evolution, idle_before_ms: int | None) -> None:
        with self._lock:
            previous = next(reversed(self._reached), None)
            parents: list[Dataset] = list(data) if previous is None else [self._reached[previous], *data]
            stores = self._stores(version)
            step = Evolve(self._description, previous, version, len(data), evolution, idle_before_ms, stores)
            self._reached[version] = self._rdd(Reach(self._state_id, version), [self._rdd(step, parents)])

    def _keep(self, time_ms: int, rdd: RDD[Any]) -> None:
        if self.storage_level is not None:
            rdd.persist(self.storage_level)

    def _stores(self, version: int) -> bool:
        assert self.zero_ms is not None
        return self.checkpoint_ms is None or (version - self.zero_ms) % self.checkpoint_ms == 0

    def _rdd(
        self,
        operator: Any,
        parents: Sequence[Dataset],
        *,
        payloads: Sequence[Any] | None = None,
        partitioner: Partitioner | None = None,
    ) -> RDD[Any]:
        from headwater.rdd import RDD

        partitions = self._partitioner.numPartitions
        return RDD(self._sc, operator, parents, partitions, payloads=payloads, partitioner=partitioner)

    def _cut(self) -> None:
        """Free the lineage of versions that have been stored since."""
        assert self._stored is not None
        with self._lock:
            for version, reached in self._reached.items():
                if version > self._cut_ms and self._stored.complete(version):
                    payloads = list(enumerate(self._stored.segments(version)))
                    reached.cut(StoredState(self._description, version), (), payloads)
                    self._cut_ms = version

    def settle(self, time_ms: int) -> None:
        """Have all versions before a batch made. On an output's thread, before it.

        Raises:
            Exception: the state has gone on without this batch, because its version could not be made; or the state
                that all begins with can't be.
        """
        with self._settling:
            for version in list(self._reached):
                if self._settled_ms < version < time_ms:
                    try:
                        self._make(version)
                    except Exception as error:
                        if version == self.zero_ms:
                            raise
                        self._give_up(version, error)
                    self._settled_ms = version
            if time_ms in self._given_up:
                raise self._given_up[time_ms]

    def _give_up(self, version: int, error: Exception) -> None:
        """Go on from the version before, as if the batch had not been."""
        logger.error(
            "%s: the state goes on without the batch of %d ms, whose version could not be made: %s",
            self.describe(),
            version,
            error,
        )
        self._given_up[version] = error
        with self._lock:
            versions = list(self._reached)
            at = versions.index(version)
            previous = versions[at - 1] if at else None
            del self._reached[version]
            if at + 1 == len(versions):
                return
            step = self._reached[versions[at + 1]].parents[0]  # was planned upon the version that there isn't
            evolve = step.operator
            assert isinstance(evolve, Evolve)
            data = step.parents[len(step.parents) - evolve.width :]
            parents = data if previous is None else (self._reached[previous], *data)
            step.cut(replace(evolve, previous=previous), parents)

    def materialise(self, time_ms: int) -> None:
        """Have a batch's version stored, if no output has read all of it. On an output's thread."""
        if self._stores(time_ms):
            self._make(time_ms)

    def _make(self, version: int) -> None:
        reached, stored = self._reached.get(version), self._stored
        if reached is not None and stored is not None and not stored.complete(version):
            self._sc.run_job(reached, _nothing, range(reached.num_partitions))

    def forget(self, done_ms: int, *, unpersist: bool) -> None:
        super().forget(done_ms, unpersist=unpersist)
        self._cut()
        oldest = min(self._rdds, default=done_ms)  # of those that are left
        # What the oldest remembered batch follows from is kept with it, and the last version that can be gone on from.
        versions = list(self._reached)
        at = max((i for i, version in enumerate(versions) if version < oldest), default=0)
        stored = [i for i, version in enumerate(versions) if version <= self._cut_ms]
        with self._lock:
            for version in versions[: min(at, stored[-1] if stored else 0)]:
                self._reached.pop(version, None)
        for version in list(self._given_up):  # at once: a thread of an output may add to it
            if version <= self.unneeded_ms(done_ms):
                del self._given_up[version]

    def hold(self) -> Hold:
        """What isn't in a stored version yet has to be computed from the inputs."""
        self._cut()
        return Hold(f"state {self.uid!r}, of which no later version is stored", self._cut_ms)

    def release(self, until_ms: int) -> list[int]:
        """No restart begins before the batch after `until_ms`: remove what that needed; returns what is kept."""
        assert self._stored is not None
        before = max((version for version in self._stored.versions() if version <= until_ms), default=-1)
        kept = {version for version in self._stored.versions() if version >= before} | self._reached.keys()
        self._stored.keep(kept)
        return sorted(kept)


class Load:
    """The evolution to a first version: the pairs that it is given. Of a timed state if `time_ms` is a time."""

    def __init__(self, time_ms: int | None) -> None:
        self._time_ms = time_ms

    def __call__(self, view: View, inputs: Sequence[Iterable[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        from headwater.engine.states import freeze

        if self._time_ms is None:
            return {key: freeze(value) for key, value in inputs[0]}, []
        return {key: (freeze(value), self._time_ms) for key, value in inputs[0]}, []


def _nothing(_partition: int, records: Records) -> None:
    for _ in records:
        raise AssertionError("the way to a version has no records")
