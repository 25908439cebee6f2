"""The connections of a Flume receiver between its start and its stop, and the threads that serve them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from headwater.base.threads import WatchedThread
from headwater.clock import SystemClock

# What one call reads at most.
READ_BYTES = 256 << 10
# A stop waits this long for answers to what is stored already.
LAST_ANSWERS_MS_MAX = 2000
# When a silent peer is asked whether it still lives, how often, and how many silences mean that it doesn't.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Connections:
    """Open sockets, and threads. Made anew for each start, so that threads of the last one have no part in it."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()  # guards the fields below
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, work: Callable[[], None], *, name: str, failed: Callable[[BaseException], None]) -> None:
        """Run `work` on a thread of its own, unless everything is stopping; `failed` is told what it raises."""

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = WatchedThread(run, name=name, on_failure=failed)
        with self._lock:
            if not self.stopping.is_set():
                thread.start()
                self._threads.add(thread)

    @contextmanager
    def opened(self, connection: socket.socket) -> Iterator[None]:
        """Around the life of a connection, which is closed at its end. It may be wrapped for TLS within."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        with self._lock:
            self._open.add(connection)
            if self.stopping.is_set():
                _end_reading(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def stop(self) -> None:
        """End all reading, and wait for the threads, but not for long."""
        with self._lock:
            self.stopping.set()
            for connection in self._open:
                _end_reading(connection)
            threads = list(self._threads)
        clock = SystemClock()
        deadline_ms = clock.now_ms() + LAST_ANSWERS_MS_MAX
        for thread in threads:
            thread.join(max(0.0, (deadline_ms - clock.now_ms()) / 1000))


def _end_reading(connection: socket.socket) -> None:
    """Wake the readers; an answer can still be written."""
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RD)
