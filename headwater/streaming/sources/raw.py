"""Blocks from a TCP server that are encoded already: they are stored as they come, and decoded by tasks only.

A frame is a length, four bytes, big-endian, and so many bytes: a block as `docs/formats/block.md` says, which is never
looked into here. Unpickling runs whatever a pickle says: connect to servers that you trust with your machine.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from headwater.engine.blocks import encode_records
from headwater.errors import SparkException
from headwater.streaming.sources.socket import READ_BYTES, SocketReceiver, _Run

# A frame is held in memory as a whole, as is its block in the task that reads it.
FRAME_BYTES_MAX = 128 << 20

_LENGTH = struct.Struct(">i")
# How a block of each codec ends: a pickle with STOP, text with a newline, compressed data anyhow.
_ENDS = {b"P": b".", b"T": b"\n", b"Z": b""}


def rawFrame(records: Iterable[Any]) -> bytes:
    """A frame of records, to be sent to a `StreamingContext.rawSocketStream` by the server that it connects to.

    Args:
        records: whatever pickles; classes of the program's own script included.

    Raises:
        SerializationError: a record can't be pickled.
        ValueError: the frame is larger than a stream takes, 128 MiB: make more of it.

    >>> rawFrame(["a", "b"])[:5]
    b'\\x00\\x00\\x00\\x16P'
    """
    block = encode_records(list(records))
    if len(block) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(block)} bytes is too large, {FRAME_BYTES_MAX} is the most: make more of it")
    return _LENGTH.pack(len(block)) + block


class FrameReader:
    """Cuts a stream of bytes into the blocks of its frames."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()  # the beginning of a frame

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The blocks that `data` completes, to be taken all.

        Raises:
            SparkException: after the blocks before them, bytes are no frame. What follows can't be understood either.
        """
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + self._length()
            if len(self._rest) < end:
                return
            block = bytes(memoryview(self._rest)[_LENGTH.size : end])
            _check_block(block)
            del self._rest[:end]
            yield block

    def close(self) -> None:
        """The stream has ended.

        Raises:
            SparkException: within a frame.
        """
        if self._rest:
            raise SparkException(f"the server ended the connection within a frame, after {len(self._rest)} bytes of it")

    def _length(self) -> int:
        length: int = _LENGTH.unpack_from(self._rest)[0]
        if not 0 < length <= self._frame_bytes_max:
            raise SparkException(
                f"a frame of {length} bytes: it must be between 1 and {self._frame_bytes_max}. Does the server send "
                "frames, each a big-endian int32 length and a block?"
            )
        return length


def _check_block(block: bytes) -> None:
    end = _ENDS.get(block[:1])
    if end is None:
        raise SparkException(f"a block of unknown codec {block[:1]!r}: it must be b'P', b'T' or b'Z'")
    if not block.endswith(end):
        raise SparkException(f"a block of codec {block[:1]!r} must end with {end!r}, not {block[-1:]!r}")


class RawSocketReceiver(SocketReceiver):
    """Reads frames from a TCP server, each a block; connects again when the server goes away, or sends no frames."""

    def _read(self, run: _Run, connection: socket.socket) -> None:
        reader, store = FrameReader(), self._supervisor.store_encoded
        while data := connection.recv(READ_BYTES):
            for block in reader.feed(data):
                store(block)
        if not run.stopped:
            reader.close()
