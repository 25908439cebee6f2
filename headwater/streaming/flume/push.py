"""The receiver that Flume's avro sinks push to: a server of AvroSourceProtocol.

- A thread accepts, and each connection has one that reads, stores and answers: a sink waits for its answer before it
  sends more, and so the store's pace reaches the agent.
- OK is answered only after the store; FAILED makes the sink roll back and send again.
- A connection that isn't understood is closed, and no other.
"""

from __future__ import annotations

import os
import socket
import ssl
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

from headwater.base.listening import Listener
from headwater.conf import SparkConf
from headwater.errors import IllegalArgumentException, SparkException
from headwater.storagelevel import StorageLevel
from headwater.streaming.flume.connections import READ_BYTES, Connections
from headwater.streaming.flume.rpc import Protocol, ProtocolError, Request, Responder
from headwater.streaming.receivers.receiver import Receiver

# Each has a thread; an application has as many as agents' sinks.
CONNECTIONS_MAX = 512
# A peer that doesn't finish the TLS handshake must not hold a thread.
TLS_SECONDS_MAX = 30.0
# What one step of decompression makes at most: a frame that's too large is found out before it's in memory.
INFLATED_BYTES_MAX = 1 << 20
_WILDCARDS = ("", "0.0.0.0", "::")

# org.apache.flume.source.avro, as in Flume's flume.avdl.
AVRO_SOURCE_PROTOCOL = """
{"protocol": "AvroSourceProtocol", "namespace": "org.apache.flume.source.avro",
 "types": [
  {"type": "enum", "name": "Status", "symbols": ["OK", "FAILED", "UNKNOWN"]},
  {"type": "record", "name": "AvroFlumeEvent", "fields": [
    {"name": "headers", "type": {"type": "map", "values": "string"}}, {"name": "body", "type": "bytes"}]}],
 "messages": {
  "append": {"request": [{"name": "event", "type": "AvroFlumeEvent"}], "response": "Status"},
  "appendBatch": {
    "request": [{"name": "events", "type": {"type": "array", "items": "AvroFlumeEvent"}}], "response": "Status"}}}
"""


class FlumeReceiver(Receiver):
    """Stores (headers, body) of the events that avro sinks send.

    Args:
        hostname: where to run, and the address to listen at.
        port: to listen at.
        storageLevel: of the blocks.
        enableDecompression: both directions are compressed.

    Raises:
        SparkException: fastavro is missing.
    """

    def __init__(self, hostname: str, port: int, storageLevel: StorageLevel, enableDecompression: bool) -> None:
        super().__init__(storageLevel)
        Protocol(AVRO_SOURCE_PROTOCOL)  # a missing package is told where the stream is made
        self._hostname = hostname
        self._port = port
        self._compressed = enableDecompression
        self._server: _Server | None = None

    def preferredLocation(self) -> str | None:
        return None if self._hostname in _WILDCARDS else self._hostname

    def onStart(self) -> None:
        tls = tls_of(self._supervisor.conf)
        family = socket.AF_INET6 if ":" in self._hostname else socket.AF_INET
        listening = socket.create_server((self._hostname, self._port), family=family)
        self._server = _Server(self, listening, tls, self._compressed)

    def onStop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


class _Server:
    """Listens and serves from construction, at a start of the receiver, to its stop."""

    def __init__(
        self, receiver: Receiver, listening: socket.socket, tls: ssl.SSLContext | None, compressed: bool
    ) -> None:
        self._receiver = receiver
        self._tls = tls
        self._compressed = compressed
        self._connections = Connections()
        self._protocol = Protocol(AVRO_SOURCE_PROTOCOL)
        self._listener = Listener(listening, name=f"flume-{listening.getsockname()[1]}", take=self._take)

    def stop(self) -> None:
        """Take no further connection or request; those that are being stored are answered."""
        self._connections.stopping.set()
        self._listener.close()
        self._connections.stop()

    def _take(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            connection.close()
            self._receiver.reportError(f"More than {CONNECTIONS_MAX} Flume connections: {address[0]} was refused")
            return
        self._connections.serve(
            partial(self._serve, connection, address[0]),
            name=f"flume-from-{address[0]}:{address[1]}",
            failed=partial(self._receiver.reportError, f"A Flume connection from {address[0]} was closed"),
        )

    def _serve(self, connection: socket.socket, peer: str) -> None:
        """One connection, from its first byte to its last."""
        try:
            with self._connections.opened(connection):
                if self._tls is None:
                    self._answer(connection)
                    return
                connection.settimeout(TLS_SECONDS_MAX)
                # A duplicate, so that a stop can still wake us by the plain socket.
                with self._tls.wrap_socket(connection.dup(), server_side=True) as secured:
                    secured.settimeout(None)
                    self._answer(secured)
        except Exception as error:
            if not self._connections.stopping.is_set():
                self._receiver.reportError(f"A Flume connection from {peer} was closed", error)

    def _answer(self, connection: socket.socket) -> None:
        responder, codec = Responder(self._protocol), _Deflate() if self._compressed else _Plain()
        while not self._connections.stopping.is_set() and (data := connection.recv(READ_BYTES)):
            for piece in codec.decode(data):
                for item in responder.feed(piece):
                    answer = self._stored(responder, item) if isinstance(item, Request) else item
                    connection.sendall(codec.encode(answer))
        if not self._connections.stopping.is_set():
            responder.close()

    def _stored(self, responder: Responder, request: Request) -> bytes:
        """Store the events of a request; returns the answer."""
        parameters = request.parameters
        events = parameters["events"] if request.message == "appendBatch" else [parameters["event"]]
        try:
            if events:
                self._receiver.store([(event["headers"], event["body"]) for event in events])
        except SparkException as error:
            if self._receiver.isStopped():
                raise  # no answer: the sink sends again, to the next listener here
            self._receiver.reportError(f"{len(events)} Flume events could not be stored; the sink sends again", error)
            return responder.respond(request, "FAILED")
        return responder.respond(request, "OK")


class _Plain:
    """Bytes as they are."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def encode(self, data: bytes) -> bytes:
        return data


class _Deflate:
    """One zlib stream in each direction for the life of a connection, flushed after each answer."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj()
        self._deflate = zlib.compressobj(6)

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            try:
                piece = self._inflate.decompress(data, INFLATED_BYTES_MAX)
            except zlib.error as error:
                text = f"what comes isn't compressed: {error}. Has the avro sink compression-type = deflate?"
                raise ProtocolError(text) from error
            if self._inflate.eof:
                raise ProtocolError("the compressed stream ended before the connection")
            yield piece
            data = self._inflate.unconsumed_tail

    def encode(self, data: bytes) -> bytes:
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


# ------------------------------------------------------------------------------------------------ TLS
def tls_of(conf: SparkConf) -> ssl.SSLContext | None:
    """The server's side of TLS, if the settings name a certificate.

    Raises:
        IllegalArgumentException: the files hold no certificate and its key, or the key is encrypted.
    """
    certificate = conf.read("headwater.streaming.flume.ssl.certificateFile")
    key = conf.read("headwater.streaming.flume.ssl.keyFile")
    if not certificate:
        if key:
            raise IllegalArgumentException(
                "headwater.streaming.flume.ssl.keyFile is set without headwater.streaming.flume.ssl.certificateFile. "
                "Set both, or neither."
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(os.path.expanduser(certificate), os.path.expanduser(key) or None, _refuse_password)
    except OSError as error:  # ssl.SSLError is one
        where = f"certificateFile {certificate}" + (f" and keyFile {key}" if key else "")
        text = f"headwater.streaming.flume.ssl: {where} hold no certificate with its key, in PEM: {error}"
        raise IllegalArgumentException(text) from error
    return context


def _refuse_password() -> NoReturn:
    raise IllegalArgumentException(
        "headwater.streaming.flume.ssl.keyFile: the key is encrypted, and its password cannot be asked for. "
        "Decrypt it (openssl pkey -in key.pem -out plain.pem), and let only this user read the file."
    )
