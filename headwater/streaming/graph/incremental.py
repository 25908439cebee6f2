"""Windows computed from the one before: what has left it is taken away, what has come is added.

The state holds, for each key, its value and in how many of the window's batches it has one; and, out of the readers'
sight, what each batch of the window added and how far batches have left. So a key goes when its last batch goes, the
result is what a recomputation would give, nothing is read again from the batches that leave, and a window that could
not be computed leaves nothing behind in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.base.pickling import dump_records, load_records
from headwater.engine.states import GONE, Evolution, Frozen, View, freeze, thaw
from headwater.rdd.partitioner import Partitioner
from headwater.streaming.graph.node import Node
from headwater.streaming.graph.versioned import Versioned

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver
    from headwater.streaming.recovery.matching import Source


class IncrementalWindow(Versioned):
    """Pairs: the values of each key of a window, combined.

    Args:
        sc: makes RDDs.
        parent: a stream of pairs, of which a batch has each key once at most, partitioned by `partitioner`.
        function: combines two values; associative and commutative.
        inverse: `inverse(function(x, y), x) == y`.
        window_ms: how far back a window reaches; a multiple of the parent's slide, as the next.
        slide_ms: how often there is one.
        partitioner: of the state.
        wanted: of a pair; those for which it is false aren't shown. None: all are.
        must_checkpoint: whether a directory for checkpoints is demanded.
    """

    def __init__(
        self,
        sc: Driver,
        parent: Node,
        function: Callable[[Any, Any], Any],
        inverse: Callable[[Any, Any], Any],
        *,
        window_ms: int,
        slide_ms: int,
        partitioner: Partitioner,
        wanted: Callable[[tuple[Any, Any]], Any] | None = None,
        must_checkpoint: bool = True,
    ) -> None:
        super().__init__(sc, (parent,), partitioner, slide_ms=slide_ms)
        self._function = function
        self._inverse = inverse
        self._window_ms = window_ms
        self._wanted = wanted
        self.must_checkpoint = must_checkpoint

    @property
    def parents_remember_ms(self) -> int:
        return self.remember_ms + self.slide_ms

    def step(self, time_ms: int) -> tuple[list[RDD[Any]], Evolution]:
        parent = self.parents[0]
        before_ms = time_ms - self.slide_ms
        while before_ms > (self.zero_ms or 0) and not self.is_due(before_ms):
            before_ms -= self.slide_ms  # a restart has left that window out
        entering: dict[int, RDD[Any]] = {}
        # Old to new: sources hand out what they have in the order in which they are asked.
        for at_ms in range(before_ms + parent.slide_ms, time_ms + 1, parent.slide_ms):
            rdd = parent.rdd(at_ms)
            if rdd is not None and at_ms > time_ms - self._window_ms:
                entering[at_ms] = rdd
        until_ms = time_ms - self._window_ms  # the latest batch that the window doesn't have
        slide = Slide(self._function, self._inverse, until_ms, parent.slide_ms, tuple(entering))
        return [*entering.values()], slide

    @property
    def reader(self) -> Callable[[View], Iterable[Any]]:
        return partial(totals, self._wanted)

    def source(self) -> Source:
        return ("stream of windows by inverse", f"{self._window_ms} ms")

    def describe(self) -> str:
        return f"stream of windows of {self._window_ms} ms, by inverse"


@dataclass(frozen=True)
class Entered:
    """The key under which stands what a batch added; not a user's: its type is ours."""

    time_ms: int


#: The key under which stands up to which batch time all have left.
LEFT = Entered(-1)


class Slide:
    """The evolution of `IncrementalWindow`: batches leave, then batches enter, in the order of their inputs.

    Args:
        function: combines two values.
        inverse: takes one away again.
        until_ms: the batches up to this leave, if they haven't.
        batch_ms: between two of them.
        entering: the batch times of the inputs.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        inverse: Callable[[Any, Any], Any],
        until_ms: int,
        batch_ms: int,
        entering: tuple[int, ...],
    ) -> None:
        self._function = function
        self._inverse = inverse
        self._until_ms = until_ms
        self._batch_ms = batch_ms
        self._entering = entering

    def __call__(self, view: View, inputs: Sequence[Iterable[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        changes: dict[Any, Any] = {LEFT: self._until_ms}
        held: dict[Any, tuple[Any, int]] = {}  # the totals that change, and of how many batches they are
        get, function, inverse = view.get, self._function, self._inverse
        left_ms = get(LEFT, self._until_ms)
        for time_ms in range(left_ms + self._batch_ms, self._until_ms + 1, self._batch_ms):
            entered = get(Entered(time_ms), None)
            if entered is None:
                continue
            changes[Entered(time_ms)] = GONE
            for key, value in load_records(entered.data):
                total, batches = held[key] if key in held else thaw(get(key, None))
                held[key] = (inverse(total, value) if batches > 1 else None, batches - 1)
        for time_ms, records in zip(self._entering, inputs):
            added = list(records)
            if added:
                changes[Entered(time_ms)] = Frozen(dump_records(added))
            for key, value in added:
                if key in held:
                    total, batches = held[key]
                else:
                    entry = get(key, GONE)
                    total, batches = (None, 0) if entry is GONE else thaw(entry)
                held[key] = (function(total, value) if batches else value, batches + 1)
        for key, total in held.items():
            changes[key] = freeze(total) if total[1] else GONE
        return changes, []


def totals(wanted: Callable[[tuple[Any, Any]], Any] | None, view: View) -> Iterable[Any]:
    """Each key with its value in the window."""
    shown = ((key, thaw(entry)[0]) for key, entry in view.settled() if type(key) is not Entered)
    return shown if wanted is None else (pair for pair in shown if wanted(pair))
