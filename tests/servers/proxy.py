"""A proxy in front of a store that speaks HTTP: it counts requests, refuses some, and cuts some answers short."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

# Of the connection between two neighbours, not of the request.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect"}
PATIENCE_SECONDS = 30.0


class FaultyProxy:
    """Listens on loopback, from the start of a `with` block to its end.

    Args:
        port: of the store, on loopback.
        seed: of what is refused and cut.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self.refuse_share = 0.0  # of all requests: they never reach the store
        self.lose_share = 0.0  # of all requests: the store does what they ask for, and the client hears a 503
        self.cut_share = 0.0  # of answers with a body: half of it comes, and then the connection's end
        self.faults: Counter[str] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()  # (method, path without what follows a ?), if passed on
        self._chance = random.Random(seed)
        self._lock = threading.Lock()  # guards the three above
        self._upstream = port
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def draws(self, fault: str, share: float) -> bool:
        """Whether this fault comes now."""
        with self._lock:
            drawn = self._chance.random() < share
            self.faults[fault] += drawn
            return drawn

    def passed_on(self, method: str, path: str) -> None:
        """A request goes to the store."""
        with self._lock:
            self.requests[method, path.partition("?")[0]] += 1

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the store."""
        return http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=PATIENCE_SECONDS)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False  # connections that clients keep open


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_SECONDS

    def _handle(self) -> None:
        body = self._body()
        if self.proxy.draws("refused", self.proxy.refuse_share):
            self._answer(503, [], b"")
            return
        self.proxy.passed_on(self.command, self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection = self.proxy.connect()
        try:
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if self.proxy.draws("lost", self.proxy.lose_share):
            self._answer(503, [], b"")
            return
        passed = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(response.status, passed, answer, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _handle

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue  # trailers
        return b"".join(pieces)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if len(body) > 1 and status < 300 and self.proxy.draws("cut", self.proxy.cut_share):
            body, self.close_connection = body[: len(body) // 2], True
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return None  # the counts tell
