"""The block server: how other executors of the application read this one's blocks, and leave copies here.

A connection proves the application's secret before its first request is read. Each request has one answer.
"""

from __future__ import annotations

import logging
import threading

from headwater.engine import wire
from headwater.engine.blocks import BlockStore
from headwater.engine.handshakes import PeerListener
from headwater.engine.peermessages import KeepCopy, ReadBlock, Request
from headwater.errors import SparkException

logger = logging.getLogger(__name__)


class BlockServer:
    """Listens from construction to `close`; one thread a connection, of which a peer's worker keeps one."""

    def __init__(self, store: BlockStore, secret: bytes, host: str) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards both below
        self._channels: set[wire.Channel] = set()  # open connections
        self._closed = False
        self._listener = PeerListener(host, secret, name="block-server", serve=self._serve)
        self.address = self._listener.address

    def _serve(self, channel: wire.Channel) -> None:
        with self._lock:
            self._channels.add(channel)
            if self._closed:
                channel.close()
        try:
            while True:
                channel.send(self._answer(channel.receive()))
        except (EOFError, OSError):
            return  # the peer closed, or we do
        finally:
            with self._lock:
                self._channels.discard(channel)
            channel.close()

    def _answer(self, request: Request) -> bytes | bool | None:
        match request:
            case ReadBlock(block_id, offset, length):
                return self._store.get(block_id, offset, length)
            case KeepCopy(block_id, in_memory, data):
                try:
                    self._store.put(block_id, [data], use_memory=in_memory, use_disk=True, evictable=True)
                except SparkException as error:
                    logger.warning("could not keep a copy of block %s: %s", block_id, error)
                    return False
                return True

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._listener.close()
        with self._lock:
            self._closed = True
            channels = list(self._channels)
        for channel in channels:
            channel.close()
