"""Where peers of the application knock: a listener that lets in whoever proves to know its secret.

Those who haven't proved it yet are few and have little time, so that strangers who connect and then say nothing, or a
byte now and then, take neither all threads nor all file descriptors from the peers.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from headwater.base.listening import Listener
from headwater.base.threads import WatchedThread
from headwater.engine import wire

logger = logging.getLogger(__name__)

# Connections that haven't proved to be a peer's. A handshake takes a few milliseconds.
UNPROVED_MAX = 64
# When there are so many, the oldest is closed for a new one once it has had this time; until then new ones wait.
PATIENCE_SECONDS = 1.0


class PeerListener:
    """Listens from construction to `close`; each peer is served on a thread of its own.

    Args:
        host: of the interface to listen on; any free port is taken.
        secret: the application's.
        name: of the threads.
        serve: is called with a peer's channel, which it owns, and must close it however it ends.
    """

    def __init__(self, host: str, secret: bytes, *, name: str, serve: Callable[[wire.Channel], None]) -> None:
        self._secret = secret
        self._name = name
        self._serve = serve
        self._changed = threading.Condition()  # guards all below
        self._unproved: dict[socket.socket, float] = {}  # -> since when (monotonic seconds); the oldest first
        self._closed = False
        self._listener = Listener(socket.create_server((host, 0)), name=name, take=self._take)
        self.address: tuple[str, int] = self._listener.address[:2]

    def close(self) -> None:
        """Let nobody in any more; those that were let in stay. Idempotent."""
        with self._changed:
            self._closed = True
            for connection in self._unproved:
                _end(connection)
            self._changed.notify_all()
        self._listener.close()

    def _take(self, connection: socket.socket, peer: Any) -> None:
        with self._changed:
            while len(self._unproved) >= UNPROVED_MAX and not self._closed:
                oldest, since = next(iter(self._unproved.items()))
                left = since + PATIENCE_SECONDS - time.monotonic()
                if left <= 0:
                    _end(oldest)  # its thread will close it
                    del self._unproved[oldest]
                else:
                    self._changed.wait(left)
            self._unproved[connection] = time.monotonic()
            if self._closed:
                _end(connection)
        try:
            work = partial(self._let_in, connection, peer)
            WatchedThread(work, name=f"{self._name}-link", on_failure=partial(self._failed, connection)).start()
        except BaseException:
            self._forget(connection)
            raise

    def _let_in(self, connection: socket.socket, peer: Any) -> None:
        try:
            channel = wire.accept(connection, self._secret)
        except OSError as error:
            logger.warning("%s: refused a connection from %s: %s", self._name, peer, error)
            return
        finally:
            self._forget(connection)
        self._serve(channel)

    def _failed(self, connection: socket.socket, _failure: BaseException) -> None:
        self._forget(connection)
        _end(connection)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        with self._changed:
            self._unproved.pop(connection, None)
            self._changed.notify_all()


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
