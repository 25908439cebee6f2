"""Broadcast variables: read-only values that reach each executor once, however many tasks use them.

- The driver's `Broadcast` holds the value; its pickle is the id alone.
- A worker reads the bytes by the reader that the engine has set, once a process, when the value is first used.
- Who pickles a program learns through `captured` which broadcasts it needs.
"""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import IO, Any, Generic, Protocol, TypeVar

from headwater.base import pickling
from headwater.errors import SparkException

__all__ = ["Broadcast"]

T = TypeVar("T")

_ids = count()
# The driver's broadcasts by id. Weak: the last reference gone, the executors' copies are removed.
_registry: weakref.WeakValueDictionary[int, Broadcast[Any]] = weakref.WeakValueDictionary()


class BroadcastStore(Protocol):
    """Where the driver keeps the pickled values for the executors: a running application. Any thread."""

    def put_broadcast(self, broadcast_id: int, data: bytes) -> None:
        """Keep a value; each executor gets it with the first task that uses it."""

    def remove_broadcast(self, broadcast_id: int) -> None:
        """Remove a value everywhere; it may be put again. Called by finalizers, too, which must not wait."""


class HasStore(Protocol):
    """A SparkContext, as far as its broadcasts know it."""

    @property
    def application(self) -> BroadcastStore:
        """The store.

        Raises:
            IllegalStateException: the context was stopped.
        """


class Captured(set[int]):
    """The ids of the broadcasts that were pickled. Keep it while the program may run: it keeps the values alive."""

    def __init__(self) -> None:
        super().__init__()
        self.broadcasts: list[Broadcast[Any]] = []

    def put_again(self, broadcast_id: int) -> None:
        """Have the engine keep a value that was unpersisted after the program was pickled."""
        for broadcast in self.broadcasts:
            if broadcast._id == broadcast_id and not broadcast._is_stored and not broadcast._destroyed:
                broadcast._put()


class _Pickling(threading.local):
    captured: Captured | None = None  # where this thread notes the broadcasts that it pickles


_pickling = _Pickling()


class Broadcast(Generic[T]):
    """A read-only value that tasks use by `.value`, made by `SparkContext.broadcast`.

    Don't change the value after it was broadcast: who reads it when is not defined.
    """

    def __init__(self, sc: HasStore | None = None, value: T | None = None) -> None:
        self._id = next(_ids)
        self._destroyed = False
        self._store: BroadcastStore | None = None  # in the driver
        if sc is None:
            raise SparkException("a Broadcast is made by SparkContext.broadcast(value)")
        self._store = sc.application
        self._value: T = value  # type: ignore[assignment]
        self._is_stored = False  # whether the engine has the bytes; it hasn't after unpersist
        self._put()
        _registry[self._id] = self
        weakref.finalize(self, _remove, weakref.ref(self._store), self._id).atexit = False

    @property
    def id(self) -> int:
        """The number in the error messages about this variable."""
        return self._id

    @property
    def value(self) -> T:
        """The value; in a task it is read when it is first asked for.

        Raises:
            SparkException: the variable was destroyed, or this process has no way to read it.
        """
        if self._store is not None:
            self._check_alive()
            return self._value
        return _read(self._id)  # type: ignore[no-any-return]

    def unpersist(self, blocking: bool = False) -> None:
        """Remove the executors' copies. The value is sent again when it is next used.

        Args:
            blocking: accepted for PySpark's sake: removal is never waited for.
        """
        store = self._driver_side("unpersist")
        self._check_alive()
        self._is_stored = False
        store.remove_broadcast(self._id)

    def destroy(self, blocking: bool = False) -> None:
        """Remove the value for good, from the driver as well. What uses it afterwards fails."""
        store = self._driver_side("destroy")
        self._check_alive()
        self._destroyed, self._is_stored = True, False
        del self._value
        store.remove_broadcast(self._id)

    def dump(self, value: T, f: IO[bytes]) -> None:
        """Pickle a value into a binary file, and close it.

        Raises:
            SerializationError: the value can't be pickled.
        """
        with f:
            f.write(pickling.dumps(value))

    def load(self, file: IO[bytes]) -> T:
        """The value that `dump` wrote into the file."""
        return pickle.load(file)  # type: ignore[no-any-return]

    def load_from_path(self, path: str) -> T:
        """The value that `dump` wrote at the path."""
        with open(path, "rb") as file:
            return self.load(file)

    def _put(self) -> None:
        assert self._store is not None
        self._store.put_broadcast(self._id, pickling.dumps(self._value))
        self._is_stored = True

    def _driver_side(self, operation: str) -> BroadcastStore:
        if self._store is None:
            raise SparkException(f"Broadcast({self._id}).{operation} can only be called in the driver, not in a task")
        return self._store

    def _check_alive(self) -> None:
        if self._destroyed:
            raise SparkException(f"Attempted to use Broadcast({self._id}) after it was destroyed")

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_alive()
        captured = _pickling.captured
        if captured is not None and self._store is not None:
            if not self._is_stored:
                self._put()
            captured.add(self._id)
            captured.broadcasts.append(self)
        return _restore, (self._id,)

    def __repr__(self) -> str:
        return f"Broadcast({self._id})"


def _remove(store: weakref.ref[BroadcastStore], broadcast_id: int) -> None:
    living = store()
    if living is not None:
        living.remove_broadcast(broadcast_id)


def _restore(broadcast_id: int) -> Broadcast[Any]:
    known = _registry.get(broadcast_id)
    if known is not None:
        return known
    broadcast: Broadcast[Any] = Broadcast.__new__(Broadcast)
    broadcast._id, broadcast._destroyed, broadcast._store = broadcast_id, False, None
    return broadcast


# ------------------------------------------------------------------------------------------------ for the engine
@contextmanager
def captured() -> Iterator[Captured]:
    """Collects the ids of the broadcasts that this thread pickles within the block."""
    before, _pickling.captured = _pickling.captured, Captured()
    try:
        yield _pickling.captured
    finally:
        _pickling.captured = before


_reader: Callable[[int], bytes] | None = None  # set in workers only
_values: dict[int, Any] = {}  # values read by this process, until the engine calls `forget`
_reading = threading.Lock()


def set_reader(reader: Callable[[int], bytes] | None) -> None:
    """Set how this process gets the bytes of a broadcast; called by the engine in each worker."""
    global _reader
    _reader = reader


def forget(broadcast_id: int) -> None:
    """Drop this process's copy of a value; the engine calls it in workers when a broadcast is removed."""
    _values.pop(broadcast_id, None)


def _read(broadcast_id: int) -> Any:
    try:
        return _values[broadcast_id]
    except KeyError:
        pass
    with _reading:
        if broadcast_id not in _values:
            if _reader is None:
                raise SparkException(f"Broadcast variable `{broadcast_id}` not loaded")
            _values[broadcast_id] = pickle.loads(_reader(broadcast_id))
        return _values[broadcast_id]
