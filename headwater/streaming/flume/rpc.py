"""Avro RPC over Netty's framing: bytes in, messages out, and the other way round; no socket.

- A frame is an int32 serial, an int32 count and that many buffers, each an int32 length and its bytes. The answer to a
  request carries the request's serial.
- The first request of a connection begins with a handshake, as does its answer; once protocols are agreed on, later
  ones don't. Who is told that its protocol is unknown sends the same request again, with the protocol's text.
- What is read was written by the other side's schema, and is resolved to ours.

The formats: the Avro specification, "Protocol Wire Format", and `org.apache.avro.ipc.netty.NettyTransportCodec`.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headwater.base.extras import require
from headwater.errors import SparkException

# A frame is held in memory as a whole.
FRAME_BYTES_MAX = 128 << 20
# Java's side sends buffers of 8 KiB, and those of a body as they are: far fewer than this.
BUFFERS_MAX = 1 << 20

_HEAD = struct.Struct(">Ii")
_LENGTH = struct.Struct(">i")

_META = {"type": "map", "values": "bytes"}
_MD5 = {"type": "fixed", "name": "MD5", "size": 16, "namespace": "org.apache.avro.ipc"}
_HANDSHAKE_REQUEST = {
    "type": "record",
    "name": "HandshakeRequest",
    "namespace": "org.apache.avro.ipc",
    "fields": [
        {"name": "clientHash", "type": _MD5},
        {"name": "clientProtocol", "type": ["null", "string"]},
        {"name": "serverHash", "type": "MD5"},
        {"name": "meta", "type": ["null", _META]},
    ],
}
_HANDSHAKE_RESPONSE = {
    "type": "record",
    "name": "HandshakeResponse",
    "namespace": "org.apache.avro.ipc",
    "fields": [
        {"name": "match", "type": {"type": "enum", "name": "HandshakeMatch", "symbols": ["BOTH", "CLIENT", "NONE"]}},
        {"name": "serverProtocol", "type": ["null", "string"]},
        {"name": "serverHash", "type": ["null", _MD5]},
        {"name": "meta", "type": ["null", _META]},
    ],
}


class ProtocolError(SparkException):
    """The other side doesn't speak the protocol: nothing that follows on this connection can be understood."""


class RemoteError(SparkException):
    """The other side understood the request, and says that it has failed."""


class Request(NamedTuple):
    """A request that has arrived; its answer carries `serial`. `parameters`: by name."""

    serial: int
    message: str
    parameters: dict[str, Any]


class Response(NamedTuple):
    """The answer to the request `serial`."""

    serial: int
    value: Any


class Protocol:
    """An Avro protocol: its text, and the schemas of its messages.

    Args:
        text: in JSON.

    Raises:
        SparkException: the package fastavro is missing.
        ProtocolError: the text is no protocol.
    """

    def __init__(self, text: str) -> None:
        avro = _avro()
        self.text = text
        self.hash = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        self.requests: dict[str, Any] = {}  # by message: a record of its parameters
        self.responses: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        try:
            declared = json.loads(text)
            namespace: str = declared.get("namespace", "")
            named: dict[str, Any] = {}
            for schema in declared.get("types", []):
                avro.parse_schema({"namespace": namespace, **schema}, named_schemas=named)
            for name, message in declared["messages"].items():
                self.requests[name] = _parsed(avro, name, "Request", message["request"], namespace, named)
                answer = [{"name": "value", "type": message["response"]}]
                self.responses[name] = _parsed(avro, name, "Response", answer, namespace, named)
                failure = [{"name": "value", "type": ["string", *message.get("errors", [])]}]
                self.errors[name] = _parsed(avro, name, "Error", failure, namespace, named)
        except Exception as error:
            raise ProtocolError(f"what should be an Avro protocol is none: {error!r} in {text[:200]!r}") from error


def _parsed(avro: Any, message: str, kind: str, fields: Any, namespace: str, named: dict[str, Any]) -> Any:
    """The schema of a record; what stands on the wire for a record is what stands there for its fields."""
    record = {"type": "record", "name": message + kind, "namespace": namespace, "fields": fields}
    return avro.parse_schema(record, named_schemas=dict(named))


class RpcFrameReader:
    """Cuts a stream of bytes into (serial, payload) of its frames."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()  # what was read and is part of no buffer yet
        self._serial = 0
        self._awaited = 0  # buffers of the frame that has begun; 0: between frames
        self._payload = bytearray()  # of the frame that has begun

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that `data` completes, to be taken all.

        Raises:
            ProtocolError: after the frames before them, bytes are no frame.
        """
        self._rest += data
        at = 0
        try:
            while True:
                if not self._awaited:
                    if len(self._rest) - at < _HEAD.size:
                        return
                    self._serial, self._awaited = self._head(at)
                    at += _HEAD.size
                if len(self._rest) - at < _LENGTH.size:
                    return
                length = self._length(at)
                if len(self._rest) - at - _LENGTH.size < length:
                    return
                at += _LENGTH.size
                self._payload += memoryview(self._rest)[at : at + length]
                at += length
                self._awaited -= 1
                if not self._awaited:
                    payload, self._payload = bytes(self._payload), bytearray()
                    yield self._serial, payload
        finally:
            del self._rest[:at]

    def close(self) -> None:
        """The stream has ended.

        Raises:
            ProtocolError: within a frame.
        """
        if self._rest or self._awaited:
            raise ProtocolError(
                f"the connection ended within a frame, after {len(self._payload) + len(self._rest)} bytes"
            )

    def _head(self, at: int) -> tuple[int, int]:
        serial, count = _HEAD.unpack_from(self._rest, at)
        if not 0 < count <= BUFFERS_MAX:
            raise ProtocolError(
                f"a frame of {count} buffers: it must be between 1 and {BUFFERS_MAX}. Is the other side an Avro sink "
                "or source of Flume, and do both agree on compression and SSL?"
            )
        return serial, count

    def _length(self, at: int) -> int:
        length: int = _LENGTH.unpack_from(self._rest, at)[0]
        if length < 0 or len(self._payload) + length > self._frame_bytes_max:
            raise ProtocolError(
                f"a buffer of {length} bytes in a frame of {len(self._payload)} so far: a frame may have "
                f"{self._frame_bytes_max}. Make the batches of the Flume agent smaller."
            )
        return length


def frame(serial: int, payload: bytes) -> bytes:
    """A frame of one buffer."""
    return _HEAD.pack(serial, 1) + _LENGTH.pack(len(payload)) + payload


class Responder:
    """The server's side of one connection.

    Args:
        protocol: whose messages it answers.
        frame_bytes_max: the largest request.
    """

    def __init__(self, protocol: Protocol, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._protocol = protocol
        self._frames = RpcFrameReader(frame_bytes_max)
        self._remote: Protocol | None = None  # what the client speaks, once it's known
        self._handshake = b""  # our answer to the client's, to be sent before the next answer

    def feed(self, data: bytes) -> Iterator[Request | bytes]:
        """What `data` completes, to be taken all: requests, to be answered in order by `respond` or `fail`, and bytes
        to be sent as they are.

        Raises:
            ProtocolError: after what came before it, something isn't understood.
        """
        for serial, payload in self._frames.feed(data):
            source = io.BytesIO(payload)
            if self._remote is None:
                self._shake_hands(source)
            if self._remote is None:  # it sends its protocol next, with the same request
                yield frame(serial, self._taken_handshake())
                continue
            _read(source, "a request's metadata", _META)
            name = _read(source, "the name of a message", "string")
            if not name:  # a handshake alone
                yield frame(serial, self._taken_handshake())
            elif name not in self._protocol.requests or name not in self._remote.requests:
                yield self.fail(serial, f"there is no message {name!r}, but {', '.join(self._protocol.requests)}")
            else:
                written, ours = self._remote.requests[name], self._protocol.requests[name]
                yield Request(serial, name, _read(source, f"the message {name!r}", written, ours))

    def respond(self, request: Request, value: Any) -> bytes:
        """The answer to a request, to be sent."""
        schema = self._protocol.responses[request.message]
        return self._answer(request.serial, b"\0" + _encoded(schema, {"value": value}))

    def fail(self, serial: int, text: str) -> bytes:
        """The answer to a request that can't be understood or has failed, to be sent."""
        return self._answer(serial, b"\1" + _encoded(["string"], text))

    def close(self) -> None:
        """The client has ended the connection.

        Raises:
            ProtocolError: within a frame.
        """
        self._frames.close()

    def _answer(self, serial: int, body: bytes) -> bytes:
        return frame(serial, self._taken_handshake() + b"\0" + body)  # no metadata

    def _taken_handshake(self) -> bytes:
        taken, self._handshake = self._handshake, b""
        return taken

    def _shake_hands(self, source: io.BytesIO) -> None:
        ours = self._protocol
        asked = _read(source, "the handshake", _HANDSHAKE_REQUEST)
        if asked["clientHash"] == ours.hash:
            self._remote = ours
        elif asked["clientProtocol"] is not None:
            self._remote = Protocol(asked["clientProtocol"])
        is_known = asked["serverHash"] == ours.hash
        answer: dict[str, Any] = {"serverProtocol": None, "serverHash": None, "meta": None}
        answer["match"] = "NONE" if self._remote is None else "BOTH" if is_known else "CLIENT"
        if answer["match"] != "BOTH":
            answer |= {"serverProtocol": ours.text, "serverHash": ours.hash}
        self._handshake = _encoded(_HANDSHAKE_RESPONSE, answer)


class Requestor:
    """The client's side of one connection. One request at a time until the first is answered.

    Args:
        protocol: whose messages it sends.
        frame_bytes_max: the largest answer.
    """

    def __init__(self, protocol: Protocol, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._protocol = protocol
        self._frames = RpcFrameReader(frame_bytes_max)
        self._remote: Protocol | None = None  # what the server speaks, once it's agreed on
        self._supposed = protocol  # what we take it to speak
        self._supposed_hash = protocol.hash  # as the server itself hashes it
        self._has_introduced_itself = False  # whether it was sent our protocol's text
        self._last_serial = 0
        self._waiting: dict[int, tuple[str, bytes]] = {}  # by serial: the message and its bytes, until its answer

    def request(self, message: str, parameters: Mapping[str, Any]) -> bytes:
        """A request, to be sent; its answer is the next one of `feed` that isn't bytes."""
        self._last_serial += 1
        body = b"\0" + _encoded("string", message) + _encoded(self._protocol.requests[message], dict(parameters))
        self._waiting[self._last_serial] = message, body
        return frame(self._last_serial, (b"" if self._remote else self._handshake(None)) + body)

    def feed(self, data: bytes) -> Iterator[Response | bytes]:
        """What `data` completes, to be taken all: answers, and bytes to be sent as they are.

        Raises:
            RemoteError: the server says that a request has failed; the connection can go on.
            ProtocolError: after what came before it, something isn't understood.
        """
        for serial, payload in self._frames.feed(data):
            if serial not in self._waiting:
                raise ProtocolError(f"an answer to request {serial}, which waits for none")
            message, body = self._waiting[serial]
            source = io.BytesIO(payload)
            if self._remote is None and not self._agreed(source):
                yield frame(serial, self._handshake(self._protocol.text) + body)
                continue
            del self._waiting[serial]
            yield Response(serial, self._value(message, source))

    def close(self) -> None:
        """The server has ended the connection.

        Raises:
            ProtocolError: within a frame, or before it has answered.
        """
        self._frames.close()
        if self._waiting:
            names = ", ".join(message for message, _ in self._waiting.values())
            raise ProtocolError(f"the connection ended before the answer to {names}")

    def _value(self, message: str, source: io.BytesIO) -> Any:
        remote = self._remote
        assert remote is not None
        if message not in remote.responses:
            raise ProtocolError(f"the server doesn't know the message {message!r}")
        _read(source, "an answer's metadata", _META)
        if _read(source, "an answer's error flag", "boolean"):
            failure = _read(source, f"the error of {message!r}", remote.errors[message])
            raise RemoteError(f"{message} has failed: {failure['value']}")
        written, ours = remote.responses[message], self._protocol.responses[message]
        return _read(source, f"the answer to {message!r}", written, ours)["value"]

    def _handshake(self, text: str | None) -> bytes:
        ours = {"clientHash": self._protocol.hash, "clientProtocol": text, "meta": None}
        return _encoded(_HANDSHAKE_REQUEST, ours | {"serverHash": self._supposed_hash})

    def _agreed(self, source: io.BytesIO) -> bool:
        """Read the server's handshake; returns whether the rest of the answer follows."""
        answer = _read(source, "the handshake", _HANDSHAKE_RESPONSE)
        if answer["match"] != "BOTH":
            if answer["serverProtocol"] is None or answer["serverHash"] is None:
                raise ProtocolError(f"a handshake of match {answer['match']} without the server's protocol")
            self._supposed, self._supposed_hash = Protocol(answer["serverProtocol"]), answer["serverHash"]
        if answer["match"] == "NONE":
            if self._has_introduced_itself:
                raise ProtocolError("the server was sent our protocol, and still says that it doesn't know it")
            self._has_introduced_itself = True
            return False
        self._remote = self._supposed
        return True


# ------------------------------------------------------------------------------------------------ Avro's encoding
def _avro() -> Any:
    return require("fastavro", "flume", "Flume streams")


def _read(source: io.BytesIO, what: str, written: Any, ours: Any = None) -> Any:
    try:
        # Equal schemas need no resolution, which is slower.
        return _avro().schemaless_reader(source, written, None if written == ours else ours)
    except Exception as error:  # whatever a decoder of foreign bytes raises
        raise ProtocolError(f"{what} can't be decoded: {error!r}") from error


def _encoded(schema: Any, value: Any) -> bytes:
    target = io.BytesIO()
    _avro().schemaless_writer(target, schema, value)
    return target.getvalue()
