"""Text and records from a TCP server.

Text goes from the socket to the block store as raw bytes, cut where lines end: no line is touched here unless it ends
otherwise than by a newline, the task that reads the block decodes it. The framer knows bytes only, and no socket.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO

from headwater.base.threads import WatchedThread
from headwater.errors import SparkException
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.receiver import Receiver

# What one call reads at most: large enough that a line costs nothing, small enough to come soon.
READ_BYTES = 256 << 10
# A server that ends no line must not fill the executor's memory: the setting that bounds a line, and its default.
LINE_LIMIT = "headwater.streaming.receiver.maxLineSize"
LINE_BYTES_MAX = 128 << 20
CONNECT_SECONDS_MAX = 60.0
# A stop waits this long for what was read already to be stored.
LAST_STORE_SECONDS_MAX = 2.0


class LineFramer:
    """Cuts a stream of bytes where lines end: by `\\n`, `\\r\\n` or a lone `\\r`, all of which become `\\n`.

    Args:
        line_bytes_max: of a line.

    >>> framer = LineFramer()
    >>> framer.feed(b"one\\ntw"), framer.feed(b"o\\nthree"), framer.close()
    (b'one\\n', b'two\\n', b'three\\n')
    """

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest: list[bytes] = []  # pieces of a line without its end
        self._rest_bytes = 0
        self._after_return = False  # whether the last byte was one: a newline that follows belongs to it

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completes; may be empty.

        Raises:
            SparkException: a line is longer than the bound.
        """
        if self._after_return:
            self._after_return = not data
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes > self._line_bytes_max:
                raise SparkException(
                    f"a line is longer than {self._line_bytes_max} bytes. Does the server end lines with a newline? "
                    f"{LINE_LIMIT} is the limit."
                )
            return b""
        lines = data if cut == len(data) else data[:cut]
        if self._rest:
            lines = b"".join((*self._rest, lines))
        self._rest = [] if cut == len(data) else [data[cut:]]
        self._rest_bytes = len(data) - cut
        return lines

    def close(self) -> bytes:
        """The last line, if it had no end: with a newline; may be empty."""
        rest = b"".join(self._rest)
        self._rest, self._rest_bytes = [], 0
        return rest + b"\n" if rest else b""


class SocketReceiver(Receiver):
    """Reads from a TCP server; connects again, with the restart delay, whenever it can't or the server goes away.

    Args:
        host: of the server.
        port: of the server.
        storageLevel: of the blocks.
        converter: makes records of a binary file object; None: the records are lines of text.
    """

    def __init__(
        self,
        host: str,
        port: int,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        converter: Callable[[BinaryIO], Iterable[Any]] | None = None,
    ) -> None:
        super().__init__(storageLevel)
        self._host = host
        self._port = port
        self._converter = converter
        self._run: _SocketRun | None = None
        self._thread: threading.Thread | None = None

    def onStart(self) -> None:
        self._run = run = _SocketRun()
        failed = partial(self._again, run, "Error receiving data")
        self._thread = WatchedThread(partial(self._receive, run), name=f"socket-{self._port}", on_failure=failed)
        self._thread.start()

    def onStop(self) -> None:
        if self._run is not None and self._thread is not None:
            self._run.stop()
            self._thread.join(LAST_STORE_SECONDS_MAX)

    def _receive(self, run: _SocketRun) -> None:
        """One connection, from first to last byte; then a restart, unless `run` was stopped."""
        try:
            connection = socket.create_connection((self._host, self._port), timeout=CONNECT_SECONDS_MAX)
        except OSError as error:
            self._again(run, f"Error connecting to {self._host}:{self._port}", error)
            return
        message = "Socket data stream had no more data"
        failure: BaseException | None = None
        try:
            connection.settimeout(None)
            if run.connected(connection):
                self._read(run, connection)
        except (Exception, SystemExit) as error:  # also sys.exit of a converter: it would go unnoticed
            message, failure = "Error receiving data", error
        finally:
            run.stop()
            connection.close()
        self._again(run, message, failure)

    def _read(self, run: _SocketRun, connection: socket.socket) -> None:
        if self._converter is not None:
            with connection.makefile("rb") as file:
                for record in self._converter(file):
                    self._supervisor.store_one(record)  # a record that is a list stays one record
            return
        framer = LineFramer(self._supervisor.conf.read("headwater.streaming.receiver.maxLineSize"))
        store_text = self._supervisor.store_text
        while data := connection.recv(READ_BYTES):
            if lines := framer.feed(data):
                store_text(lines)
        if not run.stopped and (last := framer.close()):
            store_text(last)  # the server ended; had we, it might be half a line

    def _again(self, run: _SocketRun, message: str, error: BaseException | None) -> None:
        if run is self._run and not self.isStopped():
            self.restart(message, error)


class _SocketRun:
    """One connection's life, shared by the thread that reads and the one that stops it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.stopped = False

    def connected(self, connection: socket.socket) -> bool:
        """Register the connection; returns whether to read from it."""
        with self._lock:
            self._connection = connection
            return not self.stopped

    def stop(self) -> None:
        """End the connection, also under a reader that waits for it."""
        with self._lock:
            self.stopped = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
