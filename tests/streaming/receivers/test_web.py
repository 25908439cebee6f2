"""Receivers of the web against a local server, and the parser of events without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.streaming.receivers import EventSourceReceiver, HTTPLinesReceiver, WebSocketReceiver
from headwater.streaming.receivers.web import EventParser, ServerSentEvent
from tests.streaming.programs import program

Handler = Callable[[web.Request], Awaitable[Any]]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """A server whose every path is answered by `handler`; yields host and port."""
    loop, started, ending = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        address.append(f"{host}:{port}")
        started.set()
        await ending.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(30)
        loop.close()


async def streamed(request: web.Request, *pieces: bytes) -> web.StreamResponse:
    """An answer in pieces."""
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0)
    return response


def received(receiver: Any) -> Callable[[StreamingContext], Any]:
    return lambda ssc: ssc.receiverStream(receiver)


# ------------------------------------------------------------------------------------------------ with a server
def test_websocket_messages_arrive_and_it_connects_again() -> None:
    heard: list[str] = []

    async def answer(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        heard.append(f"{request.headers['Authorization']} {await connection.receive_str()}")
        await connection.send_str(f"text {len(heard)}")
        await connection.send_bytes(b"\xff")
        if len(heard) > 1:
            await asyncio.Event().wait()
        return connection

    with serving(answer) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEB_TEST_TOKEN", "secret")
        receiver = WebSocketReceiver(f"ws://{address}/feed", hello="subscribe", tokenVariable="WEB_TEST_TOKEN")
        with program(received(receiver)) as running:
            running.wait(lambda: len(running.records) == 4)
    assert running.records == ["text 1", b"\xff", "text 2", b"\xff"]
    assert heard == ["Bearer secret subscribe"] * 2
    assert "has ended the connection" in running.errors[0]


def test_http_lines_arrive_whole() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["X-From"] == "test"
        return await streamed(request, b'{"n": 1}\n{"n"', b": 2}\ncaf\xc3", b"\xa9")

    with serving(answer) as address:
        receiver = HTTPLinesReceiver(f"http://{address}/", headers={"X-From": "test"})
        with program(received(receiver)) as running:
            running.wait(lambda: len(running.records) >= 6)
    assert running.records[:6] == ['{"n": 1}', '{"n": 2}', "café"] * 2


def test_http_status_that_is_an_error_is_told() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503)

    with serving(answer) as address, program(received(HTTPLinesReceiver(f"http://{address}/"))) as running:
        running.wait(lambda: bool(running.errors))
    assert "503" in running.errors[0]


def test_events_go_on_after_the_last_one_that_was_stored() -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID"))
        number = int(asked[-1] or 0) + 1
        response = await streamed(request, b"event: tick\nid: %d\nda" % number, b"ta: x\n\ndata: cut off")
        if number > 2:
            await asyncio.Event().wait()
        return response

    with serving(answer) as address, program(received(EventSourceReceiver(f"http://{address}/"))) as running:
        running.wait(lambda: len(running.records) == 3)
    assert asked == [None, "1", "2"]
    assert running.records == [("tick", "x", "1"), ("tick", "x", "2"), ("tick", "x", "3")]


@pytest.mark.parametrize(
    ("kind", "url", "text"),
    [
        (WebSocketReceiver, "http://a", "should begin with ws:// or wss://"),
        (HTTPLinesReceiver, "ws://a", "should begin with http:// or https://"),
        (EventSourceReceiver, "a", "should begin with http:// or https://"),
    ],
)
def test_url_of_another_scheme_is_refused(kind: Any, url: str, text: str) -> None:
    with pytest.raises(IllegalArgumentException, match=text):
        kind(url)


# ------------------------------------------------------------------------------------------------ events
EVENTS = (
    "\ufeff: a comment\n"
    "data: one\n\n"
    "event: add\ndata: two\ndata:  lines\nid: 7\n\n"
    "event: nothing\n\n"
    "data\n\n"
    "id\nretry: 5\nunknown: x\ndata: last\n\n"
    "data: cut off\n"
)
PARSED = [
    ServerSentEvent("message", "one", ""),
    ServerSentEvent("add", "two\n lines", "7"),
    ServerSentEvent("message", "", "7"),
    ServerSentEvent("message", "last", ""),
]


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40))
def test_events_are_parsed_whatever_ends_lines_and_however_they_are_cut(end: str, step: int) -> None:
    data, parser = EVENTS.replace("\n", end).encode(), EventParser()
    assert [e for at in range(0, len(data), step) for e in parser.feed(data[at : at + step])] == PARSED


def test_events_keep_the_id_of_an_earlier_connection_until_one_has_its_own() -> None:
    (event,) = EventParser("5").feed(b"data: x\n\n")
    assert event.id == "5"
