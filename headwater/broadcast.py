"""Broadcast variables: read-only values that reach each executor once, however many tasks use them.

1. The driver's `Broadcast` holds the value; its pickle is the id alone.
2. A worker reads the bytes by the reader that the engine has set, once a process, when the value is first used.
3. Who pickles a program learns through `captured` which broadcasts it needs.
"""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import IO, TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from headwater.base import pickling
from headwater.errors import SparkException

if TYPE_CHECKING:
    from headwater.engine.application import Application

__all__ = ["Broadcast"]

T = TypeVar("T")

_ids = count()
# The driver's broadcasts by id. Weak: the last reference gone, the executors' copies are removed.
_registry: weakref.WeakValueDictionary[int, Broadcast[Any]] = weakref.WeakValueDictionary()


class Captured(set[int]):
    """The ids of the broadcasts that were pickled. Keep it while the program may run: it keeps the values alive."""

    def __init__(self) -> None:
        super().__init__()
        self.broadcasts: list[Broadcast[Any]] = []

    def put_again(self, broadcast_id: int) -> None:
        """Have the engine keep a value that was unpersisted after the program was pickled."""
        for broadcast in self.broadcasts:
            if broadcast._id == broadcast_id and not broadcast._stored and not broadcast._destroyed:
                broadcast._store()


class _Pickling(threading.local):
    captured: Captured | None = None  # where this thread notes the broadcasts that it pickles


_pickling = _Pickling()


class BroadcastMaker(Protocol):
    """What a `SparkContext` is to a broadcast."""

    @property
    def application(self) -> Application:
        """Keeps the bytes; an error once it has stopped."""
        ...


class Broadcast(Generic[T]):
    """A read-only value that tasks use by `.value`, made by `SparkContext.broadcast`.

    Don't change the value after it was broadcast: who reads it when is not defined.
    """

    def __init__(self, sc: BroadcastMaker | None = None, value: T | None = None) -> None:
        self._id = next(_ids)
        self._destroyed = False
        self._application: Application | None = None
        if sc is None:
            raise SparkException("a Broadcast is made by SparkContext.broadcast(value)")
        self._application = sc.application
        self._value: T = value  # type: ignore[assignment]
        self._stored = False  # whether the engine has the bytes; it hasn't after unpersist
        self._store()
        _registry[self._id] = self
        weakref.finalize(self, _remove, weakref.ref(self._application), self._id).atexit = False

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
        if self._application is not None:
            self._check_alive()
            return self._value
        return _read(self._id)  # type: ignore[no-any-return]

    def unpersist(self, blocking: bool = False) -> None:
        """Remove the executors' copies. The value is sent again when it is next used.

        Arguments:
            blocking: accepted for PySpark's sake: removal is never waited for.
        """
        application = self._driver_side("unpersist")
        self._check_alive()
        self._stored = False
        application.remove_broadcast(self._id)

    def destroy(self, blocking: bool = False) -> None:
        """Remove the value for good, from the driver as well. Whoever uses it afterwards gets an error."""
        application = self._driver_side("destroy")
        self._check_alive()
        self._destroyed, self._stored = True, False
        del self._value
        application.remove_broadcast(self._id)

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

    def _store(self) -> None:
        assert self._application is not None
        self._application.put_broadcast(self._id, pickling.dumps(self._value))
        self._stored = True

    def _driver_side(self, operation: str) -> Application:
        if self._application is None:
            raise SparkException(f"Broadcast({self._id}).{operation} can only be called in the driver, not in a task")
        return self._application

    def _check_alive(self) -> None:
        if self._destroyed:
            raise SparkException(f"Attempted to use Broadcast({self._id}) after it was destroyed")

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_alive()
        captured = _pickling.captured
        if captured is not None and self._application is not None:
            if not self._stored:
                self._store()
            captured.add(self._id)
            captured.broadcasts.append(self)
        return _restore, (self._id,)

    def __repr__(self) -> str:
        return f"Broadcast({self._id})"


def _remove(application: weakref.ref[Application], broadcast_id: int) -> None:
    running = application()
    if running is not None:
        running.remove_broadcast(broadcast_id)


def _restore(broadcast_id: int) -> Broadcast[Any]:
    known = _registry.get(broadcast_id)
    if known is not None:
        return known
    broadcast: Broadcast[Any] = Broadcast.__new__(Broadcast)
    broadcast._id, broadcast._destroyed, broadcast._application = broadcast_id, False, None
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
