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
from headwater.streaming.graph.windowed import Windowed, window_and_slide_ms

if TYPE_CHECKING:
    from headwater.streaming.dstream import DStream

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
T_co = TypeVar("T_co", covariant=True)


class WindowOperations(PairOperations[T_co]):
    """The methods of `DStream` that look at several batches at a time.

    Windows of the first batches are shorter: there is nothing before the first one.
    """

    def window(self, windowDuration: float, slideDuration: float | None = None) -> DStream[T_co]:
        """The records of the batches of the last `windowDuration`, oldest batch first.

        Batches that a window reads again are kept: this stream is persisted in memory, unless it has another level.

        Args:
            windowDuration: seconds that a window holds, a multiple of this stream's slide.
            slideDuration: seconds between two windows, a multiple likewise; None is this stream's slide.

        Raises:
            ValueError: one is no number, zero or negative, or no such multiple.

        >>> numbers = harness.stream([[1], [2], [3], [4]])  # a batch a second
        >>> harness.results(numbers.window(3, 2))
        [[1, 2], [2, 3, 4]]
        """
        window_ms, slide_ms = window_and_slide_ms(self._node, windowDuration, slideDuration)
        return self._new(Windowed(self._sc, self._node, window_ms, slide_ms))

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
            reduceFunc: (record, record) -> record of the same kind; associative and commutative.
            invReduceFunc: takes away again what `reduceFunc` has combined, `invReduceFunc(reduceFunc(x, y), x) == y`:
                each window is then computed from the previous one, which needs a directory for checkpoints. None: from
                its batches' reduced values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, as for `window`.

        Raises:
            ValueError: as for `window`.

        >>> numbers = harness.stream([[1, 5], [2], [3]])
        >>> harness.results(numbers.reduceByWindow(max, None, 2, 1))
        [[5], [5], [3]]
        """
        check_function("reduceFunc", reduceFunc)
        check_function_or_none("invReduceFunc", invReduceFunc)
        if invReduceFunc is None:
            return self.reduce(reduceFunc).window(windowDuration, slideDuration).reduce(reduceFunc)
        window_ms, slide_ms = window_and_slide_ms(self._node, windowDuration, slideDuration)
        keyed = self.map(with_none)
        reduced = keyed._inverse_window(reduceFunc, invReduceFunc, window_ms=window_ms, slide_ms=slide_ms, partitions=1)
        return reduced.map(second)

    def reduceByKeyAndWindow(
        self: WindowOperations[tuple[K, V]],
        func: Callable[[V, V], V],
        invFunc: Callable[[V, V], V] | None,
        windowDuration: float,
        slideDuration: float | None = None,
        numPartitions: int | None = None,
        filterFunc: Callable[[tuple[K, V]], Any] | None = None,
    ) -> DStream[tuple[K, V]]:
        """Each key of a window with its values combined by `func`.

        Args:
            func: (value, value) -> value of the same kind; associative and commutative.
            invFunc: takes away again what `func` has combined, `invFunc(func(x, y), x) == y`: each window is then
                computed from the previous one, which needs a directory for checkpoints. None: from its batches' reduced
                values.
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, as for `window`.
            numPartitions: of the result, at least 1; None is the context's default parallelism.
            filterFunc: `(key, value)` -> whether to keep the pair; for values that say that nothing is left of a key.

        Raises:
            ValueError: as for `window`.
            TypeError: `invFunc` is a number: it was left out.

        >>> _ = harness.checkpoint()
        >>> pairs = harness.stream([[("a", 1)], [("a", 2), ("b", 5)], []])
        >>> totals = pairs.reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, 2, 1)
        >>> harness.results(totals, dict)
        [{'a': 1}, {'a': 3, 'b': 5}, {'a': 2, 'b': 5}]
        """
        check_function("func", func)
        _check_inverse(invFunc, windowDuration, slideDuration)
        check_function_or_none("filterFunc", filterFunc)
        window_ms, slide_ms = window_and_slide_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        if invFunc is not None:
            return self._inverse_window(
                func, invFunc, window_ms=window_ms, slide_ms=slide_ms, partitions=partitions, wanted=filterFunc
            )
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
        """Each key of a window with all its values in order of arrival, as a `ResultIterable`.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, as for `window`.
            numPartitions: of the result, at least 1; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.

        >>> pairs = harness.stream([[("a", 1)], [("a", 2)], [("a", 3)]])
        >>> harness.results(pairs.groupByKeyAndWindow(2, 1).mapValues(list))
        [[('a', [1])], [('a', [1, 2])], [('a', [2, 3])]]
        """
        partitions = self._partitions(numPartitions)
        windows = self.groupByKey(partitions).window(windowDuration, slideDuration)
        return windows.combineByKey(list, _extended, _extended, partitions).mapValues(ResultIterable)

    # -------------------------------------------------------------------------------------------- counting
    def count(self) -> DStream[int]:
        """One record a batch, or a window: how many records it has; 0 if it is empty, also where PySpark gives nothing.

        >>> harness.results(harness.stream([["a", "b"], []]).count())
        [[2], [0]]
        """
        node = self._node
        if isinstance(node, Windowed):
            # The sum of what its batches count: a window of thousands of batches costs as little as one of ten.
            batches = self._new(node.parents[0]).count()
            return batches._counted_window(window_ms=node.window_ms, slide_ms=node.slide_ms, must_checkpoint=False)
        return self._new(Counted((node,)))

    def countByWindow(self, windowDuration: float, slideDuration: float | None) -> DStream[int]:
        """One record a window: how many records it has, 0 included.

        Each window is computed from the previous one, which needs a directory for checkpoints.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, as for `window`.

        Raises:
            ValueError: as for `window`.

        >>> _ = harness.checkpoint()
        >>> harness.results(harness.stream([["a", "b"], ["c"], []]).countByWindow(2, 1))
        [[2], [3], [1]]
        """
        window_ms, slide_ms = window_and_slide_ms(self._node, windowDuration, slideDuration)
        return self.count()._counted_window(window_ms=window_ms, slide_ms=slide_ms, must_checkpoint=True)

    def countByValueAndWindow(
        self, windowDuration: float, slideDuration: float | None, numPartitions: int | None = None
    ) -> DStream[tuple[T_co, int]]:
        """`(record, how often it is there)` for each different record of a window. Records are hashable.

        Each window is computed from the previous one, which needs a directory for checkpoints.

        Args:
            windowDuration: seconds, as for `window`.
            slideDuration: seconds, as for `window`.
            numPartitions: of the result, at least 1; None is the context's default parallelism.

        Raises:
            ValueError: as for `window`.

        >>> _ = harness.checkpoint()
        >>> harness.results(harness.stream([["a", "b"], ["a"], []]).countByValueAndWindow(2, 1), dict)
        [{'a': 1, 'b': 1}, {'a': 2, 'b': 1}, {'a': 1}]
        """
        window_ms, slide_ms = window_and_slide_ms(self._node, windowDuration, slideDuration)
        partitions = self._partitions(numPartitions)
        counts = self.map(with_one)
        return counts._inverse_window(add, sub, window_ms=window_ms, slide_ms=slide_ms, partitions=partitions)

    # -------------------------------------------------------------------------------------------- from the previous one
    def _counted_window(self, *, window_ms: int, slide_ms: int, must_checkpoint: bool) -> DStream[int]:
        """The sums of this stream's counts over windows."""
        sums = self.map(with_none)._inverse_window(
            add, sub, window_ms=window_ms, slide_ms=slide_ms, partitions=1, must_checkpoint=must_checkpoint
        )
        return sums.mapPartitions(_the_count)

    def _inverse_window(
        self: WindowOperations[tuple[K, V]],
        func: Callable[[V, V], V],
        inverse: Callable[[V, V], V],
        *,
        window_ms: int,
        slide_ms: int,
        partitions: int,
        wanted: Callable[[tuple[K, V]], Any] | None = None,
        must_checkpoint: bool = True,
    ) -> DStream[tuple[K, V]]:
        """The pairs of each window, combined, each window from the previous one."""
        reduced = self.reduceByKey(func, partitions)._node
        node = IncrementalWindow(
            self._sc,
            reduced,
            func,
            inverse,
            window_ms=window_ms,
            slide_ms=slide_ms,
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
