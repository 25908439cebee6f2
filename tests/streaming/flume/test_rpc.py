"""Avro RPC without a socket: framing, handshake, schema resolution, and what isn't understood."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.streaming.flume.poll import SPARK_FLUME_PROTOCOL
from headwater.streaming.flume.push import AVRO_SOURCE_PROTOCOL
from headwater.streaming.flume.rpc import (
    Protocol,
    ProtocolError,
    RemoteError,
    Request,
    Requestor,
    Responder,
    Response,
    RpcFrameReader,
    frame,
)

OURS = Protocol(AVRO_SOURCE_PROTOCOL)
EVENT = {"headers": {"host": "a"}, "body": b"caf\xc3\xa9"}


def edited(**changes: Any) -> Protocol:
    """Our protocol, written down otherwise."""
    return Protocol(json.dumps({**json.loads(AVRO_SOURCE_PROTOCOL), **changes}))


def converse(client: Requestor, server: Responder, data: bytes, answer: Any = "OK") -> tuple[list[Any], list[Any]]:
    """Pass bytes to and fro until nobody has any; returns the requests and the answers that were understood."""
    requests, answers = [], []
    while data:
        back = b""
        for item in list(server.feed(data)):
            if isinstance(item, Request):
                requests.append((item.message, item.parameters))
                back += server.respond(item, answer)
            else:
                back += item
        data = b""
        for heard in list(client.feed(back)):
            if isinstance(heard, Response):
                answers.append(heard)
            else:
                data += heard
    return requests, answers


# ------------------------------------------------------------------------------------------------ framing
@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=4), max_size=5), st.integers(1, 7))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[list[bytes]], step: int) -> None:
    stream = b"".join(
        struct.pack(">Ii", serial, len(buffers)) + b"".join(struct.pack(">i", len(b)) + b for b in buffers)
        for serial, buffers in enumerate(frames)
    )
    reader, got = RpcFrameReader(), []
    for at in range(0, len(stream), step):
        got += reader.feed(stream[at : at + step])
    reader.close()
    assert got == [(serial, b"".join(buffers)) for serial, buffers in enumerate(frames)]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack(">Ii", 1, 0), "a frame of 0 buffers"),
        (struct.pack(">Ii", 1, -5), "a frame of -5 buffers"),
        (b"GET / HTTP/1.1\r\n", "do both agree on compression and SSL"),
        (struct.pack(">Iii", 1, 1, -1), "a buffer of -1 bytes"),
        (struct.pack(">Iii", 1, 1, 11), "a buffer of 11 bytes"),
    ],
)
def test_frames_are_refused_when_their_numbers_make_no_sense(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        list(RpcFrameReader(frame_bytes_max=10).feed(data))


def test_frames_before_a_bad_one_are_given() -> None:
    frames = RpcFrameReader().feed(frame(7, b"good") + b"\0" * 8)
    assert next(frames) == (7, b"good")
    with pytest.raises(ProtocolError):
        next(frames)


@pytest.mark.parametrize("cut", [3, 8, 11, 12, 14])
def test_end_within_a_frame_is_an_error(cut: int) -> None:
    reader = RpcFrameReader()
    assert list(reader.feed(frame(1, b"abc")[:cut])) == []
    with pytest.raises(ProtocolError, match="within a frame"):
        reader.close()


# ------------------------------------------------------------------------------------------------ conversations
def test_handshake_is_said_once_when_both_know_the_protocol() -> None:
    client, server = Requestor(OURS), Responder(OURS)
    first = client.request("append", {"event": EVENT})
    assert converse(client, server, first) == ([("append", {"event": EVENT})], [Response(1, "OK")])
    again = client.request("append", {"event": EVENT})
    assert len(again) < len(first)
    assert converse(client, server, again) == ([("append", {"event": EVENT})], [Response(2, "OK")])


def test_request_is_sent_again_with_the_protocol_when_it_is_not_known() -> None:
    client, server = Requestor(edited(doc="of another version")), Responder(OURS)
    data = client.request("appendBatch", {"events": [EVENT, EVENT]})
    assert converse(client, server, data) == ([("appendBatch", {"events": [EVENT, EVENT]})], [Response(1, "OK")])
    assert converse(client, server, client.request("append", {"event": EVENT}))[1] == [Response(2, "OK")]


def test_handshake_alone_is_answered() -> None:
    payload = Requestor(OURS).request("append", {"event": EVENT})[12:]
    handshake = payload[: payload.index(b"\x0cappend")] + b"\0"  # the message of no name
    (answer,) = Responder(OURS).feed(frame(9, handshake))
    assert answer == frame(9, b"\0\0\0\0")  # match BOTH, and nothing else


def test_record_of_another_schema_is_resolved_to_ours() -> None:
    types = json.loads(AVRO_SOURCE_PROTOCOL)["types"]
    types[1]["fields"] = [{"name": "new", "type": "long"}, *reversed(types[1]["fields"])]
    client, server = Requestor(edited(types=types)), Responder(OURS)
    data = client.request("append", {"event": {**EVENT, "new": 5}})
    assert converse(client, server, data)[0] == [("append", {"event": EVENT})]


def test_message_that_one_side_lacks_is_an_error() -> None:
    both = json.loads(AVRO_SOURCE_PROTOCOL)["messages"]
    client, server = Requestor(edited(messages={**both, "flush": {"request": [], "response": "null"}})), Responder(OURS)
    with pytest.raises(ProtocolError, match="the server doesn't know the message 'flush'"):
        converse(client, server, client.request("flush", {}))


def test_failure_that_the_server_tells_is_raised_and_the_connection_goes_on() -> None:
    client, server = Requestor(OURS), Responder(OURS)
    (request,) = server.feed(client.request("append", {"event": EVENT}))
    assert isinstance(request, Request)
    with pytest.raises(RemoteError, match="append has failed: disk full"):
        list(client.feed(server.fail(request.serial, "disk full")))
    assert converse(client, server, client.request("append", {"event": EVENT}))[1] == [Response(2, "OK")]


def test_answer_of_null_is_an_answer() -> None:
    protocol = Protocol(SPARK_FLUME_PROTOCOL)
    client, server = Requestor(protocol), Responder(protocol)
    data = client.request("ack", {"sequenceNumber": "abc1"})
    assert converse(client, server, data, answer=None) == ([("ack", {"sequenceNumber": "abc1"})], [Response(1, None)])


# ------------------------------------------------------------------------------------------------ what isn't understood
@pytest.mark.parametrize("payload", [b"", b"\xff" * 40, b"\0" * 10])
def test_handshake_that_is_none_is_an_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Responder(OURS).feed(frame(1, payload)))


def test_protocol_that_is_none_is_an_error() -> None:
    client = Requestor(OURS)
    bad = client._handshake("{}").replace(OURS.hash, b"x" * 16)
    with pytest.raises(ProtocolError, match="what should be an Avro protocol is none"):
        list(Responder(OURS).feed(frame(1, bad)))


@given(st.data())
def test_request_with_a_flipped_byte_is_understood_or_an_error_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(Requestor(OURS).request("appendBatch", {"events": [EVENT] * 3}))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        for item in Responder(OURS).feed(bytes(whole)):
            assert isinstance(item, (Request, bytes))
    except ProtocolError:
        pass


def test_answer_nobody_waits_for_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="an answer to request 5"):
        list(Requestor(OURS).feed(frame(5, b"")))


def test_server_that_never_knows_our_protocol_is_an_error() -> None:
    client, stranger = Requestor(OURS), Responder(edited(doc="x"))
    (none,) = stranger.feed(client.request("append", {"event": EVENT}))
    assert isinstance(none, bytes)
    assert len(list(client.feed(none))) == 1
    with pytest.raises(ProtocolError, match="still says"):
        list(client.feed(none))


def test_end_before_the_answer_is_an_error() -> None:
    client = Requestor(OURS)
    client.request("append", {"event": EVENT})
    with pytest.raises(ProtocolError, match="before the answer to append"):
        client.close()
