"""Receivers of the web: messages of a WebSocket, lines of an HTTP answer that doesn't end, and server-sent events.

None of these protocols acknowledges, so what comes while a receiver is away is lost, unless the server sends it again:
server-sent events have ids for that, and the receiver names the last one it has stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from headwater.base.extras import require
from headwater.errors import IllegalArgumentException
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.asynchronous import AsyncReceiver
from headwater.streaming.receivers.secrets import secret
from headwater.streaming.receivers.socket import LINE_BYTES_MAX, LineFramer

CONNECT_SECONDS_MAX = 30.0
# How often silent WebSocket peers are asked whether they still live.
PING_SECONDS = 30.0
MESSAGE_BYTES_MAX = 16 << 20


class _WebReceiver(AsyncReceiver):
    """What receivers of a URL have in common.

    Args:
        url: of the source.
        headers: of the request. They are pickled with the receiver, so they are no place for secrets.
        tokenVariable: the environment variable with a token, in executors, sent as `Authorization: Bearer ...`. It is
            in no checkpoint.
        storageLevel: of the blocks.

    Raises:
        SparkException: aiohttp is missing.
        IllegalArgumentException: the URL has another scheme.
    """

    _schemes = ("http://", "https://")

    def __init__(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        tokenVariable: str | None = None,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
    ) -> None:
        super().__init__(storageLevel)
        require("aiohttp", "web", "Web receivers")
        if not url.startswith(self._schemes):
            raise IllegalArgumentException(f"url: {url!r} should begin with {' or '.join(self._schemes)}")
        self._url = url
        self._headers = dict(headers or {})
        self._token_variable = tokenVariable

    async def receive(self) -> None:
        aiohttp = require("aiohttp", "web", "Web receivers")
        token = secret(self._token_variable, "tokenVariable")
        headers = {**self._headers, **({} if token is None else {"Authorization": f"Bearer {token}"})}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            await self._converse(session)
        raise ConnectionError(f"{self._url} has ended the connection")  # so that it's made again

    async def _converse(self, session: Any) -> None:
        """From the request to the connection's end."""
        raise NotImplementedError


class WebSocketReceiver(_WebReceiver):
    """Messages of a WebSocket, str or bytes as they are sent. Needs aiohttp: `pip install 'headwater[web]'`.

    Connects again, with the restart delay, whenever the connection ends.

    Args:
        url: begins with `ws://` or `wss://`.
        headers: of the request. They are pickled with the receiver, so they are no place for secrets.
        tokenVariable: the environment variable with a token, in executors, sent as `Authorization: Bearer ...`. It is
            in no checkpoint.
        storageLevel: of the blocks.
        hello: a text to send first, such as a subscription; None sends nothing.

    Raises:
        SparkException: aiohttp is missing.
        IllegalArgumentException: the URL has another scheme.
    """

    _schemes = ("ws://", "wss://")

    def __init__(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        tokenVariable: str | None = None,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        hello: str | None = None,
    ) -> None:
        super().__init__(url, headers, tokenVariable, storageLevel)
        self._hello = hello

    async def _converse(self, session: Any) -> None:
        socket = session.ws_connect(self._url, heartbeat=PING_SECONDS, max_msg_size=MESSAGE_BYTES_MAX)
        async with socket as connection:
            if self._hello is not None:
                await connection.send_str(self._hello)
            async for message in connection:
                if message.type.name == "ERROR":
                    raise message.data
                await self.storeAsync(message.data)


class HTTPLinesReceiver(_WebReceiver):
    """Lines of text of an HTTP answer that goes on, such as one JSON object each. Needs aiohttp: `pip install
    'headwater[web]'`. Asks again, with the restart delay, whenever the answer ends.

    Args:
        url: begins with `http://` or `https://`; the answer to GET is UTF-8.
        headers: of the request. They are pickled with the receiver, so they are no place for secrets.
        tokenVariable: the environment variable with a token, in executors, sent as `Authorization: Bearer ...`. It is
            in no checkpoint.
        storageLevel: of the blocks.

    Raises:
        SparkException: aiohttp is missing.
        IllegalArgumentException: the URL has another scheme.
    """

    async def _converse(self, session: Any) -> None:
        framer = LineFramer(self._supervisor.conf.read("headwater.streaming.receiver.maxLineSize"))
        store_text = self._supervisor.store_text
        async with session.get(self._url, raise_for_status=True) as answer:
            async for data in answer.content.iter_any():
                if lines := framer.feed(data):
                    await self._in_thread(store_text, lines)
        if last := framer.close():
            await self._in_thread(store_text, last)


class ServerSentEvent(NamedTuple):
    """An event of a server: its kind, its text, and its id ("" without one)."""

    event: str
    data: str
    id: str


class EventSourceReceiver(_WebReceiver):
    """Server-sent events, as `ServerSentEvent`, triples (event, data, id). Needs aiohttp: `pip install
    'headwater[web]'`. Asks again, with the restart delay, whenever the answer ends, and names the id of the last event
    that is stored, from which a server that can goes on.

    Args:
        url: begins with `http://` or `https://`.
        headers: of the request. They are pickled with the receiver, so they are no place for secrets.
        tokenVariable: the environment variable with a token, in executors, sent as `Authorization: Bearer ...`. It is
            in no checkpoint.
        storageLevel: of the blocks.

    Raises:
        SparkException: aiohttp is missing.
        IllegalArgumentException: the URL has another scheme.
    """

    _last_id = ""  # of what is stored

    async def _converse(self, session: Any) -> None:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        parser = EventParser(self._last_id, self._supervisor.conf.read("headwater.streaming.receiver.maxLineSize"))
        async with session.get(self._url, headers=headers, raise_for_status=True) as answer:
            async for data in answer.content.iter_any():
                if events := list(parser.feed(data)):
                    await self.storeAsync(events)
                    self._last_id = events[-1].id


class EventParser:
    """Bytes in, server-sent events out, as the WHATWG's HTML standard says in "Server-sent events".

    >>> parser = EventParser()
    >>> list(parser.feed(b"id: 7\\ndata: one\\ndata: two\\n")), list(parser.feed(b"\\n"))
    ([], [ServerSentEvent(event='message', data='one\\ntwo', id='7')])

    Args:
        last_id: the id that events have until one brings its own.
        line_bytes_max: of a line.
    """

    def __init__(self, last_id: str = "", line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._framer = LineFramer(line_bytes_max)
        self._is_first = True  # whether no line has come yet
        self._id = last_id
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that `data` completes. One that the connection's end cuts off doesn't count.

        Raises:
            SparkException: a line is longer than the bound of `LineFramer`.
        """
        for line in self._framer.feed(data).decode(errors="replace").split("\n")[:-1]:
            if self._is_first:
                line, self._is_first = line.removeprefix("\ufeff"), False
            if line:
                self._take(line)
            elif self._data:
                yield ServerSentEvent(self._event or "message", "\n".join(self._data), self._id)
                self._event, self._data = "", []
            else:
                self._event = ""

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
