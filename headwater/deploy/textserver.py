"""A small TCP server of text lines on the loopback interface, for the demo and for trying sources.

- Each client gets the lines from the first one, over and over, at the server's rate, from a thread of its own.
- A client that goes away, or reads too slowly to keep up, disturbs no other.
- After `close` there is no thread, socket or client left.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from headwater.base.listening import Listener
from headwater.base.threads import WatchedThread, nothing_depends
from headwater.clock import EXPIRED, Clock, SystemClock
from headwater.errors import IllegalArgumentException

TICK_MS_MIN = 20  # lines due within one tick are sent together: at most 50 writes a second and client
CLIENTS_MAX = 64  # threads; a further client is refused

LINES = (
    "the spring is small and the river is long",
    "a river begins where the rain is patient",
    "drop by drop the spring becomes a stream",
    "stream by stream the water finds the river",
    "the river carries the rain to the sea",
    "the sea gives the water back to the sky",
    "and the sky gives the rain to the hills",
    "count the drops and you will know the rain",
    "count the rain and you will know the river",
    "no drop is lost between the hills and the sea",
    "the mill by the river turns day and night",
    "what the stream brings the mill will grind",
)


class TextServer:
    """Serves lines to every client that connects, until it is closed. Use it in a `with`.

    Args:
        lines: what to send, without newlines; it begins anew after the last.
        lines_per_s: rate towards each client, above 0.
        port: where to listen; 0 takes any free port.
        clock: what paces the lines.

    Raises:
        IllegalArgumentException: no lines, or a rate that isn't above 0.
        OSError: the port is taken.

    >>> import socket
    >>> with TextServer(["to be", "or not"], lines_per_s=1000) as server:
    ...     with socket.create_connection((server.host, server.port)) as client, client.makefile() as received:
    ...         received.readline(), received.readline(), received.readline()
    ('to be\\n', 'or not\\n', 'to be\\n')
    """

    def __init__(
        self, lines: Sequence[str] = LINES, *, lines_per_s: float, port: int = 0, clock: Clock | None = None
    ) -> None:
        if not lines:
            raise IllegalArgumentException("text server: there are no lines to send. Give at least one.")
        if not lines_per_s > 0:
            raise IllegalArgumentException(f"text server: {lines_per_s!r} lines a second is not above 0.")
        self._lines = [line.encode() + b"\n" for line in lines]
        self._lines_per_s = lines_per_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()  # guards the three fields below
        self._closed = False
        self._clients: dict[socket.socket, queue.SimpleQueue[Any]] = {}  # connected: what wakes its thread
        self._threads: set[threading.Thread] = set()  # of the clients in `_clients`, perhaps of some just gone
        self._listener = Listener(socket.create_server(("127.0.0.1", port)), name="text-server", take=self._take)
        self.host, self.port = self._listener.address

    def close(self) -> None:
        """Disconnect the clients and end. May be called again, and from any thread."""
        with self._lock:
            self._closed = True
            clients, threads = list(self._clients.items()), list(self._threads)
        self._listener.close()
        for client, wake in clients:
            wake.put(None)
            _shut(client)
        for thread in threads:
            thread.join()

    def __enter__(self) -> TextServer:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _take(self, client: socket.socket, _peer: Any) -> None:
        wake: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Nothing depends on the thread but its client, whose connection it closes however it ends.
        thread = WatchedThread(partial(self._serve, client, wake), name="text-client", on_failure=nothing_depends)
        with self._lock:
            if self._closed or len(self._clients) >= CLIENTS_MAX:
                client.close()
                return
            thread.start()
            self._clients[client] = wake
            self._threads.add(thread)

    def _serve(self, client: socket.socket, wake: queue.SimpleQueue[Any]) -> None:
        """Send a client the lines that are due, tick by tick. `wake` gets an item when the server closes."""
        started_ms, sent = self._clock.now_ms(), 0
        try:
            while True:
                elapsed_ms = self._clock.now_ms() - started_ms
                # A client that was slow catches up by at most a second's lines in one write.
                due = min(int(elapsed_ms * self._lines_per_s / 1000) + 1, sent + int(self._lines_per_s) + 1)
                client.sendall(b"".join(self._lines[i % len(self._lines)] for i in range(sent, due)))
                sent = max(sent, due)
                # When the next line is due, but not sooner than a tick from now.
                next_ms = max(int(sent * 1000 / self._lines_per_s) + 1, elapsed_ms + TICK_MS_MIN)
                if self._clock.get(wake, started_ms + next_ms) is not EXPIRED:
                    return
        except OSError:  # the client went away, or the server shut the connection
            return
        finally:
            with self._lock:
                del self._clients[client]
                self._threads.discard(threading.current_thread())
            client.close()


def _shut(connection: socket.socket) -> None:
    """End a connection in both directions, whatever state it is in, so that threads that wait on it return."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it had ended already
        pass
