"""The demo's text server, over real sockets and a clock that the tests hold."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headwater.clock import ManualClock
from headwater.deploy.textserver import LINES, TextServer
from headwater.errors import IllegalArgumentException

FAST = 10_000


@contextmanager
def client_of(server: TextServer) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        yield connection


def received(connection: socket.socket, lines: int) -> list[str]:
    """The next lines, exactly: what comes later stays in the connection."""
    text = b""
    while text.count(b"\n") < lines:
        byte = connection.recv(1)
        assert byte, "the server ended the connection"
        text += byte
    return text.decode().splitlines()


def text_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("text-")]


def test_server_sends_its_lines_over_and_over() -> None:
    with TextServer(["a b", "ç"], lines_per_s=FAST) as server, client_of(server) as client:
        assert received(client, 5) == ["a b", "ç", "a b", "ç", "a b"]


def test_server_has_words_of_its_own() -> None:
    with TextServer(lines_per_s=FAST) as server, client_of(server) as client:
        assert received(client, len(LINES)) == list(LINES)


def test_server_sends_each_client_all_lines() -> None:
    with TextServer(["a", "b"], lines_per_s=FAST) as server, client_of(server) as one:
        assert received(one, 1) == ["a"]
        with client_of(server) as other:
            assert received(other, 2) == ["a", "b"]
        assert received(one, 2) == ["b", "a"]


def test_server_sends_a_line_only_when_it_is_due() -> None:
    clock = ManualClock()
    with TextServer(["a", "b", "c"], lines_per_s=1, clock=clock) as server, client_of(server) as client:
        assert received(client, 1) == ["a"]
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(10)
        clock.advance(2001)
        assert received(client, 2) == ["b", "c"]


def test_server_serves_on_when_a_client_goes_away() -> None:
    with TextServer(["a"], lines_per_s=FAST) as server:
        with client_of(server) as gone:
            received(gone, 1)
        with client_of(server) as client:
            assert received(client, 1) == ["a"]


def test_server_closes_cleanly_while_clients_read_or_are_stuck() -> None:
    server = TextServer(["a" * 1000], lines_per_s=1_000_000)
    with client_of(server) as reader, client_of(server) as stuck:  # one of them never reads: its buffers fill
        received(reader, 1)
        server.close()
        server.close()
        assert text_threads() == []
        assert ends(stuck)
    with pytest.raises(ConnectionRefusedError), client_of(server):
        pass


def test_server_closes_while_a_client_waits_for_a_line_far_away() -> None:
    with TextServer(["a"], lines_per_s=0.001, clock=ManualClock()) as server, client_of(server) as client:
        received(client, 1)
        server.close()
        assert ends(client)
    assert text_threads() == []


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_server_refuses_a_rate_that_is_not_above_zero(rate: float) -> None:
    with pytest.raises(IllegalArgumentException, match="lines a second is not above 0"):
        TextServer(lines_per_s=rate)


def test_server_refuses_to_serve_nothing() -> None:
    with pytest.raises(IllegalArgumentException, match="no lines to send"):
        TextServer([], lines_per_s=1)


def ends(connection: socket.socket) -> bool:
    """Whether the connection ends, after whatever is still in it."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True
