"""Listening sockets: what accepts connections goes on accepting until it is closed.

`accept` fails for reasons that pass: no file descriptor or memory is left for a connection, the peer has gone away
again. Then the loop waits, longer each time, and goes on; only `close` ends it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from headwater.base.threads import WatchedThread

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.01
PAUSE_SECONDS_MAX = 1.0


class Listener:
    """Accepts connections on a thread of its own, from construction to `close`.

    Args:
        listening: the socket, which is the listener's from here on.
        name: of its thread, and in logs.
        take: is called with each connection and its peer's address, on that thread, and owns the connection. It must
            not block. If it raises, the connection is closed, and the next one is awaited.
    """

    def __init__(self, listening: socket.socket, *, name: str, take: Callable[[socket.socket, Any], None]) -> None:
        self._listening = listening
        self.address = listening.getsockname()
        self._name = name
        self._take = take
        self._closed = threading.Event()
        self._failing = False  # an outage was logged, and nothing was accepted since; the thread's
        self._thread = self._started()

    def close(self) -> None:
        """Accept no more, and wait for the thread's end. Idempotent."""
        self._closed.set()
        try:
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes `accept` on Linux, where closing alone doesn't
        except OSError:
            pass  # elsewhere it's the other way round, and a second time it's closed
        self._listening.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -------------------------------------------------------------------------------------------- its thread
    def _started(self) -> threading.Thread:
        thread = WatchedThread(self._run, name=self._name, on_failure=self._replace)
        thread.start()
        return thread

    def _replace(self, _failure: BaseException) -> None:
        """Nothing is lost with the thread: another goes on."""
        if not self._closed.is_set():
            self._thread = self._started()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            try:
                self._accept()
            except Exception as error:
                if self._closed.is_set():
                    return
                if not self._failing:
                    logger.warning("%s: a connection can't be accepted; it is tried on: %s", self._name, error)
                self._failing = True
                self._closed.wait(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
            else:
                pause = FIRST_PAUSE_SECONDS

    def _accept(self) -> None:
        connection, peer = self._listening.accept()
        try:
            self._take(connection, peer)
        except BaseException:
            connection.close()
            raise
        if self._failing:
            self._failing = False
            logger.warning("%s: connections are accepted again", self._name)
