"""The push receiver: against a client that speaks the protocol, and against real Flume agents."""

from __future__ import annotations

import socket
import ssl
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, StorageLevel
from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.streaming.flume import FlumeUtils, SparkFlumeEvent
from headwater.streaming.flume.push import AVRO_SOURCE_PROTOCOL, FlumeReceiver, tls_of
from headwater.streaming.flume.rpc import Protocol, Requestor, Response
from tests.servers.certificates import certificate
from tests.servers.flume import pushing_agent
from tests.servers.processes import answers, free_port
from tests.streaming.programs import FRAGILE_LOG, LOG, Program, broken, program
from tests.waiting import wait_for

PROTOCOL = Protocol(AVRO_SOURCE_PROTOCOL)
LEVEL = StorageLevel.MEMORY_AND_DISK_2
CERTIFICATE = "headwater.streaming.flume.ssl.certificateFile"
KEY = "headwater.streaming.flume.ssl.keyFile"


class Sink:
    """A client as an avro sink is one, over a plain, compressed or TLS connection."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, compressed: bool = False) -> None:
        wait_for(lambda: answers(port), "the receiver listens")
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        if tls is not None:
            self.connection = tls.wrap_socket(self.connection, server_hostname="127.0.0.1")
        self.requestor = Requestor(PROTOCOL)
        deflate, inflate = zlib.compressobj(6), zlib.decompressobj()
        self.pack: Callable[[bytes], bytes] = lambda data: data
        self.unpack: Callable[[bytes], bytes] = lambda data: data
        if compressed:
            self.pack = lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
            self.unpack = inflate.decompress

    def send(self, *bodies: bytes, **headers: str) -> Any:
        """A batch of events; returns the receiver's status."""
        events = [{"headers": headers, "body": body} for body in bodies]
        if len(events) == 1:
            data = self.requestor.request("append", {"event": events[0]})
        else:
            data = self.requestor.request("appendBatch", {"events": events})
        self.connection.sendall(self.pack(data))
        while received := self.connection.recv(1 << 16):
            for item in list(self.requestor.feed(self.unpack(received))):
                if isinstance(item, Response):
                    return item.value
                self.connection.sendall(self.pack(item))
        raise ConnectionError("the receiver ended the connection")


def pushed(port: int, **options: Any) -> Callable[[StreamingContext], Any]:
    return lambda ssc: FlumeUtils.createStream(ssc, "127.0.0.1", port, **options)


def bodies(running: Program) -> list[Any]:
    return [record.body for record in running.records]


# ------------------------------------------------------------------------------------------------ the protocol
@pytest.mark.parametrize("compressed", [False, True])
def test_pushed_events_arrive_with_headers_and_decoded_bodies(compressed: bool) -> None:
    port = free_port()
    with program(pushed(port, enableDecompression=compressed)) as running:
        sink = Sink(port, compressed=compressed)
        assert sink.send("café".encode(), host="a") == "OK"
        assert sink.send(b"two", b"three", host="b") == "OK"
        running.wait(lambda: len(running.records) == 3)
    assert running.records == [({"host": "a"}, "café"), ({"host": "b"}, "two"), ({"host": "b"}, "three")]
    assert type(running.records[0]) is SparkFlumeEvent
    assert running.errors == []


def test_pushed_bodies_are_decoded_by_the_programs_own_function() -> None:
    port = free_port()
    with program(pushed(port, bodyDecoder=len)) as running:
        Sink(port).send(b"\xff\xff", b"")
        running.wait(lambda: len(running.records) == 2)
    assert bodies(running) == [2, 0]


@pytest.mark.parametrize("master", ["local[2]", "local-cluster[1,1,512]"])
def test_pushed_events_arrive_over_tls(tmp_path: Path, master: str) -> None:
    made, key = certificate(tmp_path)
    port = free_port()
    with program(pushed(port), {"spark.master": master, CERTIFICATE: str(made), KEY: str(key)}) as running:
        sink = Sink(port, tls=ssl.create_default_context(cafile=str(made)))
        assert sink.send(b"secret" * 100_000) == "OK"
        running.wait(lambda: len(running.records) == 1)
        with pytest.raises((ConnectionError, OSError)):
            Sink(port).send(b"in the clear")
        running.wait(lambda: any("WRONG_VERSION_NUMBER" in error for error in running.errors))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "do both agree on compression and SSL"),
        (struct.pack(">Iii", 1, 1, 3) + b"\xff\xff\xff", "the handshake can't be decoded"),
        (struct.pack(">Iii", 1, 1, 30) + b"cut here", "the connection ended within a frame, after 12 bytes"),
    ],
)
def test_connection_that_is_not_understood_is_closed_and_no_other(data: bytes, text: str) -> None:
    port = free_port()
    with program(pushed(port)) as running:
        good, bad = Sink(port), Sink(port)
        assert good.send(b"before") == "OK"
        bad.connection.sendall(data)
        bad.connection.shutdown(socket.SHUT_WR)
        assert bad.connection.recv(100) == b""
        assert good.send(b"after") == "OK"
        running.wait(lambda: len(running.records) == 2 and bool(running.errors))
    assert bodies(running) == ["before", "after"]
    assert text in running.errors[0]


def test_plain_bytes_to_a_compressed_server_are_an_error_that_says_so() -> None:
    port = free_port()
    with program(pushed(port, enableDecompression=True)) as running:
        with pytest.raises(ConnectionError):
            Sink(port).send(b"plain")
        running.wait(lambda: bool(running.errors))
    assert "Has the avro sink compression-type = deflate?" in running.errors[0]


def test_events_that_are_not_stored_are_answered_with_failed_and_can_be_sent_again(tmp_path: Path) -> None:
    port, checkpoint = free_port(), tmp_path / "checkpoint"
    with program(pushed(port), FRAGILE_LOG, checkpoint) as running:
        sink = Sink(port)
        assert sink.send(b"one") == "OK"
        running.wait(lambda: len(running.records) == 1)
        with broken(checkpoint / "receivedData"):
            assert sink.send(b"two") == "FAILED"
        assert sink.send(b"two") == "OK"
        running.wait(lambda: len(running.records) == 2 and bool(running.errors))
    assert bodies(running) == ["one", "two"]
    assert "1 Flume events could not be stored; the sink sends again" in running.errors[0]


def test_port_that_is_taken_is_tried_again_until_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with program(pushed(port)) as running:
            running.wait(lambda: bool(running.errors))
            taken.close()
            assert Sink(port).send(b"late") == "OK"
            running.wait(lambda: len(running.records) == 1)
    assert "Error starting receiver 0" in running.errors[0]
    assert "Address already in use" in running.errors[0]


# ------------------------------------------------------------------------------------------------ arguments, settings
def test_receiver_prefers_its_host_unless_it_listens_everywhere() -> None:
    assert FlumeReceiver("node1", 4141, LEVEL, False).preferredLocation() == "node1"
    assert FlumeReceiver("0.0.0.0", 4141, LEVEL, False).preferredLocation() is None


def test_key_is_in_no_file_of_a_checkpoint(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    port, checkpoint = free_port(), tmp_path / "checkpoint"
    with program(pushed(port), {CERTIFICATE: str(made), KEY: str(key)}, checkpoint) as running:
        Sink(port, tls=ssl.create_default_context(cafile=str(made))).send(b"one")
        running.wait(lambda: len(running.records) == 1)
    written = [path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()]
    secret = key.read_bytes().split(b"\n")[1]
    assert written
    assert not any(secret in content for content in written)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({CERTIFICATE: "{dir}/none.pem"}, "none.pem hold no certificate with its key"),
        ({CERTIFICATE: "{dir}/key.pem", KEY: "{dir}/key.pem"}, "hold no certificate with its key"),
        ({KEY: "{dir}/key.pem"}, "keyFile is set without"),
    ],
)
def test_files_without_a_certificate_are_refused(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    certificate(tmp_path)
    conf = SparkConf(loadDefaults=False)
    for key, value in settings.items():
        conf.set(key, value.format(dir=tmp_path))
    with pytest.raises(IllegalArgumentException, match=text):
        tls_of(conf)


def test_encrypted_key_is_refused_instead_of_asking_for_its_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    made, key = certificate(tmp_path)
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    hidden = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, *hidden))
    conf = SparkConf(loadDefaults=False).set(CERTIFICATE, str(made)).set(KEY, str(key))
    with pytest.raises(IllegalArgumentException, match="the key is encrypted"):
        tls_of(conf)


# ------------------------------------------------------------------------------------------------ real agents
@pytest.mark.timeout(300)
@pytest.mark.parametrize("compressed", [False, True])
def test_real_agent_pushes(tmp_path: Path, compressed: bool) -> None:
    port = free_port()
    kind = {"compression_type": "deflate"} if compressed else {}
    agent = pushing_agent(tmp_path, port, **kind)
    lines = [f"line {n}" for n in range(500)]
    with program(pushed(port, enableDecompression=compressed)) as running, agent:
        agent.send(lines)
        running.wait(lambda: len(running.records) >= 500)
    assert bodies(running) == lines
    assert running.records[0].headers == {"from": "agent"}
    assert running.errors == []


@pytest.mark.timeout(300)
def test_real_agent_loses_nothing_when_it_is_killed_and_when_the_receiver_comes_later(tmp_path: Path) -> None:
    port = free_port()
    agent = pushing_agent(tmp_path / "agent", port)
    first, second = [f"first {n}" for n in range(200)], [f"second {n}" for n in range(200)]
    with agent:
        agent.send(first)  # nobody listens yet
        with program(pushed(port), LOG, tmp_path / "checkpoint") as running:
            running.wait(lambda: bool(running.records))
            agent.send(second)
            agent.kill()
            agent.start()
            running.wait(lambda: set(bodies(running)) >= {*first, *second})
    assert set(bodies(running)) == {*first, *second}
