"""ConnectionPool: connections to other systems that a worker process keeps from one task to the next.

A pool travels to workers as its recipe: how to connect. Each process has one pool for each recipe, made when it is
first used, and connects when no connection is free. A recipe is what `connect`, `close` and the bounds are when they
are pickled, so a pool that is made anew for each batch, of equal parts, is the same pool in the workers.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from headwater.base import pickling
from headwater.base.threads import WatchedThread
from headwater.clock import Clock, SystemClock
from headwater.rdd.checks import check_function, check_not_negative, check_positive

C = TypeVar("C")

logger = logging.getLogger(__name__)

# Pools that a process keeps, one for each recipe; with more than that, each batch probably has another recipe.
_RECIPES_MAX = 64

_pools: dict[bytes, ConnectionPool[Any]] = {}  # what has arrived in this process, by recipe; the longest unused first
_pools_lock = threading.Lock()
_all: weakref.WeakSet[ConnectionPool[Any]] = weakref.WeakSet()  # of this process, to be closed with it


class _Idle(NamedTuple):
    connection: Any
    since_ms: int


class ConnectionPool(Generic[C]):
    """Connections that tasks borrow; made in the driver, used in workers.

    A connection goes back into the pool at the end of `with`, or is closed if that raised: it may be broken, or in the
    middle of a transaction. What is idle for too long is closed, on a thread of the pool's own, and so are all idle
    connections when the process ends, unless it is killed. Safe to use from any thread of a process.

    Args:
        connect: makes a connection. It and what it refers to are pickled.
        close: closes one; None calls its method `close()`.
        maxSize: connections of one process at a time, at least 1; a task uses one, unless it borrows several at once.
        idleTimeout: seconds, at least 0, after which a connection that is not borrowed is closed.
        waitTimeout: seconds, at least 0, to wait at most for a connection when `maxSize` are borrowed.
        clock: what idle time is measured by, for tests; it stays in this process. None is the machine's.

    Raises:
        TypeError: `connect` or `close` is no function, or a bound is no number.
        IllegalArgumentException: `maxSize` is below 1, or a timeout negative.

    >>> import sqlite3
    >>> from functools import partial
    >>> pool = ConnectionPool(partial(sqlite3.connect, f"{directory}/words.db", check_same_thread=False))
    >>> def write(words):
    ...     with pool.connection() as connection, connection:
    ...         connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
    ...         connection.executemany("INSERT INTO words VALUES (?)", [(word,) for word in words])
    >>> harness.stream([["a", "b"]]).repartition(1).foreachRDD(lambda rdd: rdd.foreachPartition(write))
    >>> _ = harness.run()
    >>> sorted(sqlite3.connect(f"{directory}/words.db").execute("SELECT word FROM words"))
    [('a',), ('b',)]
    """

    def __init__(
        self,
        connect: Callable[[], C],
        close: Callable[[C], Any] | None = None,
        *,
        maxSize: int = 8,
        idleTimeout: float = 60.0,
        waitTimeout: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        check_function("connect", connect)
        if close is not None:
            check_function("close", close)
        check_positive("maxSize", maxSize)
        check_not_negative("idleTimeout", idleTimeout)
        check_not_negative("waitTimeout", waitTimeout)
        self._recipe = (connect, close, maxSize, idleTimeout, waitTimeout)
        self._connect = connect
        self._close = close
        self._max_size = maxSize
        self._idle_ms = round(idleTimeout * 1000)
        self._wait_seconds = waitTimeout
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()  # guards the next two
        self._idle: deque[_Idle] = deque()  # the longest idle first
        self._watched = False  # does a thread see to it that they are closed in time?
        self._permits = threading.BoundedSemaphore(maxSize)  # one for each connection that may be borrowed now
        _all.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _pool_of, (pickling.dumps(self._recipe),)

    @contextmanager
    def connection(self) -> Iterator[C]:
        """Borrow a connection: `with pool.connection() as connection`.

        Raises:
            TimeoutError: all `maxSize` were borrowed for as long as `waitTimeout`.
            Exception: what `connect` raises.

        >>> import sqlite3
        >>> pool = ConnectionPool(lambda: sqlite3.connect(":memory:"))
        >>> with pool.connection() as connection:
        ...     connection.execute("SELECT 1").fetchall()
        [(1,)]
        """
        if not self._permits.acquire(timeout=self._wait_seconds):
            raise TimeoutError(
                f"all {self._max_size} connections of the pool were in use for {self._wait_seconds:g} s. "
                "Borrow fewer at once, for a shorter time, or raise maxSize."
            )
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                self._discard(connection)
                raise
            self._give_back(connection)
        finally:
            self._permits.release()

    def close(self) -> None:
        """Close the idle connections. The pool can still be used, and then connects again.

        >>> import sqlite3
        >>> pool = ConnectionPool(lambda: sqlite3.connect(":memory:"))
        >>> with pool.connection() as connection:
        ...     pass
        >>> pool.close()
        >>> connection.execute("SELECT 1")
        Traceback (most recent call last):
        sqlite3.ProgrammingError: Cannot operate on a closed database.
        """
        with self._lock:
            idle = [self._idle.popleft().connection for _ in range(len(self._idle))]
        for connection in idle:
            self._discard(connection)

    def _take(self) -> C:
        with self._lock:
            latest = self._idle.pop() if self._idle else None
        return self._connect() if latest is None else latest.connection

    def _give_back(self, connection: C) -> None:
        with self._lock:
            self._idle.append(_Idle(connection, self._clock.now_ms()))
            if not self._watched:
                self._watched = True
                WatchedThread(self._watch, name="connection-pool", on_failure=self._unwatched).start()

    def _watch(self) -> None:
        """Close what has been idle for too long, until nothing is idle."""
        never: queue.SimpleQueue[Any] = queue.SimpleQueue()
        while True:
            with self._lock:
                due_ms = self._clock.now_ms() - self._idle_ms
                expired = []
                while self._idle and self._idle[0].since_ms <= due_ms:
                    expired.append(self._idle.popleft().connection)
                self._watched = bool(self._idle)
                deadline_ms = self._idle[0].since_ms + self._idle_ms if self._idle else None
            for connection in expired:
                self._discard(connection)
            if deadline_ms is None:
                return
            self._clock.get(never, deadline_ms)

    def _unwatched(self, _failure: BaseException) -> None:
        with self._lock:
            self._watched = False  # the next one that is given back has it watched again

    def _discard(self, connection: C) -> None:
        try:
            if self._close is not None:
                self._close(connection)
            else:
                connection.close()  # type: ignore[attr-defined]
        except Exception:
            # No one waits for it, or what has broken it is under way to the task.
            logger.warning("A connection of the pool could not be closed: %r", connection, exc_info=True)


def _pool_of(recipe: bytes) -> ConnectionPool[Any]:
    """This process's pool of a recipe."""
    key = hashlib.blake2b(recipe, digest_size=16).digest()
    with _pools_lock:
        pool = _pools.pop(key, None)
        if pool is None:
            connect, close, max_size, idle_timeout, wait_timeout = pickling.loads(recipe)
            pool = ConnectionPool(connect, close, maxSize=max_size, idleTimeout=idle_timeout, waitTimeout=wait_timeout)
        _pools[key] = pool
        unused = _pools.pop(next(iter(_pools))) if len(_pools) > _RECIPES_MAX else None
    if unused is not None:
        unused.close()
    return pool


@atexit.register
def _close_all() -> None:
    for pool in list(_all):
        pool.close()
