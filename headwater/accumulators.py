"""Accumulators: sums to which tasks add and that only the driver reads.

1. In a task (between `begin_task` and `end_task`), and in the threads that it starts, an addition goes into the task's
   own updates. A thread that outlives its task adds to nothing any more.
2. The driver merges a task's updates once it has succeeded, all under one lock.
3. Pickling ships id, param and zero. Where the accumulator was made, unpickling gives the very same object.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping
from itertools import count
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary

from headwater.base.tasklocal import running

__all__ = [
    "COMPLEX_ACCUMULATOR_PARAM",
    "FLOAT_ACCUMULATOR_PARAM",
    "INT_ACCUMULATOR_PARAM",
    "Accumulator",
    "AccumulatorParam",
    "AddingAccumulatorParam",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_ids = count()
# The driver's accumulators by id. Weak: who can't read an accumulator any more doesn't miss its updates.
_registry: WeakValueDictionary[int, Accumulator[Any]] = WeakValueDictionary()
_lock = threading.Lock()  # guards the value of every accumulator in the driver
_warned: set[int] = set()  # accumulators of which an addition was warned about


class Updates:
    """What a task has added: sums by accumulator id, until it ends. Any of its threads may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._sums: dict[int, Any] = {}
        self._ended = False

    def add(self, accumulator: Accumulator[T], term: T) -> None:
        """Add one term; after the task's end, warn that it doesn't count."""
        aid, param = accumulator.aid, accumulator.accum_param
        with self._lock:
            if self._ended:
                _warn(
                    accumulator,
                    "its task has ended. Wait for threads within the task; a pool that serves several tasks"
                    " has to be a concurrent.futures.ThreadPoolExecutor",
                )
            elif aid in self._sums:
                self._sums[aid] = param.addInPlace(self._sums[aid], term)
            else:
                # A program serves many tasks: none may change the zero that the next one begins with.
                zero = copy.deepcopy(param.zero(accumulator._value))
                self._sums[aid] = param.addInPlace(zero, term)

    def end(self) -> dict[int, Any]:
        """The sums; from here on nothing is added."""
        with self._lock:
            self._ended = True
            return self._sums


def _warn(accumulator: Accumulator[Any], why: str) -> None:
    """Warn, once for an accumulator, that additions don't count."""
    if accumulator.aid not in _warned:
        _warned.add(accumulator.aid)
        thread = threading.current_thread().name
        logger.warning("accumulator %d: an addition of thread %r doesn't count: %s", accumulator.aid, thread, why)


class AccumulatorParam(Generic[T]):
    """How values of a type are added up. Subclass it for your own types.

    >>> class VectorParam(AccumulatorParam[list]):
    ...     def zero(self, value):
    ...         return [0.0] * len(value)
    ...     def addInPlace(self, value1, value2):
    ...         return [a + b for a, b in zip(value1, value2)]
    >>> VectorParam().addInPlace([1.0, 2.0], [3.0, 4.0])
    [4.0, 6.0]
    """

    def zero(self, value: T) -> T:
        """The neutral value, shaped like `value`, from which a task begins."""
        raise NotImplementedError

    def addInPlace(self, value1: T, value2: T) -> T:
        """The sum of both; may change `value1` and return it."""
        raise NotImplementedError


class AddingAccumulatorParam(AccumulatorParam[T]):
    """Adds by `+`, beginning from the zero that it was made with."""

    def __init__(self, zero_value: T) -> None:
        self.zero_value = zero_value

    def zero(self, value: T) -> T:
        return self.zero_value

    def addInPlace(self, value1: T, value2: T) -> T:
        return value1 + value2  # type: ignore[operator,no-any-return]


INT_ACCUMULATOR_PARAM: AccumulatorParam[int] = AddingAccumulatorParam(0)
FLOAT_ACCUMULATOR_PARAM: AccumulatorParam[float] = AddingAccumulatorParam(0.0)
COMPLEX_ACCUMULATOR_PARAM: AccumulatorParam[complex] = AddingAccumulatorParam(0.0j)


class Accumulator(Generic[T]):
    """A sum that tasks add to, made by `SparkContext.accumulator`.

    An addition counts once a successful task of an action; in a transformation it counts again if the partition is
    computed again.

    >>> errors = Accumulator(0, 10, INT_ACCUMULATOR_PARAM)
    >>> errors += 2
    >>> errors.value, errors
    (12, Accumulator<id=0, value=12>)
    """

    __slots__ = ("__weakref__", "_in_driver", "_value", "accum_param", "aid")

    def __init__(self, aid: int, value: T, accum_param: AccumulatorParam[T]) -> None:
        self.aid = aid
        self.accum_param = accum_param
        self._value = value  # in the driver the sum; in a worker the zero that came with the pickle
        self._in_driver = True

    @property
    def value(self) -> T:
        """The sum so far.

        Raises:
            RuntimeError: asked in a task, which sees its own additions only.
        """
        if running.updates is not None or not self._in_driver:
            raise RuntimeError("Accumulator.value cannot be accessed inside tasks")
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        if running.updates is not None or not self._in_driver:
            raise RuntimeError("Accumulator.value cannot be accessed inside tasks")
        with _lock:
            self._value = value

    def add(self, term: T) -> None:
        """Add one term."""
        updates = running.updates
        if updates is not None:
            updates.add(self, term)
        elif self._in_driver:
            with _lock:
                self._value = self.accum_param.addInPlace(self._value, term)
        else:
            _warn(self, "it belongs to no task")

    def __iadd__(self, term: T) -> Accumulator[T]:
        self.add(term)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.aid, self.accum_param.zero(self._value), self.accum_param)

    def __str__(self) -> str:
        return str(self._value)

    def __repr__(self) -> str:
        return f"Accumulator<id={self.aid}, value={self._value}>"


def create(value: T, accum_param: AccumulatorParam[T] | None = None) -> Accumulator[T]:
    """A new accumulator in the driver.

    Raises:
        TypeError: no param was given, and the value is no int, float or complex.
    """
    if accum_param is None:
        param: Any = _DEFAULT_PARAMS.get(type(value))
        if param is None:
            raise TypeError(f"No default accumulator param for type {type(value)}")
        accum_param = cast("AccumulatorParam[T]", param)
    accumulator = Accumulator(next(_ids), value, accum_param)
    _registry[accumulator.aid] = accumulator
    return accumulator


_DEFAULT_PARAMS: Mapping[type, AccumulatorParam[Any]] = {
    int: INT_ACCUMULATOR_PARAM,
    float: FLOAT_ACCUMULATOR_PARAM,
    complex: COMPLEX_ACCUMULATOR_PARAM,
}


def _restore(aid: int, zero: T, accum_param: AccumulatorParam[T]) -> Accumulator[T]:
    known = _registry.get(aid)
    if known is not None:
        return known
    accumulator: Accumulator[T] = Accumulator.__new__(Accumulator)
    accumulator.aid, accumulator._value, accumulator.accum_param = aid, zero, accum_param
    accumulator._in_driver = False
    return accumulator


# ------------------------------------------------------------------------------------------------ for the engine
def begin_task() -> None:
    """From here on additions of this thread, and of the threads that it starts, belong to a new task."""
    running.updates = Updates()


def end_task() -> dict[int, Any]:
    """End this thread's task; returns its sums by accumulator id. Empty if nothing was added, or no task was begun."""
    updates, running.updates = running.updates, None
    return updates.end() if updates is not None else {}


def merge(updates: Mapping[int, Any]) -> None:
    """Add a successful task's sums to the driver's accumulators. Any thread may call it."""
    with _lock:
        for aid, update in updates.items():
            accumulator = _registry.get(aid)
            if accumulator is not None:
                accumulator._value = accumulator.accum_param.addInPlace(accumulator._value, update)
