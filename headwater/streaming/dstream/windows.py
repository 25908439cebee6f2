"""Operations on windows: the records of the last batches, and what they come to, counted or combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import add, sub
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.rdd.checks import check_function, check_function_or_none
from headwater.rdd.functions import second
from headwater.rdd.partitioner import Partitioner
from headwater.resultiterable import ResultIterable
from headwater.streaming.dstream.pairs import PairOperations
from headwater.streaming.dstream.transformations import with_one
from headwater.streaming.graph.incremental import IncrementalWindow
from headwater.streaming.graph.mapped import Counted, with_none
from headwater.streaming.graph.windowed import Windowed, window_ms

if TYPE_CHECKING:
    from headwater.streaming.dstream import DStream

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
T_co = TypeVar("T_co", covariant=True)


class WindowOperations(PairOperations[T_co]):
    """The methods of `DStream` that look at several batches at a time."""

    def window(self, windowDuration: float, slideDuration: float | None = None) -> DStream[T_co]:
        """The records of the batches of the last `windowDuration`, oldest batch first; the first windows are shorter.

        Batches that a window reads again are kept: this stream is persisted in memory, unless it has another level.

        Args:
            windowDuration: seconds, a multiple of this stream's slide.
            slideDuration: seconds between two windows, a multiple of this stream's slide; None is that slide.

        Raises:
            ValueError: one is no number, zero or negative, or not a multiple of this stream's slide.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        return self._new(Windowed(self._sc, self._node, window, slide))

    # -------------------------------------------------------------------------------------------- combining
    def reduceByWindow(
        self: WindowOperations[T],
        reduceFunc: Callable[[T, T], T],
        invReduceFunc: Callable[[T, T], T] | None,
        windowDuration: float,
        slideDuration: float | None,
    ) -> DStream[T]:
        """One record a window: all its records combined by `reduceFunc`; nothing for an empty window.

        Args:
            reduceFunc: associative and commutative.
            invReduceFunc: takes away again what `reduceFunc` has combined, `invReduceFunc(reduceFunc(x, y), x) == y`:
                a window is then computed from the one before. None: from its batches' reduced values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.

        Raises:
            ValueError: as for `window`.
        """
        check_function("reduceFunc", reduceFunc)
        check_function_or_none("invReduceFunc", invReduceFunc)
        if invReduceFunc is None:
            return self.reduce(reduceFunc).window(windowDuration, slideDuration).reduce(reduceFunc)
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        keyed = self.map(with_none)
        return keyed._inverse_window(reduceFunc, invReduceFunc, window, slide, 1, None).map(second)

    def reduceByKeyAndWindow(
        self: WindowOperations[tuple[K, V]],
        func: Callable[[V, V], V],
        invFunc: Callable[[V, V], V] | None,
        windowDuration: float,
        slideDuration: float | None = None,
        numPartitions: int | None = None,
        filterFunc: Callable[[tuple[K, V]], Any] | None = None,
    ) -> DStream[tuple[K, V]]:
        """The values of each key of a window, combined by `func`.

        Args:
            func: associative and commutative.
            invFunc: takes away again what `func` has combined, `invFunc(func(x, y), x) == y`: a window is then computed
                from the one before. None: from its batches' reduced values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.
            filterFunc: of `(key, value)` pairs; those for which it is false are left out.

        Raises:
            ValueError: as for `window`.
        """
        check_function("func", func)
        _check_inverse(invFunc, windowDuration, slideDuration)
        check_function_or_none("filterFunc", filterFunc)
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        if invFunc is not None:
            return self._inverse_window(func, invFunc, window, slide, partitions, filterFunc)
        # Reduced batches have one partitioner, so that reducing a window of them moves nothing.
        windows = self.reduceByKey(func, partitions).window(windowDuration, slideDuration)
        reduced = windows.reduceByKey(func, partitions)
        return reduced if filterFunc is None else reduced.filter(filterFunc)

    def groupByKeyAndWindow(
        self: WindowOperations[tuple[K, V]],
        windowDuration: float,
        slideDuration: float | None,
        numPartitions: int | None = None,
    ) -> DStream[tuple[K, ResultIterable[V]]]:
        """`(key, ResultIterable of its values in the window, in order of arrival)` for each key of a window.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.
        """
        partitions = self._partitions(numPartitions)
        windows = self.groupByKey(partitions).window(windowDuration, slideDuration)
        return windows.combineByKey(list, _extended, _extended, partitions).mapValues(ResultIterable)

    # -------------------------------------------------------------------------------------------- counting
    def count(self) -> DStream[int]:
        """One record a batch: how many records it has. An empty batch gives 0, also where PySpark gives nothing."""
        node = self._node
        if isinstance(node, Windowed):
            # The sum of what its batches count: a window of thousands of batches costs as little as one of ten.
            batches = self._new(node.parents[0]).count()
            return batches._counted_window(node.window_ms, node.slide_ms, must_checkpoint=False)
        return self._new(Counted((node,)))

    def countByWindow(self, windowDuration: float, slideDuration: float | None) -> DStream[int]:
        """One record a window: how many records it has, 0 included; each window from the one before.

        Needs a directory for checkpoints.

        Raises:
            ValueError: as for `window`.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        return self.count()._counted_window(window, slide, must_checkpoint=True)

    def countByValueAndWindow(
        self, windowDuration: float, slideDuration: float | None, numPartitions: int | None = None
    ) -> DStream[tuple[T_co, int]]:
        """`(record, how often)` for each different record of a window; each window from the one before.

        Needs a directory for checkpoints.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, likewise.
            numPartitions: of the result; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.
        """
        window, slide = window_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        return self.map(with_one)._inverse_window(add, sub, window, slide, partitions, None)

    # -------------------------------------------------------------------------------------------- from the previous one
    def _counted_window(self, window: int, slide: int, *, must_checkpoint: bool) -> DStream[int]:
        """The sums of this stream's counts over windows; durations in ms."""
        counts = self.map(with_none)
        sums = counts._inverse_window(add, sub, window, slide, 1, None, must_checkpoint=must_checkpoint)
        return sums.mapPartitions(_the_count)

    def _inverse_window(
        self: WindowOperations[tuple[K, V]],
        func: Callable[[V, V], V],
        inverse: Callable[[V, V], V],
        window: int,
        slide: int,
        partitions: int,
        wanted: Callable[[tuple[K, V]], Any] | None,
        *,
        must_checkpoint: bool = True,
    ) -> DStream[tuple[K, V]]:
        """The pairs of each window, combined, each window from the one before; durations in ms."""
        reduced = self.reduceByKey(func, partitions)._node
        node = IncrementalWindow(
            self._sc,
            reduced,
            func,
            inverse,
            window_ms=window,
            slide_ms=slide,
            partitioner=Partitioner(partitions),
            wanted=wanted,
            must_checkpoint=must_checkpoint,
        )
        return self._new(node)


def _check_inverse(inverse: Any, window: Any, slide: Any) -> None:
    """The inverse function of `reduceByKeyAndWindow` is easily left out; then a duration stands in its place."""
    if inverse is not None and not callable(inverse):
        meant = ", ".join(str(value) for value in (inverse, window, slide) if value is not None)
        raise TypeError(
            f"reduceByKeyAndWindow: the second argument, invFunc, should be the inverse function of func, or None; "
            f"got {inverse!r}. Did you mean reduceByKeyAndWindow(func, None, {meant})?"
        )


def _extended(values: list[Any], more: Iterable[Any]) -> list[Any]:
    values += more
    return values


def _the_count(sums: Iterable[tuple[None, int]]) -> list[int]:
    """The only sum; 0 where none of a window's batches has an RDD."""
    return [sum(map(second, sums))]
