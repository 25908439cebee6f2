"""The engine of an application, and what takes its place when it has grown too large or is dead.

A query holds a *lease* of the engine that it runs on. One that is to go is given to nobody any more, and ends with its
last lease; so nothing that runs is cut short, and nobody waits for another's query.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError

from headwater.base.daemonpool import DaemonPool
from headwater.errors import IllegalStateException
from headwater.sql.engine import Engine

__all__ = ["Engines", "Lease"]

logger = logging.getLogger(__name__)

_LEASES_BETWEEN_LOOKS = 16  # at an engine's memory
_LEASES_LEAST = 64  # of an engine that is replaced for its size: what needs as much at once needs it again
_DIED = "The SQL engine has died: another is started, and told what this one knew"


class Lease:
    """An engine, while somebody uses it. `epoch` numbers an application's engines."""

    def __init__(self, engine: Engine, epoch: int) -> None:
        self.engine = engine
        self.epoch = epoch
        self.users = 0
        self.leases = 0

    def has_lost(self, error: grpc.RpcError | DecodeError) -> bool:
        """Whether a call has failed because the engine is gone, can't be reached any more, or can't be understood."""
        if isinstance(error, DecodeError) or not self.engine.is_alive():
            return True
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)


class Engines:
    """Gives leases of an application's engine, which it starts, replaces and stops. Any thread may use it.

    Args:
        start: starts an engine; may take a second.
        memory_max: in bytes; an engine that has more is replaced, as its own memory only grows with its queries. It
            goes on until the next one is there.
    """

    def __init__(self, start: Callable[[], Engine], *, memory_max: int) -> None:
        self._start = start
        self._memory_max = memory_max
        self._starting = threading.Lock()  # held by the thread that starts an engine others wait for
        self._lock = threading.Lock()  # guards all below; never held while an engine starts or stops
        self._current: Lease | None = None
        self._successor: Future[Engine] | None = None  # of the current one, if there is one
        self._pool = DaemonPool(1, "sql-engine-start")
        self._epoch = 0
        self._stopped = False

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """The engine, which stays as long as the block runs, unless it dies.

        Raises:
            IllegalStateException: the application has stopped.
            SparkException: there is no engine, and none can be started.
        """
        lease = self._take()
        try:
            yield lease
        finally:
            with self._lock:
                lease.users -= 1
                ended = lease.users == 0 and lease is not self._current
            if ended:
                lease.engine.stop()

    @property
    def has_stopped(self) -> bool:
        """Whether the application has ended, and there are no engines any more."""
        with self._lock:
            return self._stopped

    def give_up(self, lease: Lease) -> None:
        """Have no more leases of an engine: it's dead, or dying, or can't be reached."""
        with self._lock:
            if self._current is lease:
                logger.warning(_DIED)
                self._current = None

    def warm(self) -> None:
        """Begin to start an engine, if there is none, and don't wait for it."""
        with self._lock:
            if not self._stopped and self._current is None and self._successor is None:
                self._successor = self._pool.submit(self._start)

    def stop(self) -> None:
        """End all engines, and what they are at. Idempotent."""
        with self._lock:
            self._stopped = True
            current, self._current = self._current, None
            successor, self._successor = self._successor, None
        if current is not None:
            current.engine.stop()
        if successor is not None and successor.exception() is None:
            successor.result().stop()
        self._pool.shutdown()

    def _take(self) -> Lease:
        while True:
            with self._lock:
                if self._stopped:
                    raise IllegalStateException("The SQL engine has stopped with its application")
                unused = self._replace()
                lease = self._current
                if lease is not None:
                    lease.users += 1
                    lease.leases += 1
            if unused is not None:
                unused.engine.stop()
            if lease is not None:
                return lease
            self._start_one()

    def _replace(self) -> Lease | None:
        """Let go of an engine that is dead, or whose successor is there; returns it if nobody has a lease of it."""
        lease = self._current
        if lease is None:
            return None
        if not lease.engine.is_alive():
            logger.warning(_DIED)
            self._current = None
        elif self._successor is None:
            due = lease.leases >= _LEASES_LEAST and lease.leases % _LEASES_BETWEEN_LOOKS == 0
            if due and (memory := lease.engine.memory()) > self._memory_max:
                logger.info("The SQL engine has %d MB in memory: it is being replaced", memory >> 20)
                self._successor = self._pool.submit(self._start)
            return None
        elif self._successor.done():
            successor, self._successor = self._successor, None
            if (error := successor.exception()) is not None:
                logger.warning("The SQL engine has grown too large, but no other can be started", exc_info=error)
                return None
            self._seat(successor.result())
        else:
            return None
        return lease if lease.users == 0 else None

    def _start_one(self) -> None:
        with self._starting:
            with self._lock:
                if self._stopped or self._current is not None:
                    return
                successor, self._successor = self._successor, None
            engine = self._start() if successor is None else successor.result()
            if not self._install(engine):
                engine.stop()

    def _install(self, engine: Engine) -> bool:
        with self._lock:
            if not self._stopped:
                self._seat(engine)
            return not self._stopped

    def _seat(self, engine: Engine) -> None:
        self._epoch += 1
        self._current = Lease(engine, self._epoch)
