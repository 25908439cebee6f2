from __future__ import annotations

import os
import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine import wire
from headwater.engine.wire import AuthenticationError, Channel

SECRET = b"the application's secret"


def frame(message: Any) -> bytes:
    body = pickle.dumps(message, 5)
    return struct.pack("<Q", len(body)) + body


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    a, b = map(Channel, socket.socketpair())
    yield a, b
    a.close()
    b.close()


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run this on a thread; the list gets what it returned or raised."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


# ------------------------------------------------------------------------------------------------ messages
def test_messages_arrive_in_order(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    for message in [1, "two", {"three": [3]}, None]:
        a.send(message)
    assert [b.receive() for _ in range(4)] == [1, "two", {"three": [3]}, None]


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 5_000_000])
def test_message_of_any_size_arrives(pair: tuple[Channel, Channel], size: int) -> None:
    a, b = pair
    thread, _ = in_background(lambda: a.send_bytes(b"x" * size))
    assert b.receive_bytes() == b"x" * size
    thread.join()


def test_messages_of_many_senders_do_not_mix(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    bodies = [bytes([i]) * 100_000 for i in range(8)]
    threads = [in_background(lambda body=body: a.send_bytes(body))[0] for body in bodies]
    assert sorted(bytes(b.receive_bytes()) for _ in bodies) == bodies
    for thread in threads:
        thread.join()


def test_receive_raises_when_the_peer_is_gone(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    a.send("last words")
    a.close()
    assert b.receive() == "last words"
    with pytest.raises(EOFError):
        b.receive()


def test_receive_raises_when_the_peer_is_gone_in_mid_message() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(frame("a long message")[:-3])
    ours.close()
    with pytest.raises(EOFError):
        Channel(theirs).receive()
    theirs.close()


def test_receive_raises_when_our_side_is_closed_by_another_thread(pair: tuple[Channel, Channel]) -> None:
    a, _ = pair
    thread, outcome = in_background(a.receive)
    a.close()
    thread.join(20)
    assert isinstance(outcome[0], EOFError | OSError)


def test_connection_reset_is_the_end_of_the_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(EOFError):
            Channel(server).receive()
        assert Channel(server).drain() == ([], True)
        server.close()


def test_send_raises_when_the_peer_is_gone(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    b.close()
    with pytest.raises(OSError):
        a.send("to nobody")


# ------------------------------------------------------------------------------------------------ draining
@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 30), max_size=60))
def test_drain_gives_whole_messages_wherever_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, bodies))
    ours, theirs = socket.socketpair()
    channel, received, at = Channel(theirs), [], 0
    for cut in [*cuts, len(stream)]:
        ours.sendall(stream[at : at + cut])
        at += cut
        messages, ended = channel.drain()
        received += messages
        assert not ended
    ours.close()
    assert channel.drain() == ([], True)
    channel.close()
    assert [pickle.loads(message) for message in received] == bodies


def test_drain_gives_all_that_has_arrived(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    for i in range(100):
        a.send(i)
    messages, ended = b.drain()
    assert [pickle.loads(message) for message in messages] == list(range(100))
    assert not ended


def test_drain_gives_what_came_before_the_end(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    a.send("last words")
    a.close()
    messages, ended = b.drain()
    if not ended:
        assert b.drain() == ([], True)
    assert [pickle.loads(message) for message in messages] == ["last words"]


def test_drain_does_not_block_when_there_is_nothing(pair: tuple[Channel, Channel]) -> None:
    assert pair[0].drain() == ([], False)


def test_drain_gathers_a_message_that_is_larger_than_the_sockets_buffer(pair: tuple[Channel, Channel]) -> None:
    a, b = pair
    body = os.urandom(3_000_000)
    thread, _ = in_background(lambda: a.send_bytes(body))
    messages: list[bytes] = []
    while not messages:
        messages, _ended = b.drain()
    assert messages == [body]
    thread.join()


# ------------------------------------------------------------------------------------------------ the handshake
class Door:
    """A listener that accepts one connection as a peer of the application does."""

    def __init__(self, secret: bytes = SECRET) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread, self._outcome = in_background(lambda: wire.accept(self._listener.accept()[0], secret))

    def outcome(self) -> Any:
        self._thread.join(20)
        self._listener.close()
        return self._outcome[0]


def test_peers_that_share_the_secret_talk() -> None:
    door = Door()
    client = wire.connect(door.address, SECRET)
    server = door.outcome()
    client.send("hello")
    server.send("welcome")
    assert (server.receive(), client.receive()) == ("hello", "welcome")
    client.close()
    server.close()


def test_client_with_a_wrong_secret_is_refused_and_refuses() -> None:
    door = Door()
    with pytest.raises(AuthenticationError):
        wire.connect(door.address, b"a guess")
    assert isinstance(door.outcome(), AuthenticationError)


went_off: list[str] = []


class Bomb:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> Any:
        return went_off.append, ("boom",)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n".ljust(64), frame(Bomb()).ljust(200, b"."), b"\x00" * 64, b"\xff" * 64],
    ids=["http", "pickle", "zeros", "ones"],
)
def test_stranger_is_refused_before_anything_of_it_is_unpickled(garbage: bytes) -> None:
    door = Door()
    with socket.create_connection(door.address) as stranger:
        stranger.sendall(garbage)
        assert isinstance(door.outcome(), AuthenticationError)
    assert went_off == []


@pytest.mark.parametrize("spoken", [b"", b"x", b"x" * 40], ids=len)
def test_stranger_that_hangs_up_is_refused(spoken: bytes) -> None:
    door = Door()
    with socket.create_connection(door.address) as stranger:
        stranger.sendall(spoken)
    assert isinstance(door.outcome(), OSError)


def test_stranger_that_says_nothing_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 0.05)
    door = Door()
    with socket.create_connection(door.address):
        assert isinstance(door.outcome(), TimeoutError)


def test_stranger_that_sends_our_own_words_back_is_refused() -> None:
    """A mirror knows no secret: the roles are part of the proof."""
    door = Door()
    with socket.create_connection(door.address) as mirror:
        for _ in range(2):
            words = b""
            while len(words) < 32 and (piece := mirror.recv(32 - len(words))):
                words += piece
            mirror.sendall(words)
        assert isinstance(door.outcome(), AuthenticationError)
