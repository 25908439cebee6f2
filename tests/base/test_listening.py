"""Listeners: what can't be accepted now is accepted later, and nothing but closing ends them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

import pytest

from headwater.base.listening import Listener
from tests.injection import watched_threads
from tests.waiting import PATIENCE_SECONDS

_ECHO = """
import resource, socket, sys
from headwater.base.listening import Listener

held = []
holding = True

def take(connection, peer):
    held.append(connection)
    if not holding:
        connection.sendall(b"hello")
        let_go()

def let_go():
    while held:
        held.pop().close()

listener = Listener(socket.create_server(("127.0.0.1", 0)), name="echo", take=take)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
print(listener.address[1], flush=True)
sys.stdin.readline()
holding = False
let_go()
sys.stdin.readline()
listener.close()
"""


@contextmanager
def program(text: str) -> Iterator[Popen[str]]:
    process = Popen([sys.executable, "-c", text], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def test_listener_outlives_a_lack_of_file_descriptors_and_says_so_once() -> None:
    with program(_ECHO) as process:
        assert process.stdin and process.stdout and process.stderr
        port = int(process.stdout.readline())
        strangers = [connected(port) for _ in range(40)]
        said = process.stderr.readline()
        assert "echo: a connection can't be accepted; it is tried on: [Errno 24] Too many open files" in said
        process.stdin.write("let go\n")
        process.stdin.flush()
        with connected(port) as client:
            assert client.recv(5) == b"hello"
        for stranger in strangers:
            stranger.close()
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read().splitlines() == ["echo: connections are accepted again"]


@contextmanager
def listening(take: Any, name: str = "test") -> Iterator[Listener]:
    listener = Listener(socket.create_server(("127.0.0.1", 0)), name=name, take=take)
    try:
        yield listener
    finally:
        listener.close()


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), SystemExit(1)])
def test_listener_closes_a_connection_that_cannot_be_taken_and_takes_the_next(error: BaseException) -> None:
    errors = [error]

    def take(connection: socket.socket, _peer: Any) -> None:
        if errors:
            raise errors.pop()
        connection.sendall(b"hello")
        connection.close()

    with listening(take) as listener:
        with connected(listener.address[1]) as first:
            assert first.recv(5) == b""
        with connected(listener.address[1]) as second:
            assert second.recv(5) == b"hello"


def test_closing_ends_the_listener_and_frees_its_port() -> None:
    with listening(lambda connection, peer: connection.close(), name="closing") as listener:
        assert "closing" in watched_threads()
    assert "closing" not in watched_threads()
    with pytest.raises(ConnectionRefusedError):
        connected(listener.address[1])
    listener.close()
