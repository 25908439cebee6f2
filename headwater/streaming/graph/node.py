"""A node of the stream graph: a function from batch time to RDD.

- A kind of node answers four questions: its parents, its slide, how long its parents must remember, and
  `compute(time_ms)`. It touches no scheduler, no block and no clock.
- Its life, in order: `validate`; `start`; `restore`, if a program goes on from a checkpoint; `begin`; its batches, by
  `rdd` and `forget`; `stop`.
- An RDD is computed once a batch, however many children ask for it, and so is a failure to.
- `rdd`, `forget` and `slice` are called under the graph's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headwater import filesystem
from headwater.base.callsite import working_for
from headwater.errors import IllegalArgumentException, SparkException, see
from headwater.storagelevel import StorageLevel
from headwater.streaming.recovery.keeping import Keeping

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger(__name__)


class Node:
    """A stream as the graph sees it; `DStream` is its public face.

    Args:
        parents: the streams that it is computed from.
        slide_ms: how often it has an RDD; None takes the parents'.
    """

    #: Whether RDDs of this node were made by it, so that they are unpersisted when it forgets them.
    owns_rdds = True
    #: Whether `compute` calls a function of the program.
    calls_program = False
    #: Whether what its RDDs read is stored anyway, so that it needn't be persisted for being read again.
    is_stored = False
    #: What of it doesn't go into a checkpoint: `_reset` makes it anew.
    not_kept: ClassVar[frozenset[str]] = frozenset({"zero_ms", "skipped", "has_returned_none", "_rdds", "_failure"})
    #: Whether only its latest RDDs are read quickly, so that windows over them need them persisted.
    holds_latest = False

    def __init__(self, parents: Sequence[Node], slide_ms: int | None = None) -> None:
        self.parents = tuple(parents)
        self.slide_ms: int = slide_ms if slide_ms is not None else self.parents[0].slide_ms
        self.remember_ms = 0  # how long RDDs are kept; grows until the start, fixed after
        self.storage_level: StorageLevel | None = None
        self.checkpoint_ms: int | None = None  # how often the RDD of a batch is checkpointed; None: never
        self.uid = ""  # what the stream is called in checkpoints, if the program says so
        self.place = ""  # the program's operation that made it, such as `map at app.py:8`
        self._reset()

    def _reset(self) -> None:
        """Have all that comes about while it runs as before the start; also when it comes out of a checkpoint."""
        self.zero_ms: int | None = None  # None before the start
        self.skipped: Sequence[tuple[int, int]] = ()  # (after, before): between them there was no batch
        self._rdds: dict[int, RDD[Any] | None] = {}  # by batch time; None: it has no RDD in that batch
        self.has_returned_none = False  # its function has once, and that was said
        self._failure: tuple[int, BaseException] | None = None  # the latest failed batch: it fails only once

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self.not_kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    # -------------------------------------------------------------------------------------------- what a kind answers
    @property
    def keeper(self) -> Node:
        """The node that is persisted when this one is to be."""
        return self

    @property
    def checkpointed(self) -> Node:
        """The node that is checkpointed when this one is to be."""
        return self

    @property
    def parents_remember_ms(self) -> int:
        """How long parents must keep their RDDs for this node."""
        return self.remember_ms

    def compute(self, time_ms: int) -> RDD[Any] | None:
        """The RDD of a batch; None if there is none.

        Called once a batch, on the generator's thread, in order. If that fails it may be called again for the batch, on
        an output's thread, by which time later batches may have been computed (`forget_failure`).
        """
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------- its life
    def validate(self, checkpoint_directory: str | None) -> None:
        """See to it that the stream can work; called before `start`.

        Raises:
            IllegalArgumentException: there is no directory for its checkpoints, or their interval doesn't fit.
        """
        interval_ms, slide_ms = self.checkpoint_ms, self.slide_ms
        if interval_ms is None:
            return
        if checkpoint_directory is None:
            raise IllegalArgumentException(
                "requirement failed: The checkpoint directory has not been set. Please set it by "
                f"StreamingContext.checkpoint(): the {self.describe()} is to be checkpointed."
                + see("state-without-a-checkpoint-directory")
            )
        if interval_ms % slide_ms:
            wrong = "lower than" if interval_ms < slide_ms else "not a multiple of"
            raise IllegalArgumentException(
                f"requirement failed: The checkpoint interval for the {self.describe()} has been set to {interval_ms} "
                f"ms, which is {wrong} its slide time ({slide_ms} ms). Please set it to at least "
                f"{-(-interval_ms // slide_ms) * slide_ms} ms."
            )

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        """Fix the zero time, how long RDDs are remembered and where states are stored; then the parents' start.

        Called for each child, with what that needs: the longest time counts.

        Args:
            zero_ms: batches are whole slides after this.
            remember_ms: at least, in milliseconds.
            keeping: keeps what a restart needs.
        """
        self.zero_ms = zero_ms
        self.remember_ms = max(self.remember_ms, remember_ms, self.slide_ms)
        for parent in self.parents:
            parent.start(zero_ms, self.parents_remember_ms, keeping)

    def is_due(self, time_ms: int) -> bool:
        """Whether the stream has an RDD at this time.

        Raises:
            SparkException: the stream's context has not started.
        """
        if self.zero_ms is None:
            raise SparkException(f"{self.describe()} has not been initialized")
        if any(after_ms < time_ms < before_ms for after_ms, before_ms in self.skipped):
            return False
        return time_ms > self.zero_ms and (time_ms - self.zero_ms) % self.slide_ms == 0

    def rdd(self, time_ms: int) -> RDD[Any] | None:
        """The RDD of a batch, computed on the first call; None if the stream has none at this time."""
        try:
            return self._rdds[time_ms]
        except KeyError:
            pass
        if self._failure is not None and self._failure[0] == time_ms:
            raise self._failure[1]
        if not self.is_due(time_ms):
            return None
        try:
            with working_for(self.place, alone=not self.calls_program):
                rdd = self.compute(time_ms)
        except BaseException as error:
            self._failure = (time_ms, error)
            raise
        if rdd is not None:
            self._keep(time_ms, rdd)
        self._rdds[time_ms] = rdd
        return rdd

    def _keep(self, time_ms: int, rdd: RDD[Any]) -> None:
        """Persist and checkpoint the RDD of a batch, as far as that is wanted."""
        if self.storage_level is not None and not rdd.is_cached:
            rdd.persist(self.storage_level)
        if self.checkpoint_ms is not None and (time_ms - (self.zero_ms or 0)) % self.checkpoint_ms == 0:
            rdd.checkpoint()

    def forget_failure(self) -> None:
        """Have the next call of `rdd` for the batch that failed, if one did, compute it again; parents are not told."""
        self._failure = None

    def unneeded_ms(self, done_ms: int) -> int:
        """The latest batch of this stream that is not needed, once all batches up to `done_ms` are done with."""
        return done_ms - self.remember_ms

    def forget(self, done_ms: int, *, unpersist: bool) -> None:
        """All batches up to `done_ms` are done with: drop the RDDs that are needed no more; parents are not told."""
        until_ms = self.unneeded_ms(done_ms)
        self.skipped = [(after_ms, before_ms) for after_ms, before_ms in self.skipped if before_ms > until_ms]
        gone = [time_ms for time_ms in self._rdds if time_ms <= until_ms]
        if not gone:
            return
        forgotten = [self._rdds.pop(time_ms) for time_ms in gone]
        if not unpersist or not self.owns_rdds:
            return
        # A function that returns the same RDD each batch (a lookup table) goes on to use it.
        kept = {id(rdd) for rdd in self._rdds.values()}
        for rdd in forgotten:
            if rdd is None or id(rdd) in kept:
                continue
            if rdd.is_cached:
                rdd.unpersist()
            if self.checkpoint_ms is not None and (path := rdd.getCheckpointFile()) is not None:
                filesystem.remove(path)

    def begin(self) -> None:
        """All that is gone on from is restored: be ready for the first batch. Called once, on the inputs first.

        Raises:
            SparkException: it can't go on; the context doesn't start then.
        """

    def settle(self, time_ms: int) -> None:
        """See to it that what this batch needs of earlier ones is there; called before an output, on its thread."""

    def materialise(self, time_ms: int) -> None:
        """Have stored what later batches need of this one; called when an output is done, on its thread."""

    def stop(self) -> None:
        """The application ends: close what is open. Called once."""

    def remembered(self) -> tuple[int, ...]:
        """The batch times of which the node holds the result, ascending."""
        return tuple(sorted(self._rdds))

    def describe(self) -> str:
        """A name for errors."""
        return type(self).__name__


def rdd_or_none(node: Node, time_ms: int, result: Any) -> RDD[Any] | None:
    """What a user's function returned, checked to be an RDD (or None, which Spark takes for "no RDD in this batch").

    Raises:
        SparkException: it is anything else.
    """
    from headwater.rdd import RDD

    if isinstance(result, RDD):
        return result
    if result is None:
        if not node.has_returned_none:
            node.has_returned_none = True
            logger.warning(
                "%s: its function returned None for the batch of %d ms, so that batch has no RDD, and outputs that "
                "follow from it don't run. Does it lack a return? For an empty batch return rdd.context.emptyRDD(). "
                "This is said once.",
                node.place or node.describe(),
                time_ms,
            )
        return None
    raise SparkException(
        f"{node.place or node.describe()}: the function of transform must return an RDD, not {type(result).__name__}, "
        f"at time {time_ms} ms. Actions such as collect() belong into foreachRDD."
    )
