"""Messages between processes: length-prefixed pickles over a stream socket, and the handshake that opens one.

A peer proves that it knows the application's secret before anything of it is unpickled: both sides send a nonce and
answer the other's with HMAC-SHA256 over (role, both nonces).
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import threading
import time
from typing import Any, TypeAlias

Address: TypeAlias = tuple[str, int]  # host, port

_LENGTH = struct.Struct("<Q")
_NONCE_BYTES = 32
_RECEIVE_BYTES = 1 << 18
# A handshake takes this long at most, in all: a peer that sends a byte now and then has no more time than a silent one.
HANDSHAKE_SECONDS = 10.0


class AuthenticationError(ConnectionError):
    """The peer didn't prove that it belongs to this application."""


class Unreceived(MemoryError):
    """There was no memory for a message of that many bytes, or more."""

    def __init__(self, size: int) -> None:
        super().__init__(f"there is no memory for a message of {size} bytes")
        self.size = size


class Channel:
    """Messages over a connected socket.

    Any thread may send (one lock); one thread receives, either blocking (`receive`) or as the owner of a selector
    (`drain`). ECONNRESET and EPIPE mean the same as end of file: the peer is gone. A message for which there is no
    memory raises `Unreceived`: `receive` has skipped it and can go on, `drain` has ended the connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._buffer = bytearray()
        self.received = 0  # bytes that `receive` has taken off the socket

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Any) -> None:
        """Send one message; blocks until the kernel took it. Raises OSError if the peer is gone."""
        self.send_bytes(pickle.dumps(message, 5))

    def send_bytes(self, body: bytes | memoryview) -> None:
        """Send a message that is pickled already."""
        with self._sending:
            if len(body) < 65536:
                self._sock.sendall(_LENGTH.pack(len(body)) + body)
            else:
                self._sock.sendall(_LENGTH.pack(len(body)))
                self._sock.sendall(body)

    def receive(self) -> Any:
        """The next message; raises EOFError when the peer is gone."""
        body = self.receive_bytes()
        try:
            return pickle.loads(body)
        except MemoryError as error:
            raise Unreceived(len(body)) from error

    def receive_bytes(self) -> bytes | bytearray:
        """The next message, still pickled; raises EOFError when the peer is gone."""
        header = bytearray(_LENGTH.size)
        self._fill(memoryview(header))
        (length,) = _LENGTH.unpack(header)
        try:
            body = bytearray(length)
        except MemoryError as error:
            piece = bytearray(min(length, _RECEIVE_BYTES))
            for start in range(0, length, len(piece)):
                self._fill(memoryview(piece)[: length - start])
            raise Unreceived(length) from error
        self._fill(memoryview(body))
        return body

    def _fill(self, view: memoryview) -> None:
        got = 0
        while got < len(view):
            try:
                n = self._sock.recv_into(view[got:])
            except ConnectionResetError:
                n = 0
            if not n:
                raise EOFError("the peer closed the connection")
            got += n
            self.received += n

    def readable(self) -> bool:
        """Whether something has arrived that was not read yet, be it the end of the stream. Any thread."""
        poll = select.poll()
        try:
            poll.register(self._sock, select.POLLIN)
        except ValueError:
            return True  # closed on our side
        return bool(poll.poll(0))

    def drain(self) -> tuple[list[bytes], bool]:
        """All complete messages that have arrived, still pickled, without blocking; and whether the peer is gone."""
        try:
            return self._drain()
        except MemoryError as error:
            self._end()
            size, self._buffer = len(self._buffer), bytearray()
            raise Unreceived(size) from error

    def _drain(self) -> tuple[list[bytes], bool]:
        ended = False
        while True:
            try:
                piece = self._sock.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                piece = b""
            if not piece:
                ended = True
                break
            self._buffer += piece
            if len(piece) < _RECEIVE_BYTES:
                break
        return self._complete(), ended

    def _complete(self) -> list[bytes]:
        messages, at, buffer = [], 0, self._buffer
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            end = at + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(bytes(memoryview(buffer)[at + _LENGTH.size : end]))
            at = end
        if at:
            del buffer[:at]
        return messages

    def close(self) -> None:
        """Close the socket; a thread that blocks in `receive` sees the end of the stream."""
        self._end()
        self._sock.close()

    def _end(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer closed first


def connect(address: tuple[str, int], secret: bytes) -> Channel:
    """Open an authenticated channel to a peer of this application."""
    sock = socket.create_connection(address, timeout=HANDSHAKE_SECONDS)
    return _open(sock, secret, ours=b"client", theirs=b"server")


def accept(sock: socket.socket, secret: bytes) -> Channel:
    """The other side of `connect`, for a socket that was just accepted."""
    return _open(sock, secret, ours=b"server", theirs=b"client")


def _open(sock: socket.socket, secret: bytes, *, ours: bytes, theirs: bytes) -> Channel:
    from hmac import compare_digest

    try:
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        sock.settimeout(HANDSHAKE_SECONDS)  # what we send fits into the kernel's buffer
        nonce = os.urandom(_NONCE_BYTES)
        sock.sendall(nonce)
        other = _receive_exactly(sock, _NONCE_BYTES, deadline)
        sock.sendall(_proof(secret, ours, nonce, other))
        if not compare_digest(_receive_exactly(sock, 32, deadline), _proof(secret, theirs, other, nonce)):
            raise AuthenticationError("the peer does not know this application's secret")
        sock.settimeout(None)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Channel(sock)
    except BaseException:
        sock.close()
        raise


def _proof(secret: bytes, role: bytes, own_nonce: bytes, other_nonce: bytes) -> bytes:
    import hmac  # here, since it's slow to load and `local[N]` has no use for it

    return hmac.digest(secret, role + own_nonce + other_nonce, "sha256")


def _receive_exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    body = b""
    while len(body) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise AuthenticationError(f"the peer took more than {HANDSHAKE_SECONDS:g} s for the handshake")
        sock.settimeout(left)
        piece = sock.recv(count - len(body))
        if not piece:
            raise AuthenticationError("the peer closed the connection during the handshake")
        body += piece
    return body
