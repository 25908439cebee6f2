"""What `mapWithState` is told and what its functions are given: `StateSpec` and `State`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from headwater.base.callables import takes_time
from headwater.errors import IllegalArgumentException, NoSuchElementException
from headwater.rdd.partitioner import Partitioner
from headwater.streaming.durations import duration_ms

if TYPE_CHECKING:
    from headwater.rdd import RDD

_ABSENT: Any = object()


class State:
    """The state of one key, as the function of `mapWithState` sees it during one call.

    A value that can be changed in place is a copy: call `update` for the change to last.

    >>> state = State()
    >>> state.exists(), state.getOption()
    (False, None)
    >>> state.update(3)
    >>> state.get()
    3
    """

    __slots__ = ("_removed", "_timing_out", "_updated", "_value")

    def __init__(self, value: Any = _ABSENT, *, timing_out: bool = False) -> None:
        self._value = value
        self._updated = False
        self._removed = False
        self._timing_out = timing_out

    def exists(self) -> bool:
        """Whether the key has a state.

        >>> State().exists(), State(3).exists()
        (False, True)
        """
        return self._value is not _ABSENT

    def get(self) -> Any:
        """The state.

        Raises:
            NoSuchElementException: there is none.

        >>> State(3).get()
        3
        """
        if self._value is _ABSENT:
            raise NoSuchElementException("State is not set")
        return self._value

    def getOption(self) -> Any:
        """The state, or None.

        >>> State().getOption() or 0
        0
        """
        return None if self._value is _ABSENT else self._value

    def update(self, newState: Any) -> None:
        """Give the key this state.

        Args:
            newState: anything that can be pickled.

        Raises:
            IllegalArgumentException: the state was removed in this call, or is timing out.

        >>> state = State(3)
        >>> state.update(state.get() + 1)
        >>> state
        State(4)
        """
        if self._removed:
            raise IllegalArgumentException("requirement failed: Cannot update the state after it has been removed")
        if self._timing_out:
            raise IllegalArgumentException("requirement failed: Cannot update the state that is timing out")
        self._value = newState
        self._updated = True

    def remove(self) -> None:
        """Forget the key.

        Raises:
            IllegalArgumentException: the state was removed in this call, or is timing out, which removes it anyway.

        >>> state = State(3)
        >>> state.remove()
        >>> state
        State()
        """
        if self._timing_out:
            raise IllegalArgumentException("requirement failed: Cannot remove the state that is timing out")
        if self._removed:
            raise IllegalArgumentException("requirement failed: Cannot remove the state that has already been removed")
        self._value = _ABSENT
        self._updated = False
        self._removed = True

    def isTimingOut(self) -> bool:
        """Whether the key is about to be forgotten because it was idle; such a call has no value.

        >>> def running_total(key, value, state):
        ...     if state.isTimingOut():
        ...         return key, "gone, with", state.get()
        ...     state.update((state.getOption() or 0) + value)
        >>> running_total("a", None, State(7, timing_out=True))
        ('a', 'gone, with', 7)
        """
        return self._timing_out

    def __repr__(self) -> str:
        return f"State({self._value!r})" if self.exists() else "State()"


class StateSpec:
    """How `mapWithState` works: `StateSpec.function(f)`, then what else is wanted, each call returning the spec.

    >>> def running_count(key, value, state):
    ...     count = (state.getOption() or 0) + (value or 0)
    ...     state.update(count)
    ...     return key, count
    >>> spec = StateSpec.function(running_count).numPartitions(10).timeout(30)
    """

    def __init__(self, function: Callable[..., Any], *, with_time: bool) -> None:
        self._function = function
        self._with_time = with_time
        self._initial: RDD[Any] | Iterable[tuple[Any, Any]] | None = None
        self._partitioner: Partitioner | None = None
        self._timeout_ms: int | None = None

    @classmethod
    def function(cls, mappingFunction: Callable[..., Any]) -> StateSpec:
        """A spec with this function, called for each record of each key, in the worker.

        Args:
            mappingFunction: `f(key, value, state)`, whose result is a record of the stream, None included; or
                `f(time, key, value, state)` with the batch time as a naive local datetime, which gives no record where
                it returns None. `value` is None when the state is timing out.

        Raises:
            AssertionError: it takes neither three nor four arguments.

        >>> StateSpec.function(lambda key, value, state: state.update(value))
        StateSpec.function(<lambda>)
        """
        return cls(mappingFunction, with_time=takes_time(mappingFunction, 3))

    def __repr__(self) -> str:
        calls = [f"StateSpec.function({getattr(self._function, '__name__', repr(self._function))})"]
        if self._initial is not None:
            calls.append("initialState(...)")
        if self._partitioner is not None:
            calls.append(f"partitioner({self._partitioner!r})")
        if self._timeout_ms is not None:
            calls.append(f"timeout({self._timeout_ms / 1000:g})")
        return ".".join(calls)

    def initialState(self, rdd: RDD[Any] | Iterable[tuple[Any, Any]]) -> StateSpec:
        """Begin with these states; returns the spec.

        Args:
            rdd: pairs of key and state, as an RDD or an iterable.

        >>> StateSpec.function(lambda key, value, state: state.update(value)).initialState([("a", 1)])
        StateSpec.function(<lambda>).initialState(...)
        """
        self._initial = rdd
        return self

    def without_initial(self) -> StateSpec:
        """A copy that says nothing about how the state begins.

        >>> StateSpec.function(lambda key, value, state: None).initialState([("a", 1)]).without_initial()
        StateSpec.function(<lambda>)
        """
        other = copy.copy(self)
        other._initial = None
        return other

    def numPartitions(self, numPartitions: int) -> StateSpec:
        """Have the state in this many partitions, by the keys' hash; returns the spec.

        Args:
            numPartitions: at least 1. Without this call it is the context's default parallelism.

        Raises:
            ValueError: it is less, or no int.

        >>> StateSpec.function(lambda key, value, state: None).numPartitions(10)
        StateSpec.function(<lambda>).partitioner(Partitioner(10, portable_hash))
        """
        if isinstance(numPartitions, bool) or not isinstance(numPartitions, int) or numPartitions < 1:
            raise ValueError(f"numPartitions must be a whole number of 1 or more, not {numPartitions!r}")
        self._partitioner = Partitioner(numPartitions)
        return self

    def partitioner(self, partitioner: Partitioner) -> StateSpec:
        """Have the state in partitions that a function of yours chooses; returns the spec.

        Args:
            partitioner: how many partitions there are, and in which one a key is.

        Raises:
            TypeError: it is no `headwater.rdd.Partitioner`.

        >>> StateSpec.function(lambda key, value, state: None).partitioner(Partitioner(2, len))
        StateSpec.function(<lambda>).partitioner(Partitioner(2, len))
        """
        if not isinstance(partitioner, Partitioner):
            raise TypeError(f"expected a headwater.rdd.Partitioner, got {type(partitioner).__name__}")
        self._partitioner = partitioner
        return self

    def timeout(self, idleDuration: float) -> StateSpec:
        """Forget keys that are idle, each after a last call that sees `State.isTimingOut`; returns the spec.

        Args:
            idleDuration: seconds without data, at least 0.001, after which a key is forgotten.

        Raises:
            ValueError: not such a duration.

        >>> StateSpec.function(lambda key, value, state: None).timeout(30)
        StateSpec.function(<lambda>).timeout(30)
        """
        self._timeout_ms = duration_ms(idleDuration, "timeout")
        return self
