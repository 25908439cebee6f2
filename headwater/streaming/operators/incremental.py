"""Windows computed from the one before: what has left it is taken away, what has come is added.

The state holds, for each key, its value and in how many of the window's batches it has one; and, out of the readers'
sight, what each batch of the window added. So a key goes when its last batch goes, the result is what a recomputation
would give, and nothing is read again from the batches that leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.engine.states import GONE, Evolution, Frozen, View, freeze, thaw
from headwater.rdd.partitioner import Partitioner
from headwater.serializers import dump_records, load_records
from headwater.streaming.operators.node import Node
from headwater.streaming.operators.versioned import Versioned

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD


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
        sc: SparkContext,
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
        entering: dict[int, RDD[Any]] = {}
        # Old to new: sources hand out what they have in the order in which they are asked.
        for at_ms in range(before_ms + parent.slide_ms, time_ms + 1, parent.slide_ms):
            rdd = parent.rdd(at_ms)
            if rdd is not None and at_ms > time_ms - self._window_ms:
                entering[at_ms] = rdd
        out_ms = time_ms - self._window_ms  # the latest batch that the window doesn't have
        leaving = range(out_ms - self.slide_ms + parent.slide_ms, out_ms + 1, parent.slide_ms)
        return [*entering.values()], Slide(self._function, self._inverse, tuple(leaving), tuple(entering))

    @property
    def reader(self) -> Callable[[View], Iterable[Any]]:
        return partial(totals, self._wanted)

    def describe(self) -> str:
        return f"stream of windows of {self._window_ms} ms, by inverse"


@dataclass(frozen=True)
class Entered:
    """The key under which stands what a batch added; not a user's: its type is ours."""

    time_ms: int


class Slide:
    """The evolution of `IncrementalWindow`: batches leave, then batches enter, in the order of their inputs."""

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        inverse: Callable[[Any, Any], Any],
        leaving: tuple[int, ...],
        entering: tuple[int, ...],
    ) -> None:
        self._function = function
        self._inverse = inverse
        self._leaving = leaving
        self._entering = entering

    def __call__(self, view: View, inputs: Sequence[Iterable[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        changes: dict[Any, Any] = {}
        held: dict[Any, tuple[Any, int]] = {}  # the totals that change, and of how many batches they are
        get, function, inverse = view.get, self._function, self._inverse
        for time_ms in self._leaving:
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
