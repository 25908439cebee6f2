"""The block server: how other executors of the application read this one's blocks, and leave copies here.

A connection proves the application's secret before its first request is read. Requests: ("get", block id, offset,
length) is answered with the bytes or None, ("put", block id, in memory, bytes) with True.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import Any

from headwater.engine import wire
from headwater.engine.blocks import BlockStore
from headwater.errors import SparkException

log = logging.getLogger(__name__)


class BlockServer:
    """Listens from construction to `close`; one thread a connection, of which a peer's worker keeps one."""

    def __init__(self, store: BlockStore, secret: bytes, host: str) -> None:
        self._store = store
        self._secret = secret
        self._listener = socket.create_server((host, 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._lock = threading.Lock()
        self._channels: set[wire.Channel] = set()  # open connections
        threading.Thread(target=self._accept, name="block-server", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                sock, peer = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock, peer), name="block-server-peer", daemon=True).start()

    def _serve(self, sock: socket.socket, peer: Any) -> None:
        try:
            channel = wire.accept(sock, self._secret)
        except OSError as error:
            log.warning("refused a connection from %s: %s", peer, error)
            return
        with self._lock:
            self._channels.add(channel)
        try:
            while True:
                channel.send(self._answer(*channel.receive()))
        except (EOFError, OSError):
            return  # the peer closed, or we do
        finally:
            with self._lock:
                self._channels.discard(channel)
            channel.close()

    def _answer(self, request: str, block_id: str, *arguments: Any) -> Any:
        if request == "get":
            return self._store.get(block_id, *arguments)
        in_memory, data = arguments
        try:
            self._store.put(block_id, [data], use_memory=in_memory, use_disk=True, evictable=True)
        except SparkException as error:
            log.warning("could not keep a copy of block %s: %s", block_id, error)
            return None
        return True

    def close(self) -> None:
        """Stop listening and close all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            channels = list(self._channels)
        for channel in channels:
            channel.close()
